// The other side of the wake-up cases: a thread on its own processor that signals eventfds; and what the harness needs
// of the system around it.
#ifndef IRQMUX_BENCH_WRITER_H
#define IRQMUX_BENCH_WRITER_H

#include <stdint.h>

struct bench_writer;

// What a writer does: `samples` times it waits a random while, stamps the time, signals one of the n eventfds at random
// and waits until the reader has acknowledged. So signals never merge, and every latency is that of an idle reader.
struct bench_plan {
    const int *fds;
    uint32_t n;
    uint32_t samples;
    uint32_t seed;         // not 0
    int cpu;               // the processor the writer runs on
    uint64_t shortest;     // of the waits, in cycles
    uint64_t longest;
    int storm;             // an eventfd that is signalled without a pause meanwhile, on no record; -1 for none
};

// Starts the thread; NULL and errno when that fails. It begins after the first bench_writer_acknowledge.
struct bench_writer *bench_writer_start(const struct bench_plan *plan);

// The time just before the write that the latest event answers.
uint64_t bench_writer_stamp(const struct bench_writer *writer);

// Lets the writer go on to its next sample.
void bench_writer_acknowledge(struct bench_writer *writer);

// Waits for the thread and frees it; 0 or the negated errno of a write that failed.
int bench_writer_join(struct bench_writer *writer);

// Binds the calling thread to one processor.
int bench_pin(int cpu);

// How many processors this process may run on, and the number of its i-th.
int bench_cpu_count(void);
int bench_cpu(int i);

// Raises the soft limit of file descriptors to the hard one; returns the limit now in force.
uint64_t bench_raise_descriptor_limit(void);

// EFD_NONBLOCK | EFD_CLOEXEC; fds[0..<n] are filled. 0 or a negated errno, with none left open.
int bench_eventfds_create(int *fds, uint32_t n);
void bench_eventfds_close(const int *fds, uint32_t n);

// Adds 1 to each of the k eventfds chosen by `sources`; 0 or a negated errno.
int bench_signal(const int *fds, const uint32_t *sources, uint32_t k);

// Zeroes all n counters.
void bench_clear(const int *fds, uint32_t n);

// After `seconds` without another call, prints `what` with a remark to stderr and ends the process with exit code 1.
// 0 seconds: switches it off. An engine that loses an event would otherwise wait for ever.
void bench_watchdog(unsigned int seconds, const char *what);

#endif
