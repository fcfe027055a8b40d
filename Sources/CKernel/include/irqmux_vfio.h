// The VFIO user-space API (<linux/vfio.h>), with the sizes the encoders rely on.
#ifndef IRQMUX_VFIO_H
#define IRQMUX_VFIO_H

#include <linux/vfio.h>

_Static_assert(sizeof(struct vfio_irq_set) == 20, "VFIO_DEVICE_SET_IRQS header");
_Static_assert(sizeof(struct vfio_irq_info) == 16, "VFIO_DEVICE_GET_IRQ_INFO");

#endif
