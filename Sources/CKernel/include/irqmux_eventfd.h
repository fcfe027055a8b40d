// eventfd(2) and the few file-descriptor calls the rooms need; -errno on failure.
#ifndef IRQMUX_EVENTFD_H
#define IRQMUX_EVENTFD_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

// Always EFD_NONBLOCK | EFD_CLOEXEC: a blocking eventfd stalls whoever signals it once its counter is full, and sends
// io_uring writes to a kernel worker thread (Linux fs/eventfd.c, io_uring/rw.c).
static inline int irqmux_eventfd_create(unsigned int initial) {
    int fd = eventfd(initial, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

// Adds to the counter. 0, or -EAGAIN when the counter is full, -EBADF, -EINVAL.
static inline int irqmux_eventfd_signal(int fd, uint64_t count) {
    return write(fd, &count, sizeof count) == (ssize_t)sizeof count ? 0 : -errno;
}

// Takes the counter and zeroes it. 0 with *count set, or -EAGAIN when it was zero already.
static inline int irqmux_eventfd_take(int fd, uint64_t *count) {
    return read(fd, count, sizeof *count) == (ssize_t)sizeof *count ? 0 : -errno;
}

static inline int irqmux_close(int fd) { return close(fd) < 0 ? -errno : 0; }

static inline int irqmux_duplicate(int fd) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? -errno : copy;
}

// 0 when fd is open, -EBADF otherwise.
static inline int irqmux_fd_is_open(int fd) { return fcntl(fd, F_GETFD) < 0 ? -errno : 0; }

#endif
