#include "tests/support/git_repository.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "proto/support/subprocess.h"

namespace kdbg {
namespace {

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::abort();
}

std::string FromHex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

// The size in the pack's way: `kept_bits` in the first byte, below `lead`.
std::string PackNumber(std::size_t number, int kept_bits, std::uint8_t lead) {
  std::string bytes;
  std::uint8_t byte = static_cast<std::uint8_t>(lead | (number & ((1U << kept_bits) - 1)));
  number >>= kept_bits;
  for (; number > 0; number >>= 7) {
    bytes += static_cast<char>(byte | 0x80);
    byte = static_cast<std::uint8_t>(number & 0x7f);
  }
  return bytes + static_cast<char>(byte);
}

// The zlib form of less than 64 KiB, stored as they are.
std::string Deflated(std::string_view bytes) {
  const auto size = static_cast<std::uint16_t>(bytes.size());
  std::uint32_t a = 1;
  std::uint32_t b = 0;
  for (const char c : bytes) {
    a = (a + static_cast<std::uint8_t>(c)) % 65521;
    b = (b + a) % 65521;
  }
  std::string out = "\x78\x01\x01";
  for (const std::uint16_t number : {size, static_cast<std::uint16_t>(~size)}) {
    out += static_cast<char>(number & 0xff);
    out += static_cast<char>(number >> 8);
  }
  out += bytes;
  for (const std::uint32_t half : {b, a}) {
    out += static_cast<char>(half >> 8);
    out += static_cast<char>(half & 0xff);
  }
  return out;
}

std::string Sha1(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha1(), nullptr);
  return {reinterpret_cast<const char*>(digest.data()), size};
}

}  // namespace

GitRepository::GitRepository(std::filesystem::path folder,
                             const std::vector<std::string>& init_options)
    : folder_(std::move(folder)) {
  std::filesystem::create_directories(folder_);
  std::vector<std::string> init = {"init", "-q"};
  init.insert(init.end(), init_options.begin(), init_options.end());
  Git(init);
}

void GitRepository::Write(const std::string& path, std::string_view content) const {
  std::filesystem::create_directories((folder_ / path).parent_path());
  std::ofstream(folder_ / path, std::ios::binary) << content;
}

void GitRepository::Remove(const std::string& path) const {
  std::filesystem::remove_all(folder_ / path);
}

std::string GitRepository::Git(const std::vector<std::string>& arguments,
                               std::string_view input) const {
  Subprocess::Options options;
  options.argv = {"git"};
  options.argv.insert(options.argv.end(), arguments.begin(), arguments.end());
  const char* path = ::getenv("PATH");
  options.environment = {std::string("PATH=") + (path != nullptr ? path : "/usr/bin:/bin"),
                         "GIT_CONFIG_NOSYSTEM=1",
                         "GIT_CONFIG_GLOBAL=/dev/null",
                         "GIT_AUTHOR_NAME=t",
                         "GIT_AUTHOR_EMAIL=t@t",
                         "GIT_COMMITTER_NAME=t",
                         "GIT_COMMITTER_EMAIL=t@t",
                         "LC_ALL=C"};
  options.working_directory = folder_;
  auto result = RunCommand(options, std::string(input));
  if (!result.ok()) Fail(result.status().ToString());
  if (!result->status.ok()) Fail("git " + arguments.front() + ": " + result->error);
  if (result->output.ends_with('\n') && arguments.front() != "pack-objects") {
    result->output.pop_back();
  }
  return result->output;
}

std::string GitRepository::Commit() const {
  Git({"add", "-A", "-f", "."});
  Git({"commit", "-q", "--allow-empty", "-m", "m"});
  return Git({"rev-parse", "HEAD^{tree}"});
}

std::string GitRepository::AddObject(std::string_view type, std::string_view content) const {
  return Git({"hash-object", "--literally", "-w", "--stdin", "-t", std::string(type)}, content);
}

std::string GitRepository::AddTree(const std::vector<Entry>& entries) const {
  std::string bytes;
  for (const Entry& entry : entries) {
    bytes += entry.mode_and_name + '\0' + FromHex(entry.id);
  }
  return AddObject("tree", bytes);
}

std::string GitRepository::Pack(const std::vector<std::string>& ids) const {
  std::string list;
  for (const std::string& id : ids) list += id + "\n";
  return Git({"pack-objects", "--stdout", "-q"}, list);
}

std::string GitRepository::PackOfDifference(const std::string& tree,
                                            const std::string& base) const {
  std::string list;
  std::string lines;
  if (base.empty()) {
    lines = Git({"ls-tree", "-r", "-t", "--format=%(objectname) %(path)", tree});
  } else {
    list = "-" + base + "\n";
    lines = Git({"diff-tree", "-r", "-t", "--no-renames", "--diff-filter=d", base, tree});
  }
  list += tree + " \n";
  for (std::size_t at = 0; at < lines.size();) {
    const std::size_t end = std::min(lines.find('\n', at), lines.size());
    std::string line = lines.substr(at, end - at);
    at = end + 1;
    // ":100644 100644 <old> <new> M\t<path>"
    if (!base.empty()) line = line.substr(56, 40) + " " + line.substr(line.find('\t') + 1);
    list += line + "\n";
  }
  return Git({"pack-objects", "--stdout", "-q"}, list);
}

std::string PackOfDelta(std::string_view base_id, std::size_t base_size,
                        std::string_view appended) {
  std::string delta = PackNumber(base_size, 7, 0) + PackNumber(base_size + appended.size(), 7, 0);
  // Copy from offset 0, a size of two bytes; then the new bytes.
  delta += static_cast<char>(0x80 | 0x10 | 0x20);
  delta += static_cast<char>(base_size & 0xff);
  delta += static_cast<char>(base_size >> 8 & 0xff);
  delta += static_cast<char>(appended.size());
  delta += appended;
  constexpr std::uint8_t kRefDelta = 7 << 4;
  std::string pack = std::string("PACK\0\0\0\2\0\0\0\1", 12) +
                     PackNumber(delta.size(), 4, kRefDelta) + FromHex(base_id) + Deflated(delta);
  return pack + Sha1(pack);
}

}  // namespace kdbg
