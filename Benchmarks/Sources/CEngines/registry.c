// The list of engines, and what they were built against.
#include <stdio.h>

#include "bench_engine.h"

#if __has_include(<uv.h>)
#include <uv.h>
#endif
#if __has_include(<event2/event.h>)
#include <event2/event.h>
#endif

extern const struct bench_engine bench_uring, bench_uring_enter, bench_epoll_read, bench_epoll_edge, bench_libuv,
    bench_libevent, bench_blocking_read, bench_spin_read;

static const struct bench_engine *const engines[] = {
    &bench_uring, &bench_uring_enter, &bench_epoll_read, &bench_epoll_edge,
    &bench_libuv, &bench_libevent,    &bench_blocking_read, &bench_spin_read,
};

uint32_t bench_engine_count(void) { return sizeof engines / sizeof engines[0]; }
const struct bench_engine *bench_engine_at(uint32_t index) { return engines[index]; }

const char *bench_library_versions(void) {
    static char text[96];
    const char *uv = "none", *event = "none";
#if __has_include(<uv.h>)
    uv = uv_version_string();
#endif
#if __has_include(<event2/event.h>)
    event = event_get_version();
#endif
    snprintf(text, sizeof text, "libuv %s, libevent %s", uv, event);
    return text;
}
