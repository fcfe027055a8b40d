// eventfd(2) and the few file-descriptor calls the rooms need; -errno on failure.
#ifndef IRQMUX_EVENTFD_H
#define IRQMUX_EVENTFD_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
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

// Adds one to the counter of an eventfd that may lack O_NONBLOCK, on which write(2) stalls once the counter is full:
// -EAGAIN then, as for any other. (Writing has no RWF_NOWAIT: fs/eventfd.c has no write_iter.)
static inline int irqmux_eventfd_signal_without_waiting(int fd) {
    struct pollfd room = {fd, POLLOUT, 0};
    if (poll(&room, 1, 0) < 0) return -errno;
    return room.revents & POLLOUT ? irqmux_eventfd_signal(fd, 1) : -EAGAIN;
}

// Takes the counter and zeroes it. 0 with *count set, or -EAGAIN when it was zero already.
static inline int irqmux_eventfd_take(int fd, uint64_t *count) {
    return read(fd, count, sizeof *count) == (ssize_t)sizeof *count ? 0 : -errno;
}

// The same for an eventfd that may lack O_NONBLOCK, on which read(2) could stall: RWF_NOWAIT never waits (Linux 5.8).
static inline int irqmux_eventfd_take_without_waiting(int fd, uint64_t *count) {
    struct iovec vector = {count, sizeof *count};
    long result = syscall(SYS_preadv2, fd, &vector, 1, (long)-1, (long)-1, 0x8 /* RWF_NOWAIT */);
    if (result < 0 && errno == EOPNOTSUPP) return irqmux_eventfd_take(fd, count);
    return result == (long)sizeof *count ? 0 : -errno;
}

// The counter without taking it, from /proc/self/fdinfo (since Linux 3.8). Some microseconds: never per event. It is
// the only way to look at an eventfd that somebody polls: taking the counter would make the poller find nothing and
// swallow the notification. 0, -EBADF, -EINVAL when fd is not an eventfd, or the errno of opening the file.
int irqmux_eventfd_peek(int fd, uint64_t *count);

// A way to ask the kernel whether a descriptor is an eventfd that touches neither it nor its counter, five times faster
// than reading the link in /proc: a ring of one entry takes eventfds to notify, and nothing else (io_uring_register,
// IORING_REGISTER_EVENTFD, Linux 5.2). The descriptor of such a ring, or -errno where rings are forbidden.
int irqmux_eventfd_probe_create(void);

// 1 when fd is an eventfd, 0 when it is another file, -EBADF when it is not open; any other -errno when the kernel
// would not say. One caller at a time for each probe.
int irqmux_eventfd_probe(int probe, int fd);

static inline int irqmux_close(int fd) { return close(fd) < 0 ? -errno : 0; }

static inline int irqmux_duplicate(int fd) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? -errno : copy;
}

// 0 when fd is open, -EBADF otherwise.
static inline int irqmux_fd_is_open(int fd) { return fcntl(fd, F_GETFD) < 0 ? -errno : 0; }

// The status flags (O_NONBLOCK, …) of an open descriptor, or -EBADF.
static inline int irqmux_fd_flags(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -errno : flags;
}

#endif
