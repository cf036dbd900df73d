#include "server/host/kvm_probe_rom.h"

#if defined(__x86_64__)

// Assembled with the rest of the program. Labels are turned into addresses where the code will lie
// in the guest.
asm(R"(
  .pushsection .rodata
  .balign 16
kdbg_probe_rom_begin:
  .code16
  cli
  lgdtl kdbg_probe_gdt_pointer + 0x1000 - kdbg_probe_rom_begin
  movl %cr0, %eax
  orl $1, %eax
  movl %eax, %cr0
  ljmpl $0x08, $(kdbg_probe_protected + 0x1000 - kdbg_probe_rom_begin)

  .code32
kdbg_probe_protected:
  movw $0x10, %ax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %ss
  movl $0x11003, 0x10000      # page tables: the first 2 MiB, and those around the local APIC
  movl $0x12003, 0x11000
  movl $0x13003, 0x11018
  movl $0x00000083, 0x12000
  movl $0xfee00093, 0x13fb8   # uncached
  movl %cr4, %eax
  orl $0x20, %eax             # PAE
  movl %eax, %cr4
  movl $0x10000, %eax
  movl %eax, %cr3
  movl $0xc0000080, %ecx      # EFER.LME
  rdmsr
  orl $0x100, %eax
  wrmsr
  movl %cr0, %eax
  orl $0x80000000, %eax
  movl %eax, %cr0
  ljmp $0x18, $(kdbg_probe_long + 0x1000 - kdbg_probe_rom_begin)

  .code64
kdbg_probe_long:
  movl $0x9000, %esp
  movabsq $0x1122334400000000, %rax
  shrq $32, %rax
  outl %eax, $0xf4
  movl $10000000, %ecx        # 20 ms of work for a CPU that runs it, a minute for one that emulates it
3:
  addl %ecx, 0x7000
  decl %ecx
  jnz 3b
  movl $0x33445566, %eax
  outl %eax, $0xf4
  # Vector 0x20: an interrupt gate at 0x8000 + 0x20 * 16.
  movl $(kdbg_probe_interrupt + 0x1000 - kdbg_probe_rom_begin), %eax
  movl $0x8200, %edi
  movw %ax, (%rdi)
  movw $0x18, 2(%rdi)
  movw $0x8e00, 4(%rdi)
  shrl $16, %eax
  movw %ax, 6(%rdi)
  lidt kdbg_probe_idt_pointer - kdbg_probe_rom_begin + 0x1000
  movl $0xfee00000, %edi
  movl $0x1ff, 0xf0(%rdi)     # enable the local APIC
  movl $0xb, 0x3e0(%rdi)      # timer: divide by 1, once, vector 0x20
  movl $0x20, 0x320(%rdi)
  movl $100000, 0x380(%rdi)
  sti
1:
  hlt
  jmp 1b
kdbg_probe_interrupt:
  movl $0x55667788, %eax
  outl %eax, $0xf4
2:
  hlt
  jmp 2b

  .balign 8
kdbg_probe_gdt:
  .quad 0
  .quad 0x00cf9b000000ffff    # 0x08: 32-bit code
  .quad 0x00cf93000000ffff    # 0x10: data
  .quad 0x00af9b000000ffff    # 0x18: 64-bit code
kdbg_probe_gdt_pointer:
  .word 31
  .long kdbg_probe_gdt - kdbg_probe_rom_begin + 0x1000
kdbg_probe_idt_pointer:
  .word 0x20f
  .quad 0x8000
kdbg_probe_rom_end:
  .popsection
)");

extern "C" {
extern const std::uint8_t kdbg_probe_rom_begin[];
extern const std::uint8_t kdbg_probe_rom_end[];
}

namespace kdbg::host {

std::span<const std::uint8_t> ProbeRom() {
  return {kdbg_probe_rom_begin,
          static_cast<std::size_t>(kdbg_probe_rom_end - kdbg_probe_rom_begin)};
}

}  // namespace kdbg::host

#else

namespace kdbg::host {

std::span<const std::uint8_t> ProbeRom() { return {}; }

}  // namespace kdbg::host

#endif
