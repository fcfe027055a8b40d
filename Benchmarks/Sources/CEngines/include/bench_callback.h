// The C library as a VMM in C uses it: a mux that the caller drives, a device of the VMM's own, and a handler in C that
// does what every engine's callback does. Results are 0 or a negated errno.
#ifndef IRQMUX_BENCH_CALLBACK_H
#define IRQMUX_BENCH_CALLBACK_H

#include <stdint.h>

#include "bench_engine.h"

struct bench_callback;

// A mux whose device has `vectors` MSI-X vectors, all routed to the handler. `eventfds` gets what the device would
// signal, in the order of the vectors; they are the mux's. NULL, with `error` set, when the library refuses.
struct bench_callback *bench_callback_make(
    uint32_t vectors, struct bench_sink *sink, int32_t *eventfds, int32_t *error);
// Dispatches, without waiting, until sink->total has reached `until`; the eventfds have been signalled before.
int32_t bench_callback_drain(struct bench_callback *self, uint64_t until);
void bench_callback_free(struct bench_callback *self);

#endif
