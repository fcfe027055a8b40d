// Numbers that the guest and the VMM agree on; also read by the assembler.
#ifndef GUEST_H
#define GUEST_H

#define GUEST_ORIGIN 0x1000
#define GUEST_LINE 5
#define VECTOR_MESSAGE 0x40
#define VECTOR_COMPLETION 0x41

// The device's registers, by port.
#define PORT_RAISE 0x500
#define PORT_ASSERT 0x504
#define PORT_LET_GO 0x508
#define PORT_POWER_OFF 0x50c
#define PORT_DOORBELL 0x510

// Counters in the guest's memory.
#define COUNT_ROUNDS 0x800
#define COUNT_MESSAGES_WANTED 0x804
#define COUNT_MESSAGES_TAKEN 0x808
#define COUNT_LINE_WANTED 0x80c
#define COUNT_LINE_TAKEN 0x810
#define COUNT_PAIR_WANTED 0x814
#define COUNT_PAIR_TAKEN 0x818

#endif
