// The VMM's own emulated device: one MSI-X vector and an INTx line.
#ifndef DEVICE_H
#define DEVICE_H

#include <irqmux.h>
#include <pthread.h>
#include <stdbool.h>

struct device {
    pthread_mutex_t lock; // the virtual processor raises, the mux's thread assigns
    int32_t message, line; // assigned eventfds; -1 for none
    uint64_t messages_raised, lines_raised;
    bool asserted, masked;
};

// What irqmux calls; see irqmux_device_ops.
irqmux_device_ops device_ops(void);
void device_init(struct device *device);
void device_raise(struct device *device);
void device_assert(struct device *device, bool high);

#endif
