// Threads, processor affinity and the wait on a 32-bit word; -errno on failure.
#ifndef IRQMUX_THREAD_H
#define IRQMUX_THREAD_H

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// Starts a thread of the given name (15 characters at most), pinned to processor cpu unless cpu is negative.
// The affinity is set before the thread's first instruction.
int irqmux_thread_start(pthread_t *thread, const char *name, int cpu, void *(*body)(void *), void *context);

// Pins the calling thread to one processor.
int irqmux_pin_this_thread(int cpu);

// A number for the calling thread that no other thread of the process has or had: pthread_self is used again as soon as
// a thread has ended, and what is registered for a thread (a ring's descriptor) must not be taken for its successor's.
// Never 0.
uint64_t irqmux_this_thread(void);

// Lets another runnable thread of this processor go first.
static inline void irqmux_yield(void) { sched_yield(); }

// Waits while *word == expected; spurious returns are possible.
static inline void irqmux_wait_while_equal(const uint32_t *word, uint32_t expected) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

// Wakes everybody who waits on *word.
static inline void irqmux_wake_all(const uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 0x7fffffff, NULL, NULL, 0);
}

#endif
