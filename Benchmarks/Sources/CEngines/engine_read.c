// blocking-read: one eventfd, a read that sleeps; spin-read: non-blocking reads over all eventfds, round and round.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench_engine.h"

struct reader {
    const int *fds;
    uint32_t n;
    struct bench_sink *sink;
};

static int create(const int *fds, uint32_t n, struct bench_sink *sink, void **result) {
    struct reader *self = malloc(sizeof *self);
    if (!self) return -ENOMEM;
    *self = (struct reader){fds, n, sink};
    *result = self;
    return 0;
}

// The harness's eventfds are non-blocking; a read that sleeps needs the flag off while it listens.
static int set_blocking(int fd, int blocking) {
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0) return -errno;
    return fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static int arm_blocking(void *context) { return set_blocking(((struct reader *)context)->fds[0], 1); }
static int disarm_blocking(void *context) { return set_blocking(((struct reader *)context)->fds[0], 0); }

static int block(void *context, uint64_t until) {
    struct reader *self = context;
    uint64_t count;
    while (self->sink->total < until) {
        if (read(self->fds[0], &count, sizeof count) == (ssize_t)sizeof count) bench_note(self->sink, 0);
        else if (errno != EINTR) return -errno;
    }
    return 0;
}

static int nothing(void *context) {
    (void)context;
    return 0;
}

static int spin(void *context, uint64_t until) {
    struct reader *self = context;
    uint64_t count;
    while (self->sink->total < until) {
        for (uint32_t i = 0; i < self->n; i++) {
            if (read(self->fds[i], &count, sizeof count) == (ssize_t)sizeof count) bench_note(self->sink, i);
            else if (errno != EAGAIN) return -errno;
        }
    }
    return 0;
}

const struct bench_engine bench_blocking_read = {
    .name = "blocking-read",
    .about = "C, read(2) on one blocking eventfd",
    .largest = 1,
    .create = create, .arm = arm_blocking, .disarm = disarm_blocking,
    .drain = block, .block = block,
    .destroy = free,
};

const struct bench_engine bench_spin_read = {
    .name = "spin-read",
    .about = "C, non-blocking read(2) of every eventfd, round and round",
    .largest = 64, // beyond that a round takes longer than the pauses of the writer
    .create = create, .arm = nothing, .disarm = nothing,
    .spin = spin,
    .destroy = free,
};
