#include "server/build/kconfig.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "server/build/kconfig_reader.h"

namespace kdbg::build {
namespace {

// Levenshtein distance, at most `limit`.
int Distance(std::string_view a, std::string_view b, int limit) {
  if (std::abs(static_cast<int>(a.size()) - static_cast<int>(b.size())) >= limit) return limit;
  std::vector<int> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const int substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return std::min(row[b.size()], limit);
}

Kconfig::Cause Needs(std::string dependency) {
  std::string explanation = fmt::format("it needs {}, which this config does not have", dependency);
  return {std::move(dependency), std::move(explanation)};
}

}  // namespace

absl::StatusOr<Kconfig> Kconfig::Read(const std::string& root,
                                      const std::map<std::string, std::string>& variables,
                                      const ReadFile& read_file) {
  Kconfig kconfig;
  Reader reader(kconfig, variables, read_file);
  if (absl::Status status = reader.ReadRoot(root); !status.ok()) return status;
  return kconfig;
}

std::string Kconfig::Nearest(std::string_view symbol) const {
  int best = std::max<int>(2, static_cast<int>(symbol.size()) / 4) + 1;
  std::string nearest;
  for (const auto& [name, unused] : symbols_) {
    const int distance = Distance(symbol, name, best);
    if (distance < best) {
      best = distance;
      nearest = name;
    }
  }
  return nearest;
}

Kconfig::Cause Kconfig::Explain(std::string_view symbol, std::string_view wanted,
                                const ConfigValues& values) const {
  if (wanted == "n") return ExplainSet(symbol, values);
  if (wanted == "y") return ExplainUnset(symbol, Tristate::kYes, values);
  if (wanted == "m") {
    if (values.Get(symbol) == "y") return ExplainSet(symbol, values);
    return ExplainUnset(symbol, Tristate::kModule, values);
  }
  Cause cause = ExplainUnset(symbol, Tristate::kModule, values);
  if (cause.explanation.empty() && values.Has(symbol)) {
    cause.explanation = "this config takes another kind or range of values for it";
  }
  return cause;
}

Kconfig::Cause Kconfig::ExplainUnset(std::string_view symbol, Tristate wanted,
                                     const ConfigValues& values) const {
  const auto found = symbols_.find(symbol);
  if (found == symbols_.end()) return {};
  std::optional<Cause> cause;
  for (const Definition& definition : found->second.definitions) {
    // A bool may be y where its dependencies are only m.
    const Tristate needed = definition.tristate ? wanted : Tristate::kModule;
    if (definition.depends) {
      if (auto unmet = definition.depends->FirstUnmet(values, needed)) {
        if (!cause) cause = Needs(*unmet);
        continue;
      }
    }
    if (definition.choice >= 0) {
      for (const std::string& member : choices_[definition.choice]) {
        if (member == symbol || values.Get(member) != "y") continue;
        return {fmt::format("CONFIG_{}=n", member),
                fmt::format("CONFIG_{} is the one of its choice that is set", member)};
      }
    }
    if (definition.has_prompt) {
      if (definition.prompt) {
        if (auto unmet = definition.prompt->FirstUnmet(values, Tristate::kModule)) {
          cause = Needs(*unmet);
        }
      }
      continue;
    }
    std::string selectors;
    const auto& all = found->second.selected_by;
    for (std::size_t i = 0; i < all.size() && i < 3; ++i) {
      selectors += (i == 0 ? "CONFIG_" : " or CONFIG_") + all[i].selector + "=y";
    }
    cause =
        selectors.empty()
            ? Cause{"", "it cannot be set by hand: its value follows from other symbols"}
            : Cause{selectors, fmt::format("it cannot be set by hand; {} selects it", selectors)};
  }
  return cause.value_or(Cause{});
}

Kconfig::Cause Kconfig::ExplainSet(std::string_view symbol, const ConfigValues& values) const {
  const auto found = symbols_.find(symbol);
  if (found == symbols_.end()) return {};
  for (const Selection& selection : found->second.selected_by) {
    if (values.Get(selection.selector) == "n") continue;
    if (selection.condition && selection.condition->Evaluate(values) == Tristate::kNo) continue;
    return {fmt::format("CONFIG_{}=n", selection.selector),
            fmt::format("CONFIG_{}, which is set, selects it", selection.selector)};
  }
  for (const Definition& definition : found->second.definitions) {
    if (!definition.has_prompt) {
      return {"", "it cannot be set by hand: its value follows from other symbols"};
    }
    if (definition.prompt) {
      if (auto unmet = definition.prompt->FirstUnmet(values, Tristate::kModule)) {
        return Needs(*unmet);
      }
    }
    if (definition.choice >= 0) return {"", "one of its choice has to be set"};
  }
  return {};
}

}  // namespace kdbg::build
