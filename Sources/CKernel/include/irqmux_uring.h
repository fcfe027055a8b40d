// io_uring_enter(2) with its extended argument, as one call that returns -errno.
//
// This header must not include <linux/io_uring.h>: liburing ships its own copy under another guard, and both in one
// module clash. What the call needs is written out here; it is kernel ABI and never changes.
#ifndef IRQMUX_URING_H
#define IRQMUX_URING_H

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

// struct io_uring_getevents_arg (Linux 5.11) and the struct __kernel_timespec it points to.
struct irqmux_getevents {
    uint64_t sigmask;
    uint32_t sigmask_size;
    uint32_t min_wait_usec; // was "pad" before Linux 6.12
    uint64_t timeout;       // address of a struct irqmux_timespec, or 0
};
struct irqmux_timespec {
    int64_t seconds;
    int64_t nanoseconds;
};
_Static_assert(sizeof(struct irqmux_getevents) == 24, "struct io_uring_getevents_arg");
_Static_assert(sizeof(struct irqmux_timespec) == 16, "struct __kernel_timespec");

// io_uring_enter without the detour over the C library's syscall() and errno, which a spinning loop would pay every
// 200 ns.
static inline long irqmux_uring_enter_raw(
    long fd, long submit, long wanted, long flags, const void *argument, long argument_size) {
#if defined(__x86_64__)
    long result;
    register long r10 __asm__("r10") = flags;
    register const void *r8 __asm__("r8") = argument;
    register long r9 __asm__("r9") = argument_size;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"((long)SYS_io_uring_enter), "D"(fd), "S"(submit), "d"(wanted), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#else
    long result = syscall(SYS_io_uring_enter, fd, submit, wanted, flags, argument, argument_size);
    return result < 0 ? -errno : result;
#endif
}

// Submits, runs deferred task work, and reaps without waiting. Returns the number submitted, or -errno.
static inline int irqmux_uring_enter(int fd, uint32_t submit, uint32_t flags) {
    return (int)irqmux_uring_enter_raw(fd, submit, 0, flags, NULL, 0);
}

// The same, but lets the kernel run deferred work until `many` completions are there: without that it stops after 20
// (Linux 6.18). Does not wait, though with fewer than `many` it costs a timer. flags as for irqmux_uring_enter_wait.
static inline int irqmux_uring_enter_many(int fd, uint32_t submit, uint32_t flags, uint32_t many) {
    struct irqmux_timespec limit = {0, 0};
    struct irqmux_getevents argument = {0, _NSIG / 8, 0, (uint64_t)(uintptr_t)&limit};
    return (int)irqmux_uring_enter_raw(fd, submit, many, flags, &argument, sizeof argument);
}

// The same as irqmux_uring_enter, then waits for one completion, for at most timeout_ns (UINT64_MAX: for ever). flags
// must hold IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG. -ETIME when the time is up.
static inline int irqmux_uring_enter_wait(int fd, uint32_t submit, uint32_t flags, uint64_t timeout_ns) {
    struct irqmux_timespec limit = {(int64_t)(timeout_ns / 1000000000u), (int64_t)(timeout_ns % 1000000000u)};
    struct irqmux_getevents argument = {0, _NSIG / 8, 0, timeout_ns == UINT64_MAX ? 0 : (uint64_t)(uintptr_t)&limit};
    return (int)irqmux_uring_enter_raw(fd, submit, 1, flags, &argument, sizeof argument);
}

#endif
