// The VMM's own emulated device: a PCI function with one MSI-X vector and an INTx line. No guest's registers are in
// here, but those that are the device's own: irqmux answers for the table, the pending bits and message control.
#ifndef DEVICE_H
#define DEVICE_H

#include <irqmux.h>
#include <pthread.h>
#include <stdbool.h>

enum { device_bar_size = 0x1000 };

struct device {
    pthread_mutex_t lock;   // the virtual processor raises, the mux's thread assigns, the listener unmasks
    pthread_t listener;
    int32_t message, line;  // assigned eventfds; -1 for none
    int32_t unmask, wake;   // the eventfd that unmasks, a duplicate; what wakes its listener
    uint64_t messages_raised, lines_raised;
    bool masked, ended;
    irqmux_intx_registers pin;
    uint8_t space[256];     // configuration space
};

// What irqmux calls; see irqmux_device_ops.
irqmux_device_ops device_ops(void);
// 0 or -errno.
int32_t device_init(struct device *device);
void device_end(struct device *device);
// The guest wrote a register of BAR 0.
void device_write(struct device *device, uint64_t offset);
// Where the guest has put a BAR; 0 for one that is not there, or while memory space is off.
uint64_t device_bar(struct device *device, uint32_t bar);

#endif
