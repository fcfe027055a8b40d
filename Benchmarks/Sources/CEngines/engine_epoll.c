// c-epoll-read: level-triggered epoll, every event read; c-epoll-et: edge-triggered, never read.
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench_engine.h"

enum { batch = 1024 };

struct callback {
    void (*call)(void *context, uint32_t source);
    void *context;
};

struct epoll {
    int fd;
    bool edge;
    const int *fds;
    uint32_t n;
    struct bench_sink *sink;
    struct epoll_event events[batch];
    struct callback callbacks[];
};

static void on_event(void *context, uint32_t source) { bench_note(context, source); }

static int create_with(bool edge, const int *fds, uint32_t n, struct bench_sink *sink, void **result) {
    struct epoll *self = malloc(sizeof *self + n * sizeof(struct callback));
    if (!self) return -ENOMEM;
    self->edge = edge;
    self->fds = fds;
    self->n = n;
    self->sink = sink;
    for (uint32_t i = 0; i < n; i++) self->callbacks[i] = (struct callback){on_event, sink};
    self->fd = epoll_create1(EPOLL_CLOEXEC);
    if (self->fd < 0) {
        const int error = errno;
        free(self);
        return -error;
    }
    *result = self;
    return 0;
}

static int create_level(const int *fds, uint32_t n, struct bench_sink *sink, void **result) {
    return create_with(false, fds, n, sink, result);
}

static int create_edge(const int *fds, uint32_t n, struct bench_sink *sink, void **result) {
    return create_with(true, fds, n, sink, result);
}

static int arm(void *context) {
    struct epoll *self = context;
    for (uint32_t i = 0; i < self->n; i++) {
        struct epoll_event event = {.events = EPOLLIN | (self->edge ? EPOLLET : 0), .data.u32 = i};
        if (epoll_ctl(self->fd, EPOLL_CTL_ADD, self->fds[i], &event) < 0) return -errno;
    }
    return 0;
}

static int disarm(void *context) {
    struct epoll *self = context;
    for (uint32_t i = 0; i < self->n; i++)
        if (epoll_ctl(self->fd, EPOLL_CTL_DEL, self->fds[i], NULL) < 0) return -errno;
    return 0;
}

// timeout as of epoll_wait: 0 or -1.
static int dispatch(struct epoll *self, uint64_t until, int timeout) {
    while (self->sink->total < until) {
        const int ready = epoll_wait(self->fd, self->events, batch, timeout);
        if (ready < 0 && errno != EINTR) return -errno;
        for (int i = 0; i < ready; i++) {
            const uint32_t source = self->events[i].data.u32;
            uint64_t count;
            if (!self->edge && read(self->fds[source], &count, sizeof count) < 0) {
                if (errno == EAGAIN) continue;
                return -errno;
            }
            const struct callback *callback = &self->callbacks[source];
            callback->call(callback->context, source);
        }
    }
    return 0;
}

static int poll_until(void *context, uint64_t until) { return dispatch(context, until, 0); }
static int block(void *context, uint64_t until) { return dispatch(context, until, -1); }

static void destroy(void *context) {
    struct epoll *self = context;
    close(self->fd);
    free(self);
}

const struct bench_engine bench_epoll_read = {
    .name = "c-epoll-read",
    .about = "C, epoll: level-triggered, reads every eventfd; spins on epoll_wait(0)",
    .create = create_level, .arm = arm, .disarm = disarm,
    .drain = poll_until, .spin = poll_until, .block = block,
    .destroy = destroy,
};

const struct bench_engine bench_epoll_edge = {
    .name = "c-epoll-et",
    .about = "C, epoll: edge-triggered, no read; spins on epoll_wait(0)",
    .create = create_edge, .arm = arm, .disarm = disarm,
    .drain = poll_until, .spin = poll_until, .block = block,
    .destroy = destroy,
};
