// Finds in the output of make what went wrong first: its kind, its place in the source, and the
// lines around it. Fed line by line as they come; one thread.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "server/build/build_record.h"

namespace kdbg::build {

class FailureDiagnosis {
 public:
  // One line, without its newline.
  void Line(std::string_view line);

  // What failed; asked for when make ended with an error.
  BuildFailure Verdict() const;

  // How sure a line is of being the cause; a surer one later wins over a vague one before.
  enum class Weight { kNone, kMakeError, kTool, kCause, kHostCause };

  struct Finding {
    Weight weight = Weight::kNone;
    BuildFailure failure;
  };
  // What a single line says.
  static Finding Read(std::string_view line);

 private:
  Finding best_;
  std::deque<std::string> before_;
  std::string excerpt_;
  int after_left_ = 0;
};

}  // namespace kdbg::build
