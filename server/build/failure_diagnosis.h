// Finds in the output of make what went wrong first: its kind, its place in the source, and the
// lines around it. Fed line by line as they come; one thread.
#pragma once

#include <deque>
#include <string>
#include <string_view>

#include "server/build/failure_patterns.h"

namespace kdbg::build {

class FailureDiagnosis {
 public:
  // One line, without its newline.
  void Line(std::string_view line);

  // What failed; asked for when make ended with an error.
  BuildFailure Verdict() const;

 private:
  Finding best_;
  std::deque<std::string> before_;
  std::string excerpt_;
  int after_left_ = 0;
};

}  // namespace kdbg::build
