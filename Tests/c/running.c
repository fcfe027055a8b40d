// The ways to run a mux: by the caller, by pulling, by the caller's own loop, by a thread of the library's.
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>

static void doze(long nanoseconds) {
    struct timespec moment = {0, nanoseconds};
    nanosleep(&moment, NULL);
}

static void dispatching(void) {
    struct tally tally = {0};
    irqmux_mux mux = mux_of(0, tally_handler, &tally);
    struct board board;
    irqmux_device device;
    irqmux_vector vectors[4];
    connect_board(mux, &board, &device, 4, vectors);
    EQUAL(irqmux_mux_dispatch(mux, 0), 0);
    for (uint32_t number = 0; number < 4; number++) board_raise(&board, IRQMUX_MSIX, number);
    EQUAL(drain(mux), 4);
    EQUAL(tally.kinds[IRQMUX_EVENT_INTERRUPT], 4);
    EQUAL(tally.last.index, IRQMUX_MSIX);
    EQUAL(tally.last.vector.bits, vectors[tally.last.number].bits);
    EQUAL(tally.last.tag, tally.last.number);
    EQUAL(tally.mux.bits, mux.bits);
    uint64_t when = 0;
    EQUAL(irqmux_mux_nanoseconds(mux, tally.last.ticks, &when), 0);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    CHECK(when <= ns + 1000000 && ns - when < 60000000000u);
    EQUAL(irqmux_mux_destroy(mux), 0);
    EQUAL(board.released, 1);
}

