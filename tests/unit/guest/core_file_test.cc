#include "server/guest/core_file.h"

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "proto/contract/error.h"
#include "proto/support/file.h"
#include "proto/support/unique_fd.h"

namespace kdbg::guest {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::uint64_t kMemoryAt = 0x100;  // in the core
constexpr std::uint64_t kMemoryBytes = 64 << 10;
constexpr std::uint64_t kPresent = 1;
constexpr std::uint64_t kLarge = 1 << 7;

// A core as QEMU 7.2 writes it: registers of one CPU, memory from physical address 0.
class CoreFileTest : public ::testing::Test {
 protected:
  CoreFileTest() : memory_(kMemoryBytes, '\0'), cpu_(8 + 18 * 8 + 10 * 24 + 6 * 8, '\0') {
    SetControl(0, 1ULL << 31);
    SetControl(3, 0x1000);
  }

  void SetControl(int which, std::uint64_t value) {
    std::memcpy(cpu_.data() + 8 + 18 * 8 + 10 * 24 + which * 8, &value, sizeof(value));
  }
  void SetEntry(std::uint64_t table, std::uint64_t index, std::uint64_t value) {
    std::memcpy(memory_.data() + table + index * 8, &value, sizeof(value));
  }
  // `virt` and the page tables from 0x1000 on, one for each level.
  void Map(std::uint64_t virt, std::uint64_t phys) {
    SetEntry(0x1000, virt >> 39 & 511, 0x2000 | kPresent);
    SetEntry(0x2000, virt >> 30 & 511, 0x3000 | kPresent);
    SetEntry(0x3000, virt >> 21 & 511, 0x4000 | kPresent);
    SetEntry(0x4000, virt >> 12 & 511, phys | kPresent);
  }

  std::string Bytes(Elf64_Half machine = EM_X86_64) const {
    Elf64_Nhdr note{.n_namesz = 5, .n_descsz = static_cast<Elf64_Word>(cpu_.size()), .n_type = 0};
    std::string notes(reinterpret_cast<const char*>(&note), sizeof(note));
    notes += std::string("QEMU\0\0\0\0", 8) + cpu_;
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_type = ET_CORE;
    header.e_machine = machine;
    header.e_phoff = sizeof(header);
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = 2;
    Elf64_Phdr segments[2] = {};
    segments[0].p_type = PT_NOTE;
    segments[0].p_offset = kMemoryAt + kMemoryBytes;
    segments[0].p_filesz = notes.size();
    segments[1].p_type = PT_LOAD;
    segments[1].p_offset = kMemoryAt;
    segments[1].p_filesz = segments[1].p_memsz = kMemoryBytes;
    std::string core(reinterpret_cast<const char*>(&header), sizeof(header));
    core.append(reinterpret_cast<const char*>(segments), sizeof(segments));
    core.resize(kMemoryAt);
    return core + memory_ + notes;
  }

  // What a core of these bytes maps above the physical addresses, once it has been worked on.
  std::vector<Elf64_Phdr> Added(const std::string& bytes) {
    const UniqueFd file(::memfd_create("core", MFD_CLOEXEC));
    EXPECT_TRUE(WriteAll(file.get(), bytes).ok());
    EXPECT_TRUE(AddKernelAddresses(file.get()).ok());
    Elf64_Ehdr header{};
    EXPECT_EQ(::pread(file.get(), &header, sizeof(header), 0),
              static_cast<ssize_t>(sizeof(header)));
    std::vector<Elf64_Phdr> all(header.e_phnum);
    const std::size_t size = all.size() * sizeof(Elf64_Phdr);
    EXPECT_EQ(::pread(file.get(), all.data(), size, static_cast<off_t>(header.e_phoff)),
              static_cast<ssize_t>(size));
    std::erase_if(all, [](const Elf64_Phdr& segment) { return segment.p_vaddr < 1ULL << 63; });
    return all;
  }

  std::string memory_;
  std::string cpu_;
};

TEST_F(CoreFileTest, WhatTheKernelHasMappedIsFoundThere) {
  Map(0xffffffff81000000, 0x5000);
  const auto added = Added(Bytes());
  ASSERT_THAT(added, SizeIs(1));
  EXPECT_EQ(added[0].p_vaddr, 0xffffffff81000000);
  EXPECT_EQ(added[0].p_paddr, 0x5000u);
  EXPECT_EQ(added[0].p_offset, kMemoryAt + 0x5000);
  EXPECT_EQ(added[0].p_filesz, 4096u);
}

TEST_F(CoreFileTest, NeighboursAreOneAndWhatTheCoreHasNotIsLeftOut) {
  Map(0xffff888000005000, 0x5000);
  Map(0xffff888000006000, 0x6000);
  Map(0xffff888000008000, 0xfee00000);         // a device
  SetEntry(0x3000, 1, kPresent | kLarge | 0);  // 2 MiB, of which the core has 64 KiB
  const auto added = Added(Bytes());
  ASSERT_THAT(added, SizeIs(2));
  EXPECT_EQ(added[0].p_filesz, 2 * 4096u);
  EXPECT_EQ(added[1].p_vaddr, 0xffff888000200000);
  EXPECT_EQ(added[1].p_filesz, kMemoryBytes);
}

TEST_F(CoreFileTest, UserSpaceIsNotTheKernels) {
  Map(0x0000000000400000, 0x5000);
  EXPECT_THAT(Added(Bytes()), IsEmpty());
}

TEST_F(CoreFileTest, WithIsolatedTablesTheKernelsOwnCount) {
  Map(0xffffffff81000000, 0x5000);
  std::memmove(memory_.data() + 0x6000, memory_.data() + 0x1000, 0x1000);
  std::memset(memory_.data() + 0x1000, 0, 0x1000);
  SetControl(3, 0x7000);  // the user's; the kernel's are the page before
  EXPECT_THAT(Added(Bytes()), SizeIs(1));
}

TEST_F(CoreFileTest, WithoutIsolationThePageBeforeIsNoTable) {
  Map(0xffff888000000000, 0);
  SetEntry(0x3000, 0, kPresent | kLarge | 0);
  for (std::uint64_t i = 256; i < 512; ++i) SetEntry(0, i, 0x2000 | kPresent);
  const auto added = Added(Bytes());
  ASSERT_THAT(added, SizeIs(1));
  EXPECT_EQ(added[0].p_vaddr, 0xffff888000000000);
}

TEST_F(CoreFileTest, TablesThatPointAtThemselvesEnd) {
  for (std::uint64_t i = 256; i < 512; ++i) SetEntry(0x1000, i, 0x1000 | kPresent);
  EXPECT_THAT(Added(Bytes()), ::testing::SizeIs(::testing::Le(40000u)));
}

TEST_F(CoreFileTest, ACpuWithoutPagingAndAnotherArchitectureStayAsTheyAre) {
  Map(0xffffffff81000000, 0x5000);
  EXPECT_THAT(Added(Bytes(EM_AARCH64)), IsEmpty());
  SetControl(0, 0);
  EXPECT_THAT(Added(Bytes()), IsEmpty());
}

TEST_F(CoreFileTest, WhatIsNoCoreIsSaidToBeNone) {
  const UniqueFd file(::memfd_create("core", MFD_CLOEXEC));
  ASSERT_TRUE(WriteAll(file.get(), Bytes().substr(0, 100)).ok());
  EXPECT_TRUE(HasReason(AddKernelAddresses(file.get()), Reason::kDataCorrupt));
}

}  // namespace
}  // namespace kdbg::guest
