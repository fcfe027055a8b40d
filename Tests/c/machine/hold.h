// What a VMM does to have a VFIO device of its own, without irqmux.
#ifndef HOLD_H
#define HOLD_H

#include <stdbool.h>

struct held {
    int device, space, group; // descriptors: the device, its container or iommufd, its group or -1
};

// By character device and iommufd, not by group.
extern bool by_character_device;

// Opens a device by its PCI address; false where it cannot, after saying why.
bool hold(struct held *held, const char *address);
void let_go(struct held *held);

#endif
