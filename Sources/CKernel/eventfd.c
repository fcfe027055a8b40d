#define _GNU_SOURCE
#include "irqmux_eventfd.h"

#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int irqmux_eventfd_peek(int fd, uint64_t *count) {
    char path[40], text[512];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    int info = open(path, O_RDONLY | O_CLOEXEC);
    if (info < 0) return errno == ENOENT ? -EBADF : -errno;
    ssize_t length = read(info, text, sizeof text - 1);
    int error = errno;
    close(info);
    if (length < 0) return -error;
    text[length] = 0;
    const char *field = strstr(text, "eventfd-count:");
    if (!field) return -EINVAL;
    *count = strtoull(field + sizeof "eventfd-count:" - 1, NULL, 16);
    return 0;
}

int irqmux_eventfd_probe_create(void) {
    struct io_uring_params params;
    memset(&params, 0, sizeof params);
    long ring = syscall(SYS_io_uring_setup, 1, &params);
    return ring < 0 ? -errno : (int)ring;
}

int irqmux_eventfd_probe(int probe, int fd) {
    if (syscall(SYS_io_uring_register, probe, IORING_REGISTER_EVENTFD, &fd, 1) == 0) {
        syscall(SYS_io_uring_register, probe, IORING_UNREGISTER_EVENTFD, NULL, 0);
        return 1;
    }
    return errno == EINVAL ? 0 : -errno;
}
