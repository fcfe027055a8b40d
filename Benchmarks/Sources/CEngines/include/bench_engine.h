// What every engine of the benchmarks provides, and what its callback does.
//
// An engine listens to n eventfds. The harness owns the eventfds and the sink; the engine calls bench_note once for
// every event it dispatches, and reads the eventfd only where its way of listening needs it. All functions are called
// on one thread, the reader's. They return 0 or a negated errno.
#ifndef IRQMUX_BENCH_ENGINE_H
#define IRQMUX_BENCH_ENGINE_H

#include <stdint.h>

#include "bench_clock.h"

// Where dispatched events are noted. Plain memory: read it only when the engine is not dispatching.
struct bench_sink {
    uint64_t *counts; // events dispatched, by source
    uint64_t total;   // their sum
    uint64_t time;    // cycle counter in the latest callback
};

// The work of every engine's callback, the same for all: count the source, take the time.
static inline void bench_note(struct bench_sink *sink, uint32_t source) {
    sink->counts[source]++;
    sink->total++;
    sink->time = bench_cycles();
}

// One way of listening. A function an engine has no use for is NULL, and the harness leaves those cases out.
struct bench_engine {
    const char *name;
    const char *about;     // one line for --list
    uint32_t largest;      // sources it can listen to; 0: as many as there are file descriptors
    const char *missing;   // the Debian package to install, when this engine could not be compiled; else NULL

    // Everything that does not depend on being armed. fds[0..<n] stay open until destroy.
    int (*create)(const int *fds, uint32_t n, struct bench_sink *sink, void **self);
    // Starts listening to all n.
    int (*arm)(void *self);
    // Stops listening to all n; when it returns no event of theirs can be dispatched any more.
    int (*disarm)(void *self);
    // Dispatches until sink->total has reached `until`; the eventfds have been signalled before.
    int (*drain)(void *self, uint64_t until);
    // The same, never sleeping: the eventfds are signalled meanwhile by another processor.
    int (*spin)(void *self, uint64_t until);
    // The same, sleeping in the kernel while there is nothing to do.
    int (*block)(void *self, uint64_t until);
    void (*destroy)(void *self);
};

// The engines written in C, in the order of the tables: 0..<bench_engine_count().
uint32_t bench_engine_count(void);
const struct bench_engine *bench_engine_at(uint32_t index);

// The versions of the libraries behind the engines, for the record: "libuv 1.44.2, libevent 2.1.12".
const char *bench_library_versions(void);

#endif
