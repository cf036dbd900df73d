// Kconfig files and config files come with a stranger's source and request.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "server/build/config_text.h"
#include "server/build/kconfig.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Two files and a config, one after the other.
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t first = input.find("\n===\n");
  const std::string_view root = input.substr(0, first);
  const std::string_view rest =
      first == std::string_view::npos ? std::string_view() : input.substr(first + 5);
  const auto read = [&](const std::string& path) -> absl::StatusOr<std::string> {
    return std::string(path == "Kconfig" ? root : rest.substr(0, 10'000));
  };
  (void)kdbg::build::ParseConfigText(rest, "fuzz");
  const auto kconfig = kdbg::build::Kconfig::Read("Kconfig", {{"SRCARCH", "x86"}}, read);
  if (!kconfig.ok()) return 0;
  const auto values = kdbg::build::ConfigValues::FromText(rest);
  for (const char* wanted : {"y", "m", "n", "12"}) (void)kconfig->Explain("FOO", wanted, values);
  (void)kconfig->Nearest("FOOBAR");
  return 0;
}
