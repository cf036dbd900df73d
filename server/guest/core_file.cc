#include "server/guest/core_file.h"

#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/contract/error.h"
#include "proto/support/errno_status.h"
#include "proto/support/status_macros.h"

namespace kdbg::guest {
namespace {

constexpr std::size_t kMaxHeaders = 4096;        // QEMU writes one for each block of memory
constexpr std::size_t kMaxNoteBytes = 1U << 20;  // a kilobyte for each CPU
constexpr std::size_t kMaxRuns = 32768;          // all headers together must be below 65535
constexpr int kMaxTables = 1 << 16;              // of 4 KiB
constexpr std::string_view kCpuNote = {"QEMU\0", 5};
// In the note: its version and size, 18 registers, 10 segments, then cr0 to cr4.
constexpr std::size_t kCr0 = 8 + 18 * 8 + 10 * 24;
constexpr std::size_t kCr3 = kCr0 + 3 * 8;
constexpr std::uint64_t kPagingBit = 1ULL << 31;
constexpr std::uint64_t kAddressBits = 0x000ffffffffff000;

absl::Status NoCore() {
  return MakeError(absl::StatusCode::kDataLoss, Reason::kDataCorrupt,
                   "QEMU dumped something that is no core");
}

bool ReadAt(int file, std::uint64_t offset, void* to, std::size_t size) {
  return offset <= INT64_MAX &&
         ::pread(file, to, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

bool WriteAt(int file, std::uint64_t offset, const void* from, std::size_t size) {
  return ::pwrite(file, from, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
}

// So much memory at these addresses.
struct Run {
  std::uint64_t virt = 0;
  std::uint64_t phys = 0;
  std::uint64_t size = 0;
};

class Core {
 public:
  explicit Core(int file) : file_(file) {}

  absl::Status ReadHeaders() {
    if (!ReadAt(file_, 0, &header_, sizeof(header_)) ||
        std::memcmp(header_.e_ident, ELFMAG, SELFMAG) != 0 ||
        header_.e_ident[EI_CLASS] != ELFCLASS64 || header_.e_type != ET_CORE ||
        header_.e_phentsize != sizeof(Elf64_Phdr) || header_.e_phnum > kMaxHeaders) {
      return NoCore();
    }
    segments_.resize(header_.e_phnum);
    const std::size_t size = segments_.size() * sizeof(Elf64_Phdr);
    return ReadAt(file_, header_.e_phoff, segments_.data(), size) ? absl::OkStatus() : NoCore();
  }

  bool is_x86_64() const { return header_.e_machine == EM_X86_64; }

  // Of the first CPU; nullopt when it does not use them.
  std::optional<std::uint64_t> PageTables() const {
    for (const Elf64_Phdr& segment : segments_) {
      if (segment.p_type != PT_NOTE || segment.p_filesz > kMaxNoteBytes) continue;
      std::string notes(segment.p_filesz, '\0');
      if (!ReadAt(file_, segment.p_offset, notes.data(), notes.size())) return std::nullopt;
      if (const auto found = PageTablesIn(notes)) return found;
    }
    return std::nullopt;
  }

  bool ReadMemory(std::uint64_t phys, void* to, std::size_t size) const {
    for (const Elf64_Phdr& segment : segments_) {
      if (segment.p_type != PT_LOAD || phys < segment.p_paddr) continue;
      const std::uint64_t inside = phys - segment.p_paddr;
      if (inside >= segment.p_filesz || segment.p_filesz - inside < size) continue;
      return ReadAt(file_, segment.p_offset + inside, to, size);
    }
    return false;
  }

  std::uint64_t memory_bytes() const {
    std::uint64_t bytes = 0;
    for (const Elf64_Phdr& segment : segments_) {
      if (segment.p_type == PT_LOAD) bytes += segment.p_filesz;
    }
    return bytes;
  }

  absl::Status Add(const std::vector<Run>& runs) {
    std::vector<Elf64_Phdr> all = segments_;
    for (const Run& run : runs) {
      for (const Elf64_Phdr& segment : segments_) {
        if (segment.p_type == PT_LOAD) AddPart(run, segment, &all);
      }
    }
    struct stat status {};
    if (::fstat(file_, &status) != 0) return ErrnoError(errno, "look at a core");
    header_.e_phoff = (static_cast<std::uint64_t>(status.st_size) + 7) / 8 * 8;
    header_.e_phnum = static_cast<Elf64_Half>(std::min<std::size_t>(all.size(), PN_XNUM - 1));
    // The header last: until then it is the core it was.
    if (!WriteAt(file_, header_.e_phoff, all.data(), header_.e_phnum * sizeof(Elf64_Phdr)) ||
        !WriteAt(file_, 0, &header_, sizeof(header_))) {
      return ErrnoError(errno, "write a core");
    }
    return absl::OkStatus();
  }

 private:
  static std::optional<std::uint64_t> PageTablesIn(std::string_view notes) {
    const auto padded = [](std::size_t size) { return (size + 3) / 4 * 4; };
    while (notes.size() >= sizeof(Elf64_Nhdr)) {
      Elf64_Nhdr note{};
      std::memcpy(&note, notes.data(), sizeof(note));
      const std::size_t name = sizeof(note);
      const std::size_t content = name + padded(note.n_namesz);
      const std::size_t end = content + padded(note.n_descsz);
      if (end > notes.size()) return std::nullopt;
      if (notes.substr(name, note.n_namesz) == kCpuNote && note.n_descsz >= kCr3 + 8) {
        std::uint64_t cr0 = 0;
        std::uint64_t cr3 = 0;
        std::memcpy(&cr0, notes.data() + content + kCr0, sizeof(cr0));
        std::memcpy(&cr3, notes.data() + content + kCr3, sizeof(cr3));
        return (cr0 & kPagingBit) != 0 ? std::optional(cr3 & kAddressBits) : std::nullopt;
      }
      notes.remove_prefix(end);
    }
    return std::nullopt;
  }

  // What of `run` is in `segment`.
  static void AddPart(const Run& run, const Elf64_Phdr& segment, std::vector<Elf64_Phdr>* all) {
    const std::uint64_t begin = std::max(run.phys, segment.p_paddr);
    const std::uint64_t end = std::min(run.phys + run.size, segment.p_paddr + segment.p_filesz);
    if (begin >= end) return;
    Elf64_Phdr part = segment;
    part.p_offset += begin - segment.p_paddr;
    part.p_paddr = begin;
    part.p_vaddr = run.virt + (begin - run.phys);
    part.p_filesz = part.p_memsz = end - begin;
    all->push_back(part);
  }

  const int file_;
  Elf64_Ehdr header_{};
  std::vector<Elf64_Phdr> segments_;
};

// The kernel's half of the address space.
class PageWalk {
 public:
  explicit PageWalk(const Core& core) : core_(core) {}

  void From(std::uint64_t top) { Walk(top, 4, 0); }
  const std::vector<Run>& runs() const { return runs_; }
  std::uint64_t mapped_bytes() const {
    std::uint64_t bytes = 0;
    for (const Run& run : runs_) bytes += run.size;
    return bytes;
  }

 private:
  static constexpr int kTop = 4;
  static constexpr std::uint64_t kPresent = 1;
  static constexpr std::uint64_t kLargePage = 1 << 7;
  static constexpr std::uint64_t kUpperHalf = 0xffff000000000000;

  void Walk(std::uint64_t table, int level, std::uint64_t prefix) {
    std::array<std::uint64_t, 512> entries{};
    if (++tables_ > kMaxTables || !core_.ReadMemory(table, entries.data(), sizeof(entries))) return;
    const int shift = 12 + 9 * (level - 1);
    const std::uint64_t size = std::uint64_t{1} << shift;
    for (std::size_t i = level == kTop ? 256 : 0; i < entries.size(); ++i) {
      const std::uint64_t entry = entries[i];
      if ((entry & kPresent) == 0) continue;
      const std::uint64_t virt = prefix | (level == kTop ? kUpperHalf : 0) | i << shift;
      const std::uint64_t phys = entry & kAddressBits;
      const bool page = level == 1 || (level < kTop && (entry & kLargePage) != 0);
      page ? Add({.virt = virt, .phys = phys & ~(size - 1), .size = size})
           : Walk(phys, level - 1, virt);
    }
  }

  void Add(const Run& run) {
    if (!runs_.empty() && runs_.back().virt + runs_.back().size == run.virt &&
        runs_.back().phys + runs_.back().size == run.phys) {
      runs_.back().size += run.size;
    } else if (runs_.size() < kMaxRuns) {
      runs_.push_back(run);
    }
  }

  const Core& core_;
  int tables_ = 0;
  std::vector<Run> runs_;
};

}  // namespace

absl::Status AddKernelAddresses(int file) {
  Core core(file);
  KDBG_RETURN_IF_ERROR(core.ReadHeaders());
  if (!core.is_x86_64()) return absl::OkStatus();
  const std::optional<std::uint64_t> tables = core.PageTables();
  if (!tables) return absl::OkStatus();
  PageWalk walk(core);
  walk.From(*tables);
  // In user space, a kernel that isolates its tables uses one with hardly any of its own memory;
  // its own, which maps all memory there is, is in the page before. Without isolation anything may
  // be there.
  PageWalk before(core);
  constexpr std::uint64_t kPage = 4096;
  if ((*tables & kPage) != 0 && walk.mapped_bytes() < core.memory_bytes() / 2) {
    before.From(*tables - kPage);
  }
  return core.Add((before.mapped_bytes() > walk.mapped_bytes() ? before : walk).runs());
}

}  // namespace kdbg::guest
