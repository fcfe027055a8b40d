#define _GNU_SOURCE
#include "irqmux_thread.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

uint64_t irqmux_this_thread(void) {
    static atomic_uint_fast64_t threads;
    // Initial-exec, because the general model calls __tls_get_addr, which may allocate.
    static _Thread_local __attribute__((tls_model("initial-exec"))) uint64_t number;
    if (number == 0) number = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) + 1;
    return number;
}

int irqmux_thread_start(pthread_t *thread, const char *name, int cpu, void *(*body)(void *), void *context) {
    pthread_attr_t attributes;
    int result = pthread_attr_init(&attributes);
    if (result) return -result;
    if (cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        if (cpu < CPU_SETSIZE) CPU_SET(cpu, &set);
        result = pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
    }
    if (!result) result = pthread_create(thread, &attributes, body, context);
    pthread_attr_destroy(&attributes);
    if (!result && name) {
        char short_name[16] = {0};
        strncpy(short_name, name, sizeof short_name - 1);
        pthread_setname_np(*thread, short_name);
    }
    return -result;
}

int irqmux_pin_this_thread(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu < 0 || cpu >= CPU_SETSIZE) return -EINVAL;
    CPU_SET(cpu, &set);
    return -pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}
