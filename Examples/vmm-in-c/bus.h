// A PCI bus with one function on it: which access of the guest is meant for the device, and which concern interrupts.
#ifndef BUS_H
#define BUS_H

#include "device.h"
#include "machine.h"

struct bus {
    irqmux_mux mux;
    irqmux_function function;
    struct device *device;
    irqmux_capabilities capabilities; // where table and pending bits are
    uint32_t address;                 // what the guest wrote to PORT_ADDRESS last
};

// Answers an access; 0, -ENXIO where nobody is, or another negated errno.
int32_t bus_answer(struct bus *bus, const struct access *access);

#endif
