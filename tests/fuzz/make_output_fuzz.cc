// What make prints is whatever a stranger's makefiles print.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "server/build/build_run.h"
#include "server/build/failure_diagnosis.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  kdbg::build::FailureDiagnosis diagnosis;
  while (!input.empty()) {
    const std::size_t end = input.find('\n');
    diagnosis.Line(input.substr(0, end));
    (void)kdbg::build::IsStepLine(input.substr(0, end));
    if (end == std::string_view::npos) break;
    input.remove_prefix(end + 1);
  }
  (void)diagnosis.Verdict();
  return 0;
}
