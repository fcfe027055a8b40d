// libuv: uv_poll on each eventfd; its callback reads, because uv_poll is level-triggered.
#include "bench_engine.h"

#if __has_include(<uv.h>)
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

struct loop;

struct watcher {
    uv_poll_t handle;
    struct loop *loop;
    int fd;
    uint32_t source;
};

struct loop {
    uv_loop_t uv;
    uint32_t n;
    struct bench_sink *sink;
    struct watcher watchers[];
};

static void on_readable(uv_poll_t *handle, int status, int events) {
    struct watcher *watcher = handle->data;
    uint64_t count;
    (void)events;
    if (status == 0 && read(watcher->fd, &count, sizeof count) == (ssize_t)sizeof count)
        bench_note(watcher->loop->sink, watcher->source);
}

static void destroy(void *context) {
    struct loop *self = context;
    for (uint32_t i = 0; i < self->n; i++) uv_close((uv_handle_t *)&self->watchers[i].handle, NULL);
    uv_run(&self->uv, UV_RUN_DEFAULT); // lets the handles finish closing
    uv_loop_close(&self->uv);
    free(self);
}
static int create(const int *fds, uint32_t n, struct bench_sink *sink, void **result) {
    struct loop *self = malloc(sizeof *self + n * sizeof(struct watcher));
    if (!self) return -ENOMEM;
    int error = uv_loop_init(&self->uv);
    if (error < 0) {
        free(self);
        return error;
    }
    self->n = 0;
    self->sink = sink;
    while (self->n < n && error == 0) {
        struct watcher *watcher = &self->watchers[self->n];
        watcher->loop = self;
        watcher->fd = fds[self->n];
        watcher->source = self->n;
        error = uv_poll_init(&self->uv, &watcher->handle, watcher->fd);
        watcher->handle.data = watcher;
        if (error == 0) self->n++;
    }
    if (error < 0) destroy(self);
    else *result = self;
    return error;
}

static int arm(void *context) {
    struct loop *self = context;
    for (uint32_t i = 0; i < self->n; i++) {
        const int error = uv_poll_start(&self->watchers[i].handle, UV_READABLE, on_readable);
        if (error < 0) return error;
    }
    uv_run(&self->uv, UV_RUN_NOWAIT); // libuv tells epoll only when it runs
    return 0;
}

static int disarm(void *context) {
    struct loop *self = context;
    for (uint32_t i = 0; i < self->n; i++) uv_poll_stop(&self->watchers[i].handle);
    return 0;
}

static int poll_until(void *context, uint64_t until) {
    struct loop *self = context;
    while (self->sink->total < until) uv_run(&self->uv, UV_RUN_NOWAIT);
    return 0;
}

static int block(void *context, uint64_t until) {
    struct loop *self = context;
    while (self->sink->total < until) uv_run(&self->uv, UV_RUN_ONCE);
    return 0;
}

#else
#define IRQMUX_BENCH_NO_LIBUV
#endif

const struct bench_engine bench_libuv = {
    .name = "libuv",
    .about = "libuv: uv_poll and a read; spins on uv_run(NOWAIT)",
#ifdef IRQMUX_BENCH_NO_LIBUV
    .missing = "libuv1-dev",
#else
    .create = create, .arm = arm, .disarm = disarm,
    .drain = poll_until, .spin = poll_until, .block = block,
    .destroy = destroy,
#endif
};
