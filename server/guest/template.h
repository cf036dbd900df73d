// A guest booted once to its stop point, from which others go on without booting: its memory, the
// state of its devices and what it had printed, bound together by their digests.
//
// It lives in a directory of its own; the manifest there is written last, so a directory without
// one is a template that was never finished. What is in it cannot be changed by any guest, and is
// checked as a whole when it is made and when it is adopted.
//
// Thread-safe once made; the calls that make one block for as long as a guest boots.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/guest/guest.h"
#include "server/guest/ram_image.h"

namespace kdbg::guest {

// Whether guests at this stop point can be cloned: it has to be one moment.
bool CanBeCloned(const StopPoint& stop);

// Names everything that determines the machine at its stop point: guests with the same key may be
// clones of one template. Files count by their path, so they must be of immutable content. Of
// `spec`, id and directory do not count; the owner does.
std::string TemplateKey(const GuestSpec& spec, const StopPoint& stop,
                        std::string_view emulator_version);

class Template {
 public:
  struct Order {
    std::string key;
    GuestSpec maker;  // boots, is saved and is gone again
    StopPoint stop;
    absl::Duration timeout;
  };
  // Boots when nobody else wants the processor. Leaves nothing behind when it fails; errors as
  // Guest::Create and RunToStopPoint.
  static absl::StatusOr<std::shared_ptr<const Template>> Make(
      const std::filesystem::path& directory, const Order& order, const GuestHost& host,
      std::stop_token cancel);
  // One that an earlier daemon made.
  //   NOT_FOUND  it was never finished, or its memory is gone
  //   DATA_LOSS  kDataCorrupt: it is not what was made
  static absl::StatusOr<std::shared_ptr<const Template>> Adopt(
      const std::filesystem::path& directory);
  // It stays for the next daemon, unless discarded.
  ~Template();

  // For Guest::Clone, now.
  //   NOT_FOUND  its memory is gone
  //   DATA_LOSS  kDataCorrupt: the state is not the one that was made
  absl::StatusOr<MachineImage> Image() const;

  const std::string& key() const { return key_; }
  const std::string& stopped_at() const { return stopped_at_; }
  // How much of the host's memory it takes.
  std::int64_t resident_bytes() const { return memory_->resident_bytes(); }

  int keeper_pid() const;

  // Removes it from disk and memory; clones go on. No Image after that.
  void Discard() const;

 private:
  Template(std::filesystem::path directory, std::string key, std::string stopped_at,
           std::string state_digest, std::unique_ptr<RamImage> memory);

  const std::filesystem::path directory_;
  const std::string key_;
  const std::string stopped_at_;
  const std::string state_digest_;
  const std::unique_ptr<RamImage> memory_;
};

}  // namespace kdbg::guest
