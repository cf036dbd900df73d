#include "client/grammar.h"

#include <fmt/format.h>

#include <cstdio>
#include <utility>
#include <vector>

#include "client/command_words.h"

namespace kdbg::client {

// Examples before options: that is what one came for.
class Grammar::ExamplesFirst : public CLI::Formatter {
 public:
  void Add(const CLI::App* app, std::string examples) { examples_[app] = std::move(examples); }
  std::string make_description(const CLI::App* app) const override {
    const auto found = examples_.find(app);
    return fmt::format("{}\n\n{}", app->get_description(),
                       found == examples_.end() ? "" : "Examples:\n" + found->second + "\n");
  }

 private:
  std::map<const CLI::App*, std::string> examples_;
};

Grammar::Grammar()
    : formatter_(std::make_shared<ExamplesFirst>()),
      app_("kdbgctl: build, boot and debug kernels with kdbgd", "kdbgctl") {
  app_.formatter(formatter_);
  app_.fallthrough();
  app_.require_subcommand(1);
  app_.set_version_flag("--version", KDBG_VERSION);
  app_.add_option(
      "--server", command_.server,
      "unix:PATH, ssh://HOST or HOST:PORT; else KDBG_SERVER, the configuration file, the "
      "default socket");
  app_.add_option("-o,--format", format_, "table, json or name")
      ->check(CLI::IsMember({"table", "json", "name"}));
  app_.add_flag("-q,--quiet", quiet_, "no progress, no notes");
  formatter_->Add(&app_,
                  "  kdbgctl kernel build linux-6.1.tar.xz\n"
                  "  kdbgctl initramfs build --busybox busybox-1.35.0.tar.bz2\n"
                  "  kdbgctl debug --break vfs_read\n");
}

Grammar::~Grammar() = default;

CLI::App* Grammar::Noun(const std::string& name, const std::string& description,
                        const std::string& examples) {
  CLI::App* noun = app_.add_subcommand(name, description);
  noun->require_subcommand(1);
  formatter_->Add(noun, examples);
  return noun;
}

CLI::App* Grammar::Command(CLI::App* parent, const std::string& name,
                           const std::string& description, const std::string& examples, Run run) {
  CLI::App* command = (parent != nullptr ? parent : &app_)->add_subcommand(name, description);
  formatter_->Add(command, examples);
  command->callback([this, run = std::move(run)] { command_.run = run; });
  return command;
}

void Grammar::OneArgument(CLI::App* parent, const std::string& name, const std::string& description,
                          const std::string& placeholder, const std::string& meaning,
                          CommandEnd (*command)(Context&, const std::string&)) {
  auto argument = std::make_shared<std::string>();
  Command(parent, name, description, "",
          [=](Context& context) { return command(context, *argument); })
      ->add_option(placeholder, *argument, meaning)
      ->required();
}

std::variant<ParsedCommand, int> Grammar::Parse(int argc, char** argv) {
  try {  // CLI11's way; none of it leaves this function
    app_.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return Explain(error, argc, argv);
  }
  command_.format = format_ == "json"   ? Format::kJson
                    : format_ == "name" ? Format::kName
                                        : Format::kTable;
  command_.talk = quiet_ ? Talk::kQuiet : Talk::kNormal;
  return std::move(command_);
}

int Grammar::Explain(const CLI::ParseError& error, int argc, char** argv) {
  if (error.get_exit_code() == 0) return app_.exit(error);  // help, version
  const CLI::App* at = &app_;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  const std::string unknown = UnknownCommand(argc, argv);
  if (!unknown.empty()) {
    std::fputs(unknown.c_str(), stderr);
    return kExitUsage;
  }
  std::string parents;
  for (const CLI::App* up = at->get_parent(); up != nullptr; up = up->get_parent()) {
    parents = up->get_name() + " " + parents;
  }
  if (at->get_require_subcommand_min() > 0) {
    std::fputs(at->help(parents + at->get_name()).c_str(), stderr);
  } else {
    const std::string name = parents + at->get_name();
    std::fputs(fmt::format("kdbgctl: {}\nhint: {} --help\n", error.what(), name).c_str(), stderr);
  }
  return kExitUsage;
}

// The first word that should be a command and is none.
std::string Grammar::UnknownCommand(int argc, char** argv) const {
  const CLI::App* at = &app_;
  for (int i = 1; i < argc && at->get_require_subcommand_min() > 0; ++i) {
    const std::string word = argv[i];
    if (word == "-o" || word == "--format" || word == "--server") {
      ++i;
      continue;
    }
    if (word.starts_with("-")) continue;
    std::vector<std::string> known;
    const CLI::App* next = nullptr;
    for (const CLI::App* command : at->get_subcommands([](const CLI::App*) { return true; })) {
      if (command->get_name() == word) next = command;
      if (!command->get_group().empty()) known.push_back(command->get_name());
    }
    if (next == nullptr) {
      const std::string nearest = NearestWord(word, known);
      const std::string where = at == &app_ ? "kdbgctl" : "kdbgctl " + at->get_name();
      return fmt::format(
          "kdbgctl: unknown command '{}'\nhint: {}\n", word,
          nearest.empty() ? where + " --help" : fmt::format("did you mean {} {}?", where, nearest));
    }
    at = next;
  }
  return "";
}

}  // namespace kdbg::client
