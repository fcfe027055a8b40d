// epoll, for machines where io_uring is forbidden or missing; -errno on failure.
#ifndef IRQMUX_EPOLL_H
#define IRQMUX_EPOLL_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static inline int irqmux_epoll_create(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

// Adds or changes (EPOLL_CTL_ADD, EPOLL_CTL_MOD) or removes (EPOLL_CTL_DEL) one descriptor.
static inline int irqmux_epoll_control(int epoll, int operation, int fd, uint32_t events, uint64_t token) {
    struct epoll_event event = {.events = events, .data = {.u64 = token}};
    return epoll_ctl(epoll, operation, fd, &event) < 0 ? -errno : 0;
}

// Waits for at most timeout_ns (UINT64_MAX: for ever, 0: not at all). epoll_pwait2 (Linux 5.11) takes nanoseconds;
// before it the time is rounded up to milliseconds, so that a timer is late rather than early. EPERM is no answer of
// the kernel's: container filters that are older than the call give it, and where io_uring is forbidden one is likely.
static inline int irqmux_epoll_wait(int epoll, struct epoll_event *events, int capacity, uint64_t timeout_ns) {
    struct timespec limit = {(time_t)(timeout_ns / 1000000000u), (long)(timeout_ns % 1000000000u)};
    long result = syscall(SYS_epoll_pwait2, epoll, events, capacity, timeout_ns == UINT64_MAX ? NULL : &limit, NULL, 0);
    if (result < 0 && (errno == ENOSYS || errno == EPERM)) {
        uint64_t ms = timeout_ns / 1000000u + (timeout_ns % 1000000u != 0);
        int wait = timeout_ns == UINT64_MAX ? -1 : ms > 0x7fffffffu ? 0x7fffffff : (int)ms;
        result = epoll_wait(epoll, events, capacity, wait);
    }
    return result < 0 ? -errno : (int)result;
}

#endif
