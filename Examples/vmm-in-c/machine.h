// A virtual machine of one processor and 64 KiB, by /dev/kvm and nothing else: no irqmux in here.
#ifndef MACHINE_H
#define MACHINE_H

#include <linux/kvm.h>
#include <stdint.h>

struct machine {
    int vm, vcpu;
    uint8_t *memory;
    struct kvm_run *run;
    unsigned long exits;
};

// 0, or -errno with *what the operation that failed.
int machine_make(struct machine *machine, uint32_t rounds, const char **what);
// Runs until the guest writes to a port; 1 with port, 0 when it was interrupted, or -errno.
int machine_run(struct machine *machine, uint16_t *port);
uint32_t machine_count(const struct machine *machine, uint16_t address);
void machine_free(struct machine *machine);

#endif
