#include "server/build/vmlinux_check.h"

#include <elfutils/libdw.h>
#include <fmt/format.h>
#include <gelf.h>
#include <libelf.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string_view>

#include "proto/contract/error.h"
#include "proto/support/status_macros.h"

namespace kdbg::build {
namespace {

using ElfHandle = std::unique_ptr<Elf, int (*)(Elf*)>;
using DwarfHandle = std::unique_ptr<Dwarf, int (*)(Dwarf*)>;

absl::Status NotUsable(std::string_view what) {
  return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kNoDebugInformation,
                   fmt::format("vmlinux {}: gdb could not debug this kernel; check the config for "
                               "what turns debug information off, and the makefiles for strip",
                               what));
}

absl::StatusOr<ElfHandle> OpenElf(const UniqueFd& file) {
  elf_version(EV_CURRENT);
  ElfHandle elf(elf_begin(file.get(), ELF_C_READ_MMAP, nullptr), elf_end);
  if (!elf || elf_kind(elf.get()) != ELF_K_ELF) {
    return MakeError(absl::StatusCode::kFailedPrecondition, Reason::kNoDebugInformation,
                     "the file is no ELF file");
  }
  return elf;
}

std::string BuildIdIn(Elf_Data* data) {
  std::size_t offset = 0;
  GElf_Nhdr note;
  std::size_t name_at = 0;
  std::size_t data_at = 0;
  while (offset < data->d_size) {
    const std::size_t next = gelf_getnote(data, offset, &note, &name_at, &data_at);
    if (next <= offset) break;
    const char* bytes = static_cast<const char*>(data->d_buf);
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
        std::memcmp(bytes + name_at, "GNU", 4) == 0 && note.n_descsz >= 8 && note.n_descsz <= 64) {
      std::string id;
      for (std::size_t i = 0; i < note.n_descsz; ++i) {
        id += fmt::format("{:02x}", static_cast<unsigned char>(bytes[data_at + i]));
      }
      return id;
    }
    offset = next;
  }
  return {};
}

struct Sections {
  std::string build_id;
  std::optional<std::uint64_t> start_kernel;
  bool debug_info = false;
  bool debug_line = false;
};

std::optional<std::uint64_t> FindSymbol(Elf* elf, Elf_Scn* section, const GElf_Shdr& header,
                                        std::string_view wanted) {
  Elf_Data* data = elf_getdata(section, nullptr);
  if (data == nullptr || header.sh_entsize == 0) return std::nullopt;
  const std::size_t count = data->d_size / header.sh_entsize;
  for (std::size_t i = 0; i < count; ++i) {
    GElf_Sym symbol;
    if (gelf_getsym(data, static_cast<int>(i), &symbol) == nullptr) break;
    const char* name = elf_strptr(elf, header.sh_link, symbol.st_name);
    if (name != nullptr && wanted == name && symbol.st_shndx != SHN_UNDEF) return symbol.st_value;
  }
  return std::nullopt;
}

Sections ReadSections(Elf* elf) {
  Sections found;
  std::size_t names = 0;
  if (elf_getshdrstrndx(elf, &names) != 0) return found;
  for (Elf_Scn* section = elf_nextscn(elf, nullptr); section != nullptr;
       section = elf_nextscn(elf, section)) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr) continue;
    const char* text = elf_strptr(elf, names, header.sh_name);
    const std::string_view name = text == nullptr ? std::string_view() : text;
    if (name == ".debug_info" && header.sh_size > 0) found.debug_info = true;
    if (name == ".debug_line" && header.sh_size > 0) found.debug_line = true;
    if (header.sh_type == SHT_NOTE && found.build_id.empty()) {
      if (Elf_Data* data = elf_getdata(section, nullptr)) found.build_id = BuildIdIn(data);
    }
    if (header.sh_type == SHT_SYMTAB) {
      found.start_kernel = FindSymbol(elf, section, header, "start_kernel");
    }
  }
  return found;
}

// The compilation unit that covers `address`: by .debug_aranges, else by looking at each.
bool FindUnit(Dwarf* dwarf, Dwarf_Addr address, Dwarf_Die* unit) {
  if (dwarf_addrdie(dwarf, address, unit) != nullptr) return true;
  Dwarf_CU* cursor = nullptr;
  Dwarf_Half version = 0;
  std::uint8_t type = 0;
  Dwarf_Die sub;
  while (dwarf_get_units(dwarf, cursor, &cursor, &version, &type, unit, &sub) == 0) {
    if (dwarf_haspc(unit, address) > 0) return true;
  }
  return false;
}

}  // namespace

std::string GnuBuildIdOf(const UniqueFd& file) {
  const auto elf = OpenElf(file);
  return elf.ok() ? ReadSections(elf->get()).build_id : "";
}

absl::StatusOr<VmlinuxFacts> CheckVmlinux(const UniqueFd& vmlinux) {
  KDBG_ASSIGN_OR_RETURN(ElfHandle elf, OpenElf(vmlinux));
  const Sections sections = ReadSections(elf.get());
  if (!sections.debug_info) return NotUsable("has no debug information (.debug_info)");
  if (!sections.debug_line) return NotUsable("has no line table (.debug_line)");
  if (sections.build_id.empty()) return NotUsable("has no build id");
  if (!sections.start_kernel) return NotUsable("has no symbol start_kernel");

  const DwarfHandle dwarf(dwarf_begin_elf(elf.get(), DWARF_C_READ, nullptr), dwarf_end);
  if (!dwarf) return NotUsable(fmt::format("has damaged debug information ({})", dwarf_errmsg(-1)));
  Dwarf_Die unit;
  if (!FindUnit(dwarf.get(), *sections.start_kernel, &unit)) {
    return NotUsable("has no debug information for start_kernel");
  }
  Dwarf_Line* line = dwarf_getsrc_die(&unit, *sections.start_kernel);
  int number = 0;
  if (line == nullptr || dwarf_lineno(line, &number) != 0 || number <= 0) {
    return NotUsable("has no line table for start_kernel");
  }
  const char* file = dwarf_linesrc(line, nullptr, nullptr);
  return VmlinuxFacts{.gnu_build_id = sections.build_id,
                      .start_kernel = *sections.start_kernel,
                      .start_kernel_file = file == nullptr ? "" : file,
                      .start_kernel_line = number};
}

absl::Status CheckStaticProgram(const UniqueFd& program) {
  KDBG_ASSIGN_OR_RETURN(ElfHandle elf, OpenElf(program));
  std::size_t count = 0;
  if (elf_getphdrnum(elf.get(), &count) != 0 || count == 0) {
    return absl::FailedPreconditionError("the file is no program");
  }
  for (std::size_t i = 0; i < count; ++i) {
    GElf_Phdr header;
    if (gelf_getphdr(elf.get(), static_cast<int>(i), &header) == nullptr) break;
    if (header.p_type == PT_INTERP) {
      return absl::FailedPreconditionError("the program is linked dynamically");
    }
  }
  return absl::OkStatus();
}

}  // namespace kdbg::build
