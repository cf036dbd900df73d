#include "server/gdb/packet_filter.h"

#include <algorithm>
#include <array>

namespace kdbg::gdb {
namespace {

struct Rule {
  std::string_view text;
  enum class Match { kWhole, kPrefix } match;
  Verdict verdict;
};

constexpr auto kWhole = Rule::Match::kWhole;
constexpr auto kPrefix = Rule::Match::kPrefix;

// First match wins. Left out on purpose: `!` R vRun vAttach (another life cycle than a session's),
// vFile and F (files), X (QEMU 7.2 has none; without it every packet is text), Qqemu.sstep (would
// outlive the client).
constexpr std::array kRules = {
    Rule{"?", kWhole, Verdict::kForward},
    Rule{"g", kWhole, Verdict::kForward},
    Rule{"G", kPrefix, Verdict::kForward},
    Rule{"p", kPrefix, Verdict::kForward},
    Rule{"P", kPrefix, Verdict::kForward},
    Rule{"m", kPrefix, Verdict::kForward},
    Rule{"M", kPrefix, Verdict::kForward},
    Rule{"Hg", kPrefix, Verdict::kForward},
    Rule{"Hc", kPrefix, Verdict::kForward},
    Rule{"T", kPrefix, Verdict::kForward},
    Rule{"z", kPrefix, Verdict::kForward},
    Rule{"Z", kPrefix, Verdict::kForward},
    Rule{"qSupported", kPrefix, Verdict::kFeatures},
    Rule{"qRcmd,", kPrefix, Verdict::kMonitor},
    Rule{"qXfer:features:read:", kPrefix, Verdict::kForward},
    Rule{"qfThreadInfo", kWhole, Verdict::kForward},
    Rule{"qsThreadInfo", kWhole, Verdict::kForward},
    Rule{"qThreadExtraInfo,", kPrefix, Verdict::kForward},
    Rule{"qAttached", kPrefix, Verdict::kForward},
    Rule{"qC", kWhole, Verdict::kForward},
    Rule{"qqemu.PhyMemMode", kWhole, Verdict::kForward},
    Rule{"Qqemu.PhyMemMode:", kPrefix, Verdict::kForward},
    Rule{"QStartNoAckMode", kWhole, Verdict::kStopAcks},
    Rule{"vCont?", kWhole, Verdict::kForward},
    Rule{"vCont;", kPrefix, Verdict::kResume},
    Rule{"c", kPrefix, Verdict::kResume},
    Rule{"C", kPrefix, Verdict::kResume},
    Rule{"s", kPrefix, Verdict::kResume},
    Rule{"S", kPrefix, Verdict::kResume},
    Rule{"bc", kWhole, Verdict::kResume},
    Rule{"bs", kWhole, Verdict::kResume},
    Rule{"D", kWhole, Verdict::kDetach},
    Rule{"D;", kPrefix, Verdict::kDetach},
    Rule{"k", kWhole, Verdict::kKill},
    Rule{"vKill;", kPrefix, Verdict::kKillWithReply},
};

bool IsText(char byte) { return byte >= ' ' && byte <= '~'; }

}  // namespace

Verdict JudgePacket(std::string_view payload) {
  if (!std::all_of(payload.begin(), payload.end(), IsText)) return Verdict::kRefuse;
  for (const Rule& rule : kRules) {
    const std::string_view start = payload.substr(0, rule.text.size());
    if (start == rule.text && (rule.match == kPrefix || payload.size() == rule.text.size())) {
      return rule.verdict;
    }
  }
  return Verdict::kRefuse;
}

}  // namespace kdbg::gdb
