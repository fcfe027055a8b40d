// Links the Embedded archive as a VMM would, calls every room through the probe, and compares with what must come out.
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

int64_t irqmux_probe_eventfd(int32_t times, uint64_t count);
int32_t irqmux_probe_error(int32_t number);
uint64_t irqmux_probe_percentile(double percent, uint64_t count);
int64_t irqmux_probe_request(uint32_t size, uint32_t start, uint32_t count);
int64_t irqmux_probe_mux(uint32_t vectors);

static int failures;

static void check(const char *what, int64_t got, int64_t low, int64_t high) {
    if (got >= low && got <= high) return;
    failures++;
    printf("%s: got %" PRId64 ", wanted %" PRId64 " to %" PRId64 "\n", what, got, low, high);
}

int main(void) {
    check("eventfd, three signals of 5", irqmux_probe_eventfd(3, 5), 15, 15);
    check("eventfd, no signal", irqmux_probe_eventfd(0, 1), 0, 0);
    check("signal to a closed number", irqmux_probe_error(-1), EBADF, EBADF);
    check("percentile of nothing", (int64_t)irqmux_probe_percentile(50, 0), 0, 0);
    check("median of 1…100", (int64_t)irqmux_probe_percentile(50, 100), 50, 50);
    check("p99 of 1…100000", (int64_t)irqmux_probe_percentile(99, 100000), 98200, 99800);
    check("assign [0, 64) of 64", irqmux_probe_request(64, 0, 64), 0, 0);
    check("assign [60, 65) of 64", irqmux_probe_request(64, 60, 5), -EINVAL, -EINVAL);
    check("mux, 64 vectors raised, one masked and unmasked", irqmux_probe_mux(64), 65, 65);
    if (failures == 0) puts("ok");
    return failures != 0;
}
