// The processor's cycle counter, CLOCK_MONOTONIC, and the spin-wait hint.
#ifndef IRQMUX_CYCLES_H
#define IRQMUX_CYCLES_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

// The cycle counter. Not ordered against neighbouring loads and stores: a stamp may move by some tens of cycles, which
// is far below what is measured with it, and an ordered read costs more than the event it would stamp.
static inline uint64_t irqmux_cycles(void) {
#if defined(__x86_64__)
    return __rdtsc();
#elif defined(__aarch64__)
    uint64_t value;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
    return value;
#else
    return 0;
#endif
}

// Whether the counter runs at one rate in every power state and on every processor.
static inline bool irqmux_cycles_are_invariant(void) {
#if defined(__x86_64__)
    unsigned int a, b, c, d;
    if (!__get_cpuid(0x80000007u, &a, &b, &c, &d)) return false;
    return (d & (1u << 8)) != 0;
#elif defined(__aarch64__)
    return true; // the generic timer is architecturally constant
#else
    return false;
#endif
}

// CLOCK_MONOTONIC in nanoseconds.
static inline uint64_t irqmux_monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// (value * multiplier) >> shift without losing the high half of the product.
static inline uint64_t irqmux_scale(uint64_t value, uint64_t multiplier, unsigned int shift) {
    return (uint64_t)(((unsigned __int128)value * multiplier) >> shift);
}

// Asks for the cache line at address, to be written soon. Never faults.
static inline void irqmux_prefetch(const void *address) { __builtin_prefetch(address, 1, 3); }

// Tells the processor that this is a spin-wait loop.
static inline void irqmux_pause(void) {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
