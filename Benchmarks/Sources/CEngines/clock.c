#include "bench_clock.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

bool bench_clock_is_invariant(void) {
#if defined(__x86_64__)
    unsigned int a, b, c, d;
    return __get_cpuid(0x80000007u, &a, &b, &c, &d) && (d & (1u << 8)) != 0;
#else
    return true; // arm64's generic timer is architecturally constant; CLOCK_MONOTONIC is what it says
#endif
}

double bench_clock_calibrate(void) {
    const uint64_t start_ns = bench_monotonic_ns();
    const uint64_t start = bench_cycles();
    uint64_t now_ns;
    do now_ns = bench_monotonic_ns();
    while (now_ns - start_ns < 50000000u);
    return (double)(now_ns - start_ns) / (double)(bench_cycles() - start);
}
