// libevent: EV_READ | EV_PERSIST on each eventfd, and a read in the callback.
#include "bench_engine.h"

#if __has_include(<event2/event.h>)
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

struct base;

struct watcher {
    struct event *event;
    struct base *base;
    uint32_t source;
};

struct base {
    struct event_base *events;
    uint32_t n;
    struct bench_sink *sink;
    struct watcher watchers[];
};

static void on_readable(evutil_socket_t fd, short what, void *context) {
    struct watcher *watcher = context;
    uint64_t count;
    (void)what;
    if (read(fd, &count, sizeof count) == (ssize_t)sizeof count) bench_note(watcher->base->sink, watcher->source);
}

static void destroy(void *context) {
    struct base *self = context;
    for (uint32_t i = 0; i < self->n; i++)
        if (self->watchers[i].event) event_free(self->watchers[i].event);
    if (self->events) event_base_free(self->events);
    free(self);
}

static int create(const int *fds, uint32_t n, struct bench_sink *sink, void **result) {
    struct base *self = calloc(1, sizeof *self + n * sizeof(struct watcher));
    struct event_config *configuration = event_config_new();
    if (!self || !configuration) {
        free(self);
        return -ENOMEM;
    }
    event_config_set_flag(configuration, EVENT_BASE_FLAG_NOLOCK); // one thread, as in the other loops
    self->events = event_base_new_with_config(configuration);
    event_config_free(configuration);
    self->n = n;
    self->sink = sink;
    int error = self->events ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < n && error == 0; i++) {
        struct watcher *watcher = &self->watchers[i];
        watcher->base = self;
        watcher->source = i;
        watcher->event = event_new(self->events, fds[i], EV_READ | EV_PERSIST, on_readable, watcher);
        if (!watcher->event) error = -ENOMEM;
    }
    if (error < 0) destroy(self);
    else *result = self;
    return error;
}

static int arm(void *context) {
    struct base *self = context;
    for (uint32_t i = 0; i < self->n; i++)
        if (event_add(self->watchers[i].event, NULL) < 0) return -EIO;
    return 0;
}

static int disarm(void *context) {
    struct base *self = context;
    for (uint32_t i = 0; i < self->n; i++)
        if (event_del(self->watchers[i].event) < 0) return -EIO;
    return 0;
}

static int run(struct base *self, uint64_t until, int flags) {
    while (self->sink->total < until)
        if (event_base_loop(self->events, flags) < 0) return -EIO;
    return 0;
}

static int poll_until(void *context, uint64_t until) { return run(context, until, EVLOOP_NONBLOCK); }
static int block(void *context, uint64_t until) { return run(context, until, EVLOOP_ONCE); }
#else
#define IRQMUX_BENCH_NO_LIBEVENT
#endif

const struct bench_engine bench_libevent = {
    .name = "libevent",
    .about = "libevent: EV_READ | EV_PERSIST and a read; spins on EVLOOP_NONBLOCK",
#ifdef IRQMUX_BENCH_NO_LIBEVENT
    .missing = "libevent-dev",
#else
    .create = create, .arm = arm, .disarm = disarm,
    .drain = poll_until, .spin = poll_until, .block = block,
    .destroy = destroy,
#endif
};
