// Numbers that the guest and the VMM agree on; also read by the assembler.
#ifndef GUEST_H
#define GUEST_H

#define GUEST_ORIGIN 0x1000
#define GUEST_LINE 5
#define VECTOR_MESSAGE 0x40
#define VECTOR_COMPLETION 0x41

// Ports: PCI's two, and the machine's own.
#define PORT_ADDRESS 0xcf8
#define PORT_DATA 0xcfc
#define PORT_POWER_OFF 0x50c
#define PORT_DOORBELL 0x510

// The device: vendor and number, the registers in its BAR 0, and the BAR that has table and pending bits.
#define DEVICE_IDENTITY 0x49511234
#define REGISTER_RAISE 0x00
#define REGISTER_ASSERT 0x04
#define REGISTER_LET_GO 0x08
#define BAR_MESSAGES 2

// Where the guest puts the BARs: segments of real mode.
#define SEGMENT_REGISTERS 0xd000
#define SEGMENT_MESSAGES 0xe000

// Beside the rounds, one message is raised under the function mask and one under the entry's.
#define MASKED_MESSAGES 2

// Counters in the guest's memory.
#define COUNT_ROUNDS 0x800
#define COUNT_MESSAGES_WANTED 0x804
#define COUNT_MESSAGES_TAKEN 0x808
#define COUNT_LINE_WANTED 0x80c
#define COUNT_LINE_TAKEN 0x810
#define COUNT_PAIR_WANTED 0x814
#define COUNT_PAIR_TAKEN 0x818
#define COUNT_PENDING_SEEN 0x81c

// The driver's own: the function as PORT_ADDRESS has it, its MSI-X capability, where table and pending bits begin.
#define OWN_FUNCTION 0x820
#define OWN_CAPABILITY 0x824
#define OWN_TABLE 0x828
#define OWN_PENDING 0x82c

#endif
