#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench_clock.h"
#include "bench_writer.h"

// The stamp and the acknowledgement lie on cache lines of their own (128 bytes: processors fetch lines in pairs), so
// that the reader's spin and the writer's never touch the same one.
struct bench_writer {
    struct bench_plan plan;
    pthread_t thread;
    int error;
    _Alignas(128) _Atomic uint64_t stamp;
    _Alignas(128) _Atomic uint64_t acknowledged;
    char fill[128 - sizeof(uint64_t)];
};

// xorshift32: cheap, and the waits need no better randomness.
static uint32_t next_random(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

// Passes the time: with a storm, by a write, which the kernel may refuse when the counter is full.
static void pass(const struct bench_plan *plan) {
    const uint64_t one = 1;
    if (plan->storm < 0) return bench_pause();
    const ssize_t written = write(plan->storm, &one, sizeof one);
    (void)written;
}

static void *run(void *argument) {
    struct bench_writer *writer = argument;
    const struct bench_plan plan = writer->plan;
    const uint64_t one = 1;
    uint32_t random = plan.seed;
    writer->error = bench_pin(plan.cpu);
    for (uint64_t sample = 0; sample < plan.samples; sample++) {
        while (atomic_load_explicit(&writer->acknowledged, memory_order_acquire) <= sample) pass(&plan);
        const uint64_t wait = plan.shortest + next_random(&random) % (plan.longest - plan.shortest + 1);
        const int fd = plan.fds[next_random(&random) % plan.n];
        const uint64_t start = bench_cycles();
        while (bench_cycles() - start < wait) pass(&plan);
        atomic_store_explicit(&writer->stamp, bench_cycles(), memory_order_release);
        if (write(fd, &one, sizeof one) != (ssize_t)sizeof one) writer->error = -errno;
    }
    return NULL;
}

struct bench_writer *bench_writer_start(const struct bench_plan *plan) {
    struct bench_writer *writer = aligned_alloc(128, sizeof *writer);
    if (!writer) return NULL;
    writer->plan = *plan;
    writer->error = 0;
    atomic_init(&writer->stamp, 0);
    atomic_init(&writer->acknowledged, 0);
    const int error = pthread_create(&writer->thread, NULL, run, writer);
    if (error == 0) return writer;
    free(writer);
    errno = error;
    return NULL;
}

uint64_t bench_writer_stamp(const struct bench_writer *writer) {
    return atomic_load_explicit(&writer->stamp, memory_order_acquire);
}

void bench_writer_acknowledge(struct bench_writer *writer) {
    // One acknowledger, so load and store need not be one atomic step.
    const uint64_t before = atomic_load_explicit(&writer->acknowledged, memory_order_relaxed);
    atomic_store_explicit(&writer->acknowledged, before + 1, memory_order_release);
}

int bench_writer_join(struct bench_writer *writer) {
    pthread_join(writer->thread, NULL);
    const int error = writer->error;
    free(writer);
    return error;
}