// The kernel hands out twenty completions at an entry; what is ready is more than that.
static void dispatching_many(void) {
    struct tally tally = {0};
    irqmux_mux mux = mux_of(0, tally_handler, &tally);
    struct board board;
    irqmux_device device;
    irqmux_vector vectors[64];
    connect_board(mux, &board, &device, 64, vectors);
    EQUAL(irqmux_mux_dispatch(mux, 0), 0);
    for (int turn = 0; turn < 3; turn++) {
        for (uint32_t number = 0; number < 64; number++) board_raise(&board, IRQMUX_MSIX, number);
        EQUAL(irqmux_mux_dispatch(mux, 1000000000), 64);
    }
    EQUAL(irqmux_mux_dispatch(mux, 0), 0);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

static void pulling(void) {
    irqmux_mux mux = mux_of(0, NULL, NULL);
    struct board board;
    irqmux_device device;
    irqmux_vector vectors[2];
    connect_board(mux, &board, &device, 2, vectors);
    board_raise(&board, IRQMUX_MSIX, 1);
    irqmux_event event = {.size = sizeof event};
    int32_t got = 0;
    for (int turn = 0; turn < 3 && got == 0; turn++) {
        EQUAL(irqmux_mux_wait(mux, 1000000000), 0);
        got = irqmux_mux_next(mux, &event);
    }
    EQUAL(got, 1);
    EQUAL(event.kind, IRQMUX_EVENT_INTERRUPT);
    EQUAL(event.vector.bits, vectors[1].bits);
    EQUAL(irqmux_mux_next(mux, &event), 0);

    // An older header's event ends earlier.
    struct {
        irqmux_event event;
        uint64_t behind;
    } old;
    memset(&old, 0xff, sizeof old);
    old.event.size = 24;
    board_raise(&board, IRQMUX_MSIX, 0);
    got = 0;
    for (int turn = 0; turn < 3 && got == 0; turn++) {
        EQUAL(irqmux_mux_wait(mux, 1000000000), 0);
        got = irqmux_mux_next(mux, &old.event);
    }
    EQUAL(got, 1);
    EQUAL(old.event.size, 24);
    EQUAL(old.event.vector.bits, vectors[0].bits);
    CHECK(old.event.ticks == UINT64_MAX && old.behind == UINT64_MAX);
    FAILS(irqmux_mux_next(mux, NULL), EINVAL);
    old.event.size = 1;
    FAILS(irqmux_mux_next(mux, &old.event), EINVAL);
    // Without a handler only pulling is left.
    FAILS(irqmux_mux_run(mux), EINVAL);
    FAILS(irqmux_mux_dispatch(mux, 0), EINVAL);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

static void stop_within(struct tally *tally) { tally->results[0] = irqmux_mux_stop(tally->mux); }

static void running(void) {
    struct tally tally = {.within = stop_within};
    irqmux_mux mux = mux_of(0, tally_handler, &tally);
    irqmux_timer timer;
    EQUAL(irqmux_timer_add(mux, 1000, 0, 42, &timer), 0);
    EQUAL(irqmux_mux_run(mux), 0);
    EQUAL(tally.results[0], 0);
    EQUAL(tally.kinds[IRQMUX_EVENT_TIMER], 1);
    EQUAL(tally.last.tag, 42);
    EQUAL(tally.last.vector.bits, 0);
    // It has fired for the last time.
    FAILS(irqmux_timer_remove(mux, timer), EBADF);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

static void polled(void) {
    struct tally tally = {0};
    irqmux_mux mux = mux_of(IRQMUX_POLLABLE, tally_handler, &tally);
    struct board board;
    irqmux_device device;
    irqmux_vector vectors[8];
    connect_board(mux, &board, &device, 8, vectors);
    struct pollfd wanted = {.fd = irqmux_mux_fd(mux), .events = POLLIN};
    CHECK(wanted.fd >= 0);
    EQUAL(irqmux_mux_process(mux), 0);
    for (int round = 0; round < 20; round++) {
        board_raise(&board, IRQMUX_MSIX, (uint32_t)round & 7);
        int32_t got = 0;
        for (int turn = 0; turn < 5 && got == 0; turn++) {
            EQUAL(poll(&wanted, 1, 10000), 1);
            got = irqmux_mux_process(mux);
        }
        EQUAL(got, 1);
    }
    EQUAL(poll(&wanted, 1, 0), 0);
    uint64_t until = 0;
    EQUAL(irqmux_mux_until_timer(mux, &until), 0);
    CHECK(until == UINT64_MAX);
    irqmux_timer timer;
    EQUAL(irqmux_timer_add(mux, 1000000000, 0, 1, &timer), 0);
    EQUAL(irqmux_mux_until_timer(mux, &until), 0);
    CHECK(until > 0 && until <= 1000000000);
    EQUAL(irqmux_timer_remove(mux, timer), 0);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

static void sources(void) {
    struct tally tally = {0};
    irqmux_mux mux = mux_of(0, tally_handler, &tally);
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    irqmux_source source;
    EQUAL(irqmux_source_add(mux, fd, 9, IRQMUX_COUNTED, &source), 0);
    EQUAL(irqmux_mux_dispatch(mux, 0), 0);
    uint64_t five = 5;
    CHECK(write(fd, &five, sizeof five) == sizeof five);
    EQUAL(drain(mux), 1);
    EQUAL(tally.kinds[IRQMUX_EVENT_SOURCE], 1);
    EQUAL(tally.last.tag, 9);
    EQUAL(tally.last.count, 5);
    EQUAL(irqmux_source_remove(mux, source), 0);
    FAILS(irqmux_source_remove(mux, source), EBADF);
    FAILS(irqmux_source_add(mux, -1, 9, IRQMUX_EDGE, &source), EBADF);
    FAILS(irqmux_source_add(mux, fd, UINT64_MAX, IRQMUX_EDGE, &source), EINVAL);
    FAILS(irqmux_source_add(mux, fd, 9, 3, &source), EINVAL);
    close(fd);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

// ---- A thread of the library's own

struct threaded {
    struct tally tally;
    _Atomic uint32_t interrupts, ended;
    int32_t ending;
    sigset_t mask;
    pthread_t thread;
};

static void threaded_handler(void *context, irqmux_mux mux, const irqmux_event *event) {
    struct threaded *threaded = context;
    threaded->thread = pthread_self();
    pthread_sigmask(SIG_SETMASK, NULL, &threaded->mask);
    if (event->kind == IRQMUX_EVENT_ENDED) threaded->ending = event->error;
    threaded->tally.mux = mux;
    if (event->kind == IRQMUX_EVENT_ENDED) threaded->ended++;
    else if (event->kind == IRQMUX_EVENT_INTERRUPT) {
        // A call from within, on the mux's own thread.
        if (irqmux_vector_mask(mux, event->vector) || irqmux_vector_unmask(mux, event->vector)) return;
        threaded->interrupts++;
    }
}

static void own_thread(void) {
    struct threaded threaded = {0};
    irqmux_mux mux = mux_of(IRQMUX_OWN_THREAD, threaded_handler, &threaded);
    // Calls of this thread are carried out by the mux's.
    struct board board;
    irqmux_device device;
    irqmux_vector vectors[4];
    connect_board(mux, &board, &device, 4, vectors);
    for (uint32_t round = 1; round <= 50; round++) {
        board_raise(&board, IRQMUX_MSIX, round & 3);
        for (int turn = 0; turn < 20000 && threaded.interrupts < round; turn++) doze(100000);
        EQUAL(threaded.interrupts, round);
    }
    CHECK(!pthread_equal(threaded.thread, pthread_self()));
    CHECK(sigismember(&threaded.mask, SIGTERM) == 1 && sigismember(&threaded.mask, SIGUSR1) == 1);
    irqmux_statistics statistics = {.size = sizeof statistics};
    EQUAL(irqmux_statistics_read(mux, &statistics), 0);
    CHECK(statistics.notifications >= 50);
    irqmux_ledger ledger = {.size = sizeof ledger};
    EQUAL(irqmux_ledger_read_device(mux, device, &ledger), 0);
    EQUAL(ledger.raised, 50);
    EQUAL(ledger.unexplained, 0);
    // It runs by itself, and only it may wait.
    FAILS(irqmux_mux_run(mux), EPERM);
    FAILS(irqmux_mux_wait(mux, 0), EPERM);
    FAILS(irqmux_mux_bind(mux), EPERM);
    FAILS(irqmux_mux_fd(mux), ENOTSUP);
    EQUAL(irqmux_mux_destroy(mux), 0);
    EQUAL(threaded.ended, 1);
    EQUAL(threaded.ending, 0);
    EQUAL(board.released, 1);
    FAILS(irqmux_vector_mask(mux, vectors[0]), EBADF);
}

static void stopped_thread(void) {
    struct threaded threaded = {0};
    irqmux_mux mux = mux_of(IRQMUX_OWN_THREAD, threaded_handler, &threaded);
    EQUAL(irqmux_mux_stop(mux), 0);
    for (int turn = 0; turn < 20000 && !threaded.ended; turn++) doze(100000);
    EQUAL(threaded.ended, 1);
    // The mux has ended: it is there to be destroyed, and for nothing else.
    int32_t answer;
    while ((answer = irqmux_gsi_room(mux)) == -EAGAIN) doze(100000);
    FAILS(answer, ECANCELED);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

struct asking {
    irqmux_mux mux;
    irqmux_vector vector;
    int32_t mask, unmask, wait, destroy;
    _Atomic bool done;
};

static void *ask(void *context) {
    struct asking *asking = context;
    asking->mask = irqmux_vector_mask(asking->mux, asking->vector);
    asking->unmask = irqmux_vector_unmask(asking->mux, asking->vector);
    asking->wait = irqmux_mux_wait(asking->mux, 0);
    asking->destroy = irqmux_mux_destroy(asking->mux);
    asking->done = true;
    return NULL;
}

static void any_thread(void) {
    struct tally tally = {0};
    irqmux_mux_config config = config_of(IRQMUX_ANY_THREAD, tally_handler, &tally);
    struct asking asking = {0};
    EQUAL(irqmux_mux_create(&config, &asking.mux), 0);
    struct board board;
    irqmux_device device;
    connect_board(asking.mux, &board, &device, 1, &asking.vector);
    EQUAL(irqmux_mux_dispatch(asking.mux, 0), 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, ask, &asking) == 0);
    while (!asking.done) irqmux_mux_dispatch(asking.mux, 1000000);
    pthread_join(thread, NULL);
    EQUAL(asking.mask, 0);
    EQUAL(asking.unmask, 0);
    EQUAL(asking.wait, -EPERM);
    EQUAL(asking.destroy, -EPERM);
    EQUAL(irqmux_mux_destroy(asking.mux), 0);
}

static void *bind_and_destroy(void *context) {
    struct asking *asking = context;
    asking->mask = irqmux_mux_bind(asking->mux);
    asking->wait = irqmux_mux_wait(asking->mux, 0);
    asking->unmask = irqmux_mux_bind(asking->mux);
    asking->destroy = irqmux_mux_destroy(asking->mux);
    return NULL;
}

static void binding(void) {
    irqmux_mux_config config = config_of(0, NULL, NULL);
    struct asking asking = {0};
    EQUAL(irqmux_mux_create(&config, &asking.mux), 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, bind_and_destroy, &asking) == 0);
    pthread_join(thread, NULL);
    EQUAL(asking.mask, 0);
    EQUAL(asking.wait, 0);
    EQUAL(asking.unmask, -EPERM);
    EQUAL(asking.destroy, 0);
}

static void ring(void) {
    irqmux_mux_config config = config_of(0, NULL, NULL);
    config.best_tier = IRQMUX_TIER_EPOLL;
    irqmux_mux mux;
    EQUAL(irqmux_mux_create(&config, &mux), 0);
    irqmux_ring told = {.size = sizeof told};
    EQUAL(irqmux_ring_read(mux, &told), 0);
    EQUAL(told.tier, IRQMUX_TIER_EPOLL);
    CHECK(!strcmp(told.name, "epoll"));
    EQUAL(irqmux_mux_set_wait(mux, IRQMUX_WAIT_ADAPTIVE, 0), 0);
    FAILS(irqmux_mux_set_wait(mux, 7, 0), EINVAL);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

struct traced {
    char operations[16][40];
    int64_t results[16];
    uint32_t changes, events;
    int32_t within;
};

static void tracer(void *context, irqmux_mux mux, const irqmux_trace *trace) {
    struct traced *traced = context;
    traced->within = irqmux_gsi_room(mux);
    if (trace->kind == IRQMUX_TRACE_EVENTS) traced->events++;
    else if (traced->changes < 16) {
        strncpy(traced->operations[traced->changes], trace->operation, 39);
        traced->results[traced->changes++] = trace->result;
    }
}

static void tracing(void) {
    struct tally tally = {0};
    struct traced traced = {0};
    irqmux_mux mux = mux_of(0, tally_handler, &tally);
    struct board board;
    irqmux_device device;
    irqmux_vector vector;
    connect_board(mux, &board, &device, 1, &vector);
    EQUAL(irqmux_trace_set(mux, IRQMUX_TRACE_CHANGES | IRQMUX_TRACE_EVENTS, tracer, &traced), 0);
    EQUAL(irqmux_vector_mask(mux, vector), 0);
    EQUAL(irqmux_vector_unmask(mux, vector), 0);
    irqmux_vector nothing = {0};
    EQUAL(irqmux_vector_mask(mux, nothing), -EINVAL);
    board_raise(&board, IRQMUX_MSIX, 0);
    EQUAL(drain(mux), 1);
    EQUAL(traced.events, 1);
    CHECK(!strcmp(traced.operations[1], "irqmux_vector_mask"));
    CHECK(!strcmp(traced.operations[2], "irqmux_vector_unmask"));
    EQUAL(traced.results[2], 0);
    EQUAL(traced.results[3], -EINVAL);
    EQUAL(traced.within, -EDEADLK);
    FAILS(irqmux_trace_set(mux, 8, tracer, &traced), EINVAL);
    EQUAL(irqmux_trace_set(mux, 0, NULL, NULL), 0);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

const struct test running_tests[] = {
    {"dispatch hands out one event a vector, with tag, handle and time", dispatching, false},
    {"dispatch hands out all that is ready, also what the kernel gives in parts", dispatching_many, false},
    {"a mux without a handler is asked by next", pulling, false},
    {"run ends when the handler stops it", running, false},
    {"the caller's loop is told by a descriptor, once for each signal", polled, false},
    {"an eventfd of the caller's is a source", sources, false},
    {"a mux with its own thread serves every thread, and its thread takes no signal", own_thread, true},
    {"a mux whose thread has ended refuses everything but its end", stopped_thread, true},
    {"calls of other threads are carried out where the mux allows it", any_thread, true},
    {"a mux is handed to another thread once, before anybody waited", binding, true},
    {"the tier is told, and how to wait can be changed", ring, false},
    {"a tracer is told of changes and events", tracing, false},
    {NULL, NULL, false},
};
