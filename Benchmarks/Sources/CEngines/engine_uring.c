// c-uring: the loop an expert writes by hand with liburing; c-uring-enter: its other way of spinning.
//
// Listens by multishot POLL_ADD and never reads the eventfd; user_data is the index into a table of callbacks.
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "bench_engine.h"

struct callback {
    void (*call)(void *context, uint32_t source);
    void *context;
};

struct uring {
    struct io_uring ring;
    const int *fds;
    uint32_t n;
    uint32_t armed; // polls the kernel still holds
    bool disarming;
    struct bench_sink *sink;
    struct callback callbacks[];
};

// user_data of POLL_REMOVE: the source it removes, marked, so that its failure can be answered.
static const uint64_t removal = 1ull << 32;

static void on_event(void *context, uint32_t source) { bench_note(context, source); }

static struct io_uring_sqe *next_sqe(struct uring *self) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);
    while (!sqe) {
        io_uring_submit(&self->ring);
        sqe = io_uring_get_sqe(&self->ring);
    }
    return sqe;
}

static void prepare_poll(struct uring *self, uint32_t source) {
    struct io_uring_sqe *sqe = next_sqe(self);
    io_uring_prep_poll_multishot(sqe, self->fds[source], POLLIN);
    io_uring_sqe_set_data64(sqe, source);
}

// Successful removals post nothing; the poll's own last CQE tells that it is gone.
static void prepare_removal(struct uring *self, uint32_t source) {
    struct io_uring_sqe *sqe = next_sqe(self);
    io_uring_prep_poll_remove(sqe, source);
    io_uring_sqe_set_data64(sqe, removal | source);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

// A CQE that is not a plain event: a multishot that ended, a removal that came too late, an error.
static int settle(struct uring *self, const struct io_uring_cqe *cqe) {
    const uint32_t source = (uint32_t)cqe->user_data;
    if (cqe->user_data & removal) {
        if (cqe->res == -EALREADY) prepare_removal(self, source); // it fired meanwhile and stayed armed
        return cqe->res == -EALREADY || cqe->res == -ENOENT ? 0 : cqe->res;
    }
    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        if (self->disarming) self->armed--;
        else prepare_poll(self, source);
    }
    return cqe->res < 0 && cqe->res != -ECANCELED ? cqe->res : 0;
}

static int reap(struct uring *self) {
    struct io_uring_cqe *cqe;
    unsigned head, seen = 0;
    int error = 0;
    io_uring_for_each_cqe(&self->ring, head, cqe) {
        seen++;
        if (cqe->res >= 0 && cqe->user_data < removal) {
            const struct callback *callback = &self->callbacks[cqe->user_data];
            callback->call(callback->context, (uint32_t)cqe->user_data);
        }
        if (__builtin_expect(cqe->res < 0 || !(cqe->flags & IORING_CQE_F_MORE), 0)) {
            const int result = settle(self, cqe);
            if (result < 0) error = result;
        }
    }
    io_uring_cq_advance(&self->ring, seen);
    if (__builtin_expect(io_uring_sq_ready(&self->ring) != 0, 0)) {
        const int submitted = io_uring_submit(&self->ring);
        if (submitted < 0) error = submitted;
    }
    return error;
}

static int create_with(unsigned flags, const int *fds, uint32_t n, struct bench_sink *sink, void **result) {
    struct uring *self = malloc(sizeof *self + n * sizeof(struct callback));
    if (!self) return -ENOMEM;
    memset(self, 0, sizeof *self);
    self->fds = fds;
    self->n = n;
    self->sink = sink;
    for (uint32_t i = 0; i < n; i++) self->callbacks[i] = (struct callback){on_event, sink};
    // A poll posts at most once between two reaps, so 4 n leaves room; the queue of submissions is a batch of arming.
    const uint32_t entries = n < 64 ? 64 : n < 4096 ? n : 4096;
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | flags,
        .cq_entries = n < 64 ? 256 : 4 * n,
    };
    const int error = io_uring_queue_init_params(entries, &self->ring, &parameters);
    if (error < 0) {
        free(self);
        return error;
    }
    io_uring_register_ring_fd(&self->ring); // one lookup less a system call; it works without
    *result = self;
    return 0;
}

static int create(const int *fds, uint32_t n, struct bench_sink *sink, void **result) {
    return create_with(IORING_SETUP_TASKRUN_FLAG, fds, n, sink, result);
}

// Without TASKRUN_FLAG the writer spares an atomic store to a line that the reader is looking at.
static int create_unflagged(const int *fds, uint32_t n, struct bench_sink *sink, void **result) {
    return create_with(0, fds, n, sink, result);
}

static int arm(void *context) {
    struct uring *self = context;
    self->disarming = false;
    for (uint32_t i = 0; i < self->n; i++) prepare_poll(self, i);
    self->armed = self->n;
    const int submitted = io_uring_submit(&self->ring);
    return submitted < 0 ? submitted : 0;
}

static int disarm(void *context) {
    struct uring *self = context;
    self->disarming = true;
    for (uint32_t i = 0; i < self->n; i++) prepare_removal(self, i);
    while (self->armed > 0) {
        int error = io_uring_submit_and_wait(&self->ring, 1);
        if (error >= 0) error = reap(self);
        if (error < 0 && error != -EINTR) return error;
    }
    return 0;
}

static int drain(void *context, uint64_t until) {
    struct uring *self = context;
    while (self->sink->total < until) {
        int error = io_uring_get_events(&self->ring);
        if (error >= 0) error = reap(self);
        if (error < 0) return error;
    }
    return 0;
}

// Enters the kernel only when it has said that there is work; looking costs one load.
static int spin_on_flag(void *context, uint64_t until) {
    struct uring *self = context;
    const unsigned *flags = self->ring.sq.kflags;
    const unsigned work = IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW;
    while (self->sink->total < until) {
        while (!(__atomic_load_n(flags, __ATOMIC_RELAXED) & work)) bench_pause();
        int error = io_uring_get_events(&self->ring);
        if (error >= 0) error = reap(self);
        if (error < 0) return error;
    }
    return 0;
}

// Enters the kernel all the time: no flag to travel between the caches, and no entry to make once there is work.
static int spin_on_enter(void *context, uint64_t until) { return drain(context, until); }

static int block(void *context, uint64_t until) {
    struct uring *self = context;
    while (self->sink->total < until) {
        int error = io_uring_submit_and_wait(&self->ring, 1);
        if (error >= 0) error = reap(self);
        if (error < 0 && error != -EINTR) return error;
    }
    return 0;
}

static void destroy(void *context) {
    struct uring *self = context;
    io_uring_queue_exit(&self->ring);
    free(self);
}

const struct bench_engine bench_uring = {
    .name = "c-uring",
    .about = "C, io_uring: multishot poll, no read; spins on SQ_TASKRUN",
    .create = create, .arm = arm, .disarm = disarm,
    .drain = drain, .spin = spin_on_flag, .block = block,
    .destroy = destroy,
};

const struct bench_engine bench_uring_enter = {
    .name = "c-uring-enter",
    .about = "C, io_uring: the same, but spins on io_uring_enter, ring without TASKRUN_FLAG",
    .create = create_unflagged, .arm = arm, .disarm = disarm,
    .spin = spin_on_enter,
    .destroy = destroy,
};
