// What runs inside the guest: 16-bit code, loaded at GUEST_ORIGIN. A PCI driver, its interrupt handlers and nothing
// else. The C and the Rust example share it; guest.h has the numbers.
#include "guest.h"

    .section .rodata
    .globl guest_begin, guest_end
    .code16
#define AT(label) (label - guest_begin + GUEST_ORIGIN)

guest_begin:
    cli
    // The PIC: vectors from 0x20, line 5 open and level-triggered, everything else masked.
    mov $0x11, %al
    out %al, $0x20
    mov $0x20, %al
    out %al, $0x21
    mov $0x04, %al
    out %al, $0x21
    mov $0x01, %al
    out %al, $0x21
    mov $(0xff ^ (1 << GUEST_LINE)), %al
    out %al, $0x21
    mov $(1 << GUEST_LINE), %al
    mov $0x4d0, %dx
    out %al, (%dx)

    // Find the device; if it is not there, the counters stay zero.
    movl $0x80000000, OWN_FUNCTION
1:  xor %bx, %bx
    call config_read
    cmp $DEVICE_IDENTITY, %eax
    je 2f
    addl $0x800, OWN_FUNCTION
    cmpl $0x80010000, OWN_FUNCTION
    jb 1b
    jmp power_off

    // Give it addresses; memory space and bus master on.
2:  mov $0x10, %bx
    mov $(SEGMENT_REGISTERS << 4), %eax
    call config_write
    mov $(0x10 + 4 * BAR_MESSAGES), %bx
    mov $(SEGMENT_MESSAGES << 4), %eax
    call config_write
    mov $0x04, %bx
    mov $0x0006, %eax
    call config_write

    // Walk its chain to MSI-X.
    mov $0x34, %bx
    call config_read
3:  and $0xfc, %al
    movzx %al, %bx
    cmp $0x40, %bx
    jb power_off
    call config_read
    cmp $0x11, %al
    je 4f
    shr $8, %eax
    jmp 3b
4:  mov %bx, OWN_CAPABILITY
    add $4, %bx
    call find_messages
    mov %ax, OWN_TABLE
    add $4, %bx
    call find_messages
    mov %ax, OWN_PENDING

    // Under the function mask: the entry is open, the message pends, and comes when the mask goes.
    mov $0xc000, %ax
    call write_control
    mov OWN_TABLE, %es
    movl $0xfee00000, %es:0
    movl $0, %es:4
    movl $VECTOR_MESSAGE, %es:8
    movl $0, %es:12
    call raise_masked
    mov $0x8000, %ax
    call write_control
    call sleep_for_message

    // By message: raise, sleep until the handler has counted it, raise the next.
5:  call raise
    call sleep_for_message
    dec %eax
    cmp COUNT_ROUNDS, %eax
    jb 5b

    // Under the entry's own mask: the same. Then MSI-X off, because a function interrupts in one way at a time.
    mov OWN_TABLE, %es
    movl $1, %es:12
    call raise_masked
    mov OWN_TABLE, %es
    movl $0, %es:12
    call sleep_for_message
    xor %ax, %ax
    call write_control

    // By line.
6:  incl COUNT_LINE_WANTED
    mov $SEGMENT_REGISTERS, %ax
    mov %ax, %es
    movl $1, %es:REGISTER_ASSERT
    mov $COUNT_LINE_TAKEN, %di
    mov $COUNT_LINE_WANTED, %si
    call sleep_until
    cmp COUNT_ROUNDS, %eax
    jb 6b

    // A pair: ring its doorbell, which is no exit, and sleep until the host has completed.
7:  incl COUNT_PAIR_WANTED
    mov $1, %eax
    mov $PORT_DOORBELL, %dx
    out %eax, (%dx)
    mov $COUNT_PAIR_TAKEN, %di
    mov $COUNT_PAIR_WANTED, %si
    call sleep_until
    cmp COUNT_ROUNDS, %eax
    jb 7b

power_off:
    mov $PORT_POWER_OFF, %dx
    out %eax, (%dx)
8:  hlt
    jmp 8b

// Sleeps until the counter at DI has reached the one at SI; EAX is its value. An interrupt that comes between the look
// and the hlt is taken after hlt's predecessor, so it wakes.
sleep_for_message:
    mov $COUNT_MESSAGES_TAKEN, %di
    mov $COUNT_MESSAGES_WANTED, %si
sleep_until:
    cli
    mov (%di), %eax
    cmp (%si), %eax
    jae 9f
    sti
    hlt
    jmp sleep_until
9:  sti
    ret

// Configuration space at register BX.
select:
    movzx %bx, %eax
    add OWN_FUNCTION, %eax
    mov $PORT_ADDRESS, %dx
    out %eax, (%dx)
    mov $PORT_DATA, %dx
    ret
config_read:
    call select
    in (%dx), %eax
    ret
config_write:
    push %eax
    call select
    pop %eax
    out %eax, (%dx)
    ret

// Message Control becomes AX: bit 15 enables, bit 14 masks the function.
write_control:
    push %ax
    mov OWN_CAPABILITY, %bx
    call select
    add $2, %dx
    pop %ax
    out %ax, (%dx)
    ret

// The segment of what the capability's register at BX tells the place of; it has to be in BAR_MESSAGES.
find_messages:
    call config_read
    mov %al, %cl
    and $7, %cl
    cmp $BAR_MESSAGES, %cl
    jne power_off
    and $~7, %eax
    add $(SEGMENT_MESSAGES << 4), %eax
    shr $4, %eax
    ret

raise:
    incl COUNT_MESSAGES_WANTED
    mov $SEGMENT_REGISTERS, %ax
    mov %ax, %es
    movl $1, %es:REGISTER_RAISE
    ret

// Raises a message that must not come, and waits for its pending bit, to which it is on its way for a moment.
raise_masked:
    call raise
    mov OWN_PENDING, %es
10: mov %es:0, %eax
    test $1, %al
    jz 10b
    incl COUNT_PENDING_SEEN
    ret

message:
    pushal
    incl COUNT_MESSAGES_TAKEN
    jmp end_by_apic
completion:
    pushal
    incl COUNT_PAIR_TAKEN
end_by_apic:
    xor %eax, %eax
    xor %edx, %edx
    mov $0x80b, %ecx // the end of the interrupt, in x2APIC mode
    wrmsr
    popal
    iret

// Quiet the device first: a line that is still asserted at the end of the interrupt would fire again.
line:
    push %ax
    push %es
    mov $SEGMENT_REGISTERS, %ax
    mov %ax, %es
    movl $1, %es:REGISTER_LET_GO
    pop %es
    incl COUNT_LINE_TAKEN
    mov $0x20, %al
    out %al, $0x20
    pop %ax
    iret
spurious:
    iret
guest_end:

    // What the VMM writes into the table of interrupt vectors: pairs of vector and address, ended by 0.
    .globl guest_vectors
    .balign 2
guest_vectors:
    .short VECTOR_MESSAGE, AT(message), VECTOR_COMPLETION, AT(completion), 0x20 + GUEST_LINE, AT(line)
    .short 0x27, AT(spurious), 0xff, AT(spurious), 0

    .section .note.GNU-stack, "", @progbits
