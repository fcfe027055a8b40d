// errno values and ioctl, in the form Swift can use.
#ifndef IRQMUX_ERRNO_H
#define IRQMUX_ERRNO_H

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

// ioctl is variadic, which Swift does not import. Returns the ioctl's result, or -errno.
static inline int irqmux_ioctl(int fd, unsigned long request, void *argument) {
    int result = ioctl(fd, request, argument);
    return result < 0 ? -errno : result;
}

// For ioctls whose argument is a number and not an address (KVM_CREATE_VCPU, KVM_CHECK_EXTENSION, …).
static inline int irqmux_ioctl_value(int fd, unsigned long request, unsigned long value) {
    int result = ioctl(fd, request, value);
    return result < 0 ? -errno : result;
}

// "EINVAL" for 22; "E?" for a number this C library has no name for. The text is static.
const char *irqmux_errno_name(int number);

#endif
