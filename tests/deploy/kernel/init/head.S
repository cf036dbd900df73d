# From QEMU's PVH entry (32 bits, no paging) to start_kernel in long mode, the first 1 GiB mapped as it is.
        .section .note.pvh, "a", @note
        .long 4, 4, 18  # XEN_ELFNOTE_PHYS32_ENTRY
        .asciz "Xen"
        .long _start

        .text
        .code32
        .globl _start
_start: cli
        movl $pages, %edi
        leal 0x1003(%edi), %eax
        movl %eax, (%edi)
        leal 0x2003(%edi), %eax
        movl %eax, 0x1000(%edi)
        movl $0x83, %eax
        xorl %ecx, %ecx
1:      movl %eax, 0x2000(%edi, %ecx, 8)
        addl $0x200000, %eax
        incl %ecx
        cmpl $512, %ecx
        jne 1b
        movl %edi, %cr3
        movl $0x20, %eax  # PAE
        movl %eax, %cr4
        movl $0xc0000080, %ecx
        rdmsr
        orl $0x100, %eax  # EFER.LME
        wrmsr
        movl $0x80000011, %eax  # PG, ET, PE
        movl %eax, %cr0
        lgdt gdt_pointer
        ljmp $8, $long_mode
        .code64
long_mode:
        movl $16, %eax
        movl %eax, %ds
        movl %eax, %es
        movl %eax, %ss
        movl $stack_end, %esp
        call start_kernel

        .data
        .balign 8
gdt:    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
        .word 23
        .long gdt

        .bss
        .balign 4096
pages:  .skip 0x3000
        .skip 0x4000
stack_end:
        .section .note.GNU-stack, "", @progbits
