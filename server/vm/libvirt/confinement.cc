#include "server/vm/libvirt/confinement.h"

#include <fmt/format.h>
#include <sys/apparmor.h>

#include <cerrno>
#include <system_error>
#include <thread>

#include "proto/contract/error.h"

namespace kdbg::vm {

bool HasAppArmor() { return ::aa_is_enabled() == 1; }

absl::Status RunConfined(const std::string& profile, absl::FunctionRef<absl::Status()> work) {
  absl::Status result;
  // What a thread has asked for its next exec, and for those of its children, it cannot take back.
  std::thread([&] {
    if (::aa_change_onexec(profile.c_str()) == 0) {
      result = work();
      return;
    }
    result = MakeError(
        absl::StatusCode::kFailedPrecondition, Reason::kHypervisorRefused,
        fmt::format("no guest runs without the AppArmor profile {} ({}): see that it is loaded "
                    "(systemctl reload apparmor), or take libvirt.apparmor_profile out of the "
                    "configuration",
                    profile, std::generic_category().message(errno)));
  }).join();
  return result;
}

}  // namespace kdbg::vm
