// What runs inside the guest: 16-bit code, loaded at GUEST_ORIGIN. A driver, its interrupt handlers and nothing else.
// The C and the Rust example share it; guest.h has the numbers.
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

    // By message: raise, sleep until the handler has counted it, raise the next.
1:  incl COUNT_MESSAGES_WANTED
    mov $1, %eax
    mov $PORT_RAISE, %dx
    out %eax, (%dx)
    mov $COUNT_MESSAGES_TAKEN, %di
    mov $COUNT_MESSAGES_WANTED, %si
    call sleep_until
    cmp COUNT_ROUNDS, %eax
    jb 1b

    // By line: the same.
2:  incl COUNT_LINE_WANTED
    mov $1, %eax
    mov $PORT_ASSERT, %dx
    out %eax, (%dx)
    mov $COUNT_LINE_TAKEN, %di
    mov $COUNT_LINE_WANTED, %si
    call sleep_until
    cmp COUNT_ROUNDS, %eax
    jb 2b

    // A pair: ring its doorbell, which is no exit, and sleep until the host has completed.
3:  incl COUNT_PAIR_WANTED
    mov $1, %eax
    mov $PORT_DOORBELL, %dx
    out %eax, (%dx)
    mov $COUNT_PAIR_TAKEN, %di
    mov $COUNT_PAIR_WANTED, %si
    call sleep_until
    cmp COUNT_ROUNDS, %eax
    jb 3b

    mov $PORT_POWER_OFF, %dx
    out %eax, (%dx)
4:  hlt
    jmp 4b

// Sleeps until the counter at DI has reached the one at SI; EAX is its value. An interrupt that comes between the look
// and the hlt is taken after hlt's predecessor, so it wakes.
sleep_until:
    cli
    mov (%di), %eax
    cmp (%si), %eax
    jae 5f
    sti
    hlt
    jmp sleep_until
5:  sti
    ret

// Handlers spoil EAX, ECX and EDX: they interrupt a sleep, which holds nothing in them.
message:
    incl COUNT_MESSAGES_TAKEN
    jmp end_by_apic
completion:
    incl COUNT_PAIR_TAKEN
end_by_apic:
    xor %eax, %eax
    xor %edx, %edx
    mov $0x80b, %ecx // the end of the interrupt, in x2APIC mode
    wrmsr
    iret

// Quiet the device first: a line that is still asserted at the end of the interrupt would fire again.
line:
    mov $1, %eax
    mov $PORT_LET_GO, %dx
    out %eax, (%dx)
    incl COUNT_LINE_TAKEN
    mov $0x20, %al
    out %al, $0x20
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
