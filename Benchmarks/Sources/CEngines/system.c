// Processors, limits, eventfds, the watchdog.
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench_writer.h"

int bench_pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof set, &set) < 0 ? -errno : 0;
}

int bench_cpu_count(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) < 0 ? 1 : CPU_COUNT(&set);
}

int bench_cpu(int i) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0) return 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &set) && i-- == 0) return cpu;
    return 0;
}

uint64_t bench_raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return 0;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

int bench_eventfds_create(int *fds, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (fds[i] >= 0) continue;
        const int error = errno;
        bench_eventfds_close(fds, i);
        return -error;
    }
    return 0;
}

void bench_eventfds_close(const int *fds, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) close(fds[i]);
}

int bench_signal(const int *fds, const uint32_t *sources, uint32_t k) {
    const uint64_t one = 1;
    for (uint32_t i = 0; i < k; i++)
        if (write(fds[sources[i]], &one, sizeof one) != (ssize_t)sizeof one) return -errno;
    return 0;
}

void bench_clear(const int *fds, uint32_t n) {
    uint64_t count;
    for (uint32_t i = 0; i < n; i++)
        if (read(fds[i], &count, sizeof count) < 0 && errno != EAGAIN) return;
}

static char watched[128];

// Only async-signal-safe calls: the process may be anywhere.
static void bark(int number) {
    (void)number;
    static const char remark[] = ": no event within the time allowed; an event was lost or never dispatched\n";
    ssize_t ignored = write(STDERR_FILENO, watched, strlen(watched));
    ignored = write(STDERR_FILENO, remark, sizeof remark - 1);
    (void)ignored;
    _exit(1);
}

void bench_watchdog(unsigned int seconds, const char *what) {
    alarm(0);
    if (seconds == 0) return;
    strncpy(watched, what, sizeof watched - 1);
    signal(SIGALRM, bark);
    alarm(seconds);
}
