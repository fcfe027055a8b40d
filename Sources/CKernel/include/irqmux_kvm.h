// The KVM user-space API (<linux/kvm.h>), and the ioctl numbers that Swift cannot import because they are macros.
#ifndef IRQMUX_KVM_H
#define IRQMUX_KVM_H

#include <linux/kvm.h>

#endif
