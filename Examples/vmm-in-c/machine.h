// A virtual machine of one processor and 64 KiB, by /dev/kvm and nothing else: no irqmux in here.
#ifndef MACHINE_H
#define MACHINE_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

struct machine {
    int vm, vcpu;
    uint8_t *memory;
    struct kvm_run *run;
    unsigned long exits;
};

// What the guest reached for. KVM carries the instruction out when the machine runs next, so a read's
// answer has to be there before that.
struct access {
    bool is_port, is_write;
    uint64_t address; // guest-physical, or a port
    uint32_t width;
    uint64_t value;   // of a write
    void *data;       // of a read: where `width` bytes go
};

// 0, or -errno with *what the operation that failed.
int machine_make(struct machine *machine, uint32_t rounds, const char **what);
// Runs until the guest reaches for something that KVM leaves to the VMM: 1, 0 when it was interrupted, or -errno.
int machine_run(struct machine *machine, struct access *access);
void machine_answer(const struct access *access, uint64_t value);
uint32_t machine_count(const struct machine *machine, uint16_t address);
void machine_free(struct machine *machine);

#endif
