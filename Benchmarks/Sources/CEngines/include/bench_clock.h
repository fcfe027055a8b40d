// The clock of the benchmarks: the cycle counter where it exists, CLOCK_MONOTONIC elsewhere.
//
// The reader subtracts a stamp that another processor took, so the counter must run alike on all of them;
// bench_clock_is_cycles says whether it does, and the results carry the answer.
#ifndef IRQMUX_BENCH_CLOCK_H
#define IRQMUX_BENCH_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

static inline uint64_t bench_monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t bench_cycles(void) {
#if defined(__x86_64__)
    return __rdtsc();
#elif defined(__aarch64__)
    uint64_t value;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
    return value;
#else
    return bench_monotonic_ns();
#endif
}

// Tells the processor that this is a spin-wait loop.
static inline void bench_pause(void) {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Whether bench_cycles has one rate in every power state and on every processor.
bool bench_clock_is_invariant(void);

// Nanoseconds of one unit of bench_cycles, measured against CLOCK_MONOTONIC for 50 ms.
double bench_clock_calibrate(void);

#endif
