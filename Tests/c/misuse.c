// What must not work: null handles, destroyed ones, wrong threads, calls from inside, a forked child. Each is an errno
// with a text; none writes anything anywhere.
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

// Every call that takes a mux, with arguments that are fine otherwise.
static int32_t call(int which, irqmux_mux mux, irqmux_device device, irqmux_vector vector) {
    static struct board board;
    static irqmux_device_ops ops;
    static irqmux_event event;
    static irqmux_ring ring;
    static irqmux_source source;
    static irqmux_timer timer;
    static irqmux_device made;
    static irqmux_ledger ledger;
    static irqmux_irq_info info;
    static irqmux_connection connection;
    static irqmux_vector vectors[4];
    static irqmux_route route;
    static irqmux_vector_state state;
    static irqmux_gsi_route gsi;
    static irqmux_pair_config pair_config;
    static irqmux_intx_service service;
    static irqmux_statistics statistics;
    static irqmux_histogram histogram;
    static irqmux_messages_config messages;
    static irqmux_messages_report report;
    static uint64_t number;
    static uint32_t small;
    irqmux_pair pair = {0x100000001}, *pair_out = &pair;
    ops = board_ops();
    messages = (irqmux_messages_config){.size = sizeof messages, .index = IRQMUX_MSIX};
    report = (irqmux_messages_report){.size = sizeof report, .index = IRQMUX_MSIX};
    event.size = sizeof event, ring.size = sizeof ring, ledger.size = sizeof ledger, info.size = sizeof info;
    connection = (irqmux_connection){.size = sizeof connection, .index = IRQMUX_MSI, .count = 1};
    route = (irqmux_route){.size = sizeof route, .kind = IRQMUX_ROUTE_PARKED};
    state.size = sizeof state, gsi.size = sizeof gsi, pair_config.size = sizeof pair_config;
    service = (irqmux_intx_service){.size = sizeof service, .way = IRQMUX_WAY_USER_EOI};
    statistics.size = sizeof statistics, histogram = (irqmux_histogram){.size = sizeof histogram};
    switch (which) {
    case 0: return irqmux_mux_run(mux);
    case 1: return irqmux_mux_dispatch(mux, 0);
    case 2: return irqmux_mux_wait(mux, 0);
    case 3: return irqmux_mux_next(mux, &event);
    case 4: return irqmux_mux_process(mux);
    case 5: return irqmux_mux_until_timer(mux, &number);
    case 6: return irqmux_mux_set_wait(mux, 0, 0);
    case 7: return irqmux_mux_nanoseconds(mux, 0, &number);
    case 8: return irqmux_ring_read(mux, &ring);
    case 9: return irqmux_source_add(mux, 0, 0, 0, &source);
    case 10: return irqmux_source_remove(mux, source);
    case 11: return irqmux_timer_add(mux, 1, 0, 0, &timer);
    case 12: return irqmux_timer_remove(mux, timer);
    case 13: return irqmux_device_attach(mux, &ops, &board, &made);
    case 14: return irqmux_device_info(mux, device, 0, &info);
    case 15: return irqmux_vectors_connect(mux, device, &connection, vectors);
    case 16: return irqmux_vectors_disconnect(mux, device, IRQMUX_MSI);
    case 17: return irqmux_vector_route(mux, vector, &route);
    case 18: return irqmux_vector_mask(mux, vector);
    case 19: return irqmux_vector_unmask(mux, vector);
    case 20: return irqmux_vector_acknowledge(mux, vector);
    case 21: return irqmux_vector_read(mux, vector, &state);
    case 22: return irqmux_guest_attach(mux, 0, 0);
    case 23: return irqmux_guest_detach(mux);
    case 24: return irqmux_guest_read(mux);
    case 25: return irqmux_gsi_allocate(mux, &gsi, &small);
    case 26: return irqmux_gsi_set(mux, 30, &gsi);
    case 27: return irqmux_gsi_free(mux, 30);
    case 28: return irqmux_gsi_commit(mux);
    case 29: return irqmux_gsi_room(mux);
    case 30: return irqmux_pair_add(mux, &pair_config, pair_out);
    case 31: return irqmux_pair_remove(mux, pair);
    case 32: return irqmux_intx_serve(mux, vector, &service);
    case 33: return irqmux_intx_stop(mux, vector, NULL);
    case 34: return irqmux_intx_end(mux, 5);
    case 35: return irqmux_intx_trapped(mux, vector);
    case 36: return irqmux_watchdog_start(mux, 0, 0);
    case 37: return irqmux_watchdog_stop(mux);
    case 38: return irqmux_ledger_read_vector(mux, vector, &ledger);
    case 39: return irqmux_ledger_read_device(mux, device, &ledger);
    case 40: return irqmux_vector_measure(mux, vector, -1);
    case 41: return irqmux_trace_set(mux, 0, NULL, NULL);
    case 42: return irqmux_vector_disconnect(mux, vector);
    case 43: return irqmux_device_detach(mux, device, NULL);
    case 44: return irqmux_mux_destroy(mux);
    case 45: return irqmux_messages_serve(mux, device, &messages);
    case 46: return irqmux_messages_read(mux, device, IRQMUX_AREA_TABLE, 0, 4, &number);
    case 47: return irqmux_messages_write(mux, device, IRQMUX_AREA_TABLE, 0, 4, 0);
    case 48: return irqmux_messages_do(mux, device, IRQMUX_MSIX, IRQMUX_MESSAGES_RESET);
    case 49: return irqmux_messages_report_read(mux, device, &report);
    case 50: return irqmux_messages_vector(mux, device, IRQMUX_MSIX, 0, vectors);
    case 51: return irqmux_state_save(mux, device, NULL, 0, &number);
    case 52: return irqmux_state_load(mux, device, "", 1);
    case 53: return irqmux_device_adopt(mux, 0, 0, &made);
    case 54: return irqmux_device_open(mux, "0000:00:00.0", &made);
    case 55: return irqmux_device_reset(mux, device);
    case 56: return irqmux_region_read(mux, device, 0, 0, 4, &number);
    case 57: return irqmux_region_write(mux, device, 0, 0, 4, 0);
    // From here on: for any thread.
    case 58: return irqmux_mux_stop(mux);
    case 59: return irqmux_mux_fd(mux);
    case 60: return irqmux_pair_complete(mux, pair);
    case 61: return irqmux_intx_ioapic_eoi(mux, 1);
    case 62: return irqmux_statistics_read(mux, &statistics);
    case 63: return irqmux_histogram_read(mux, &histogram);
    default: return 1;
    }
}

enum { all_calls = 64, mux_thread_calls = 58 };

static irqmux_mux made(irqmux_device *device, irqmux_vector *vector, struct board *board, struct tally *tally) {
    memset(tally, 0, sizeof *tally);
    irqmux_mux mux = mux_of(0, tally_handler, tally);
    connect_board(mux, board, device, 1, vector);
    return mux;
}

static void null_and_destroyed(void) {
    irqmux_device device;
    irqmux_vector vector;
    struct board board;
    struct tally tally;
    irqmux_mux mux = made(&device, &vector, &board, &tally), nothing = {0}, nonsense = {0xffffffffffffffff};
    EQUAL(irqmux_mux_destroy(mux), 0);
    for (int which = 0; which < all_calls; which++) {
        FAILS(call(which, nothing, device, vector), EINVAL);
        FAILS(call(which, mux, device, vector), EBADF);
        FAILS(call(which, nonsense, device, vector), EBADF);
    }
    FAILS(irqmux_mux_bind(nothing), EINVAL);
    FAILS(irqmux_mux_bind(mux), EBADF);
}

static void foreign_handles(void) {
    irqmux_device device, no_device = {0}, odd_device = {0x700000001};
    irqmux_vector vector, no_vector = {0}, odd_vector = {0x900000001}, wild_vector = {0xffffffff};
    struct board board;
    struct tally tally;
    irqmux_mux mux = made(&device, &vector, &board, &tally);
    const int of_device[] = {14, 15, 16, 39, 43, 45, 46, 47, 48, 49, 50, 51, 52, 55, 56, 57};
    const int of_vector[] = {17, 18, 19, 20, 21, 32, 33, 35, 38, 40, 42};
    for (size_t at = 0; at < sizeof of_device / sizeof *of_device; at++) {
        FAILS(call(of_device[at], mux, no_device, vector), EINVAL);
        FAILS(call(of_device[at], mux, odd_device, vector), EBADF);
    }
    for (size_t at = 0; at < sizeof of_vector / sizeof *of_vector; at++) {
        FAILS(call(of_vector[at], mux, device, no_vector), EINVAL);
        FAILS(call(of_vector[at], mux, device, odd_vector), EBADF);
        FAILS(call(of_vector[at], mux, device, wild_vector), EBADF);
    }
    irqmux_pair no_pair = {0}, odd_pair = {0x500000001};
    FAILS(irqmux_pair_complete(mux, no_pair), EINVAL);
    FAILS(irqmux_pair_complete(mux, odd_pair), EBADF);
    FAILS(irqmux_pair_remove(mux, odd_pair), EBADF);
    irqmux_source no_source = {0}, odd_source = {0x300000002};
    FAILS(irqmux_source_remove(mux, no_source), EINVAL);
    FAILS(irqmux_source_remove(mux, odd_source), EBADF);
    irqmux_timer odd_timer = {0x300000002};
    FAILS(irqmux_timer_remove(mux, odd_timer), EBADF);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

struct stranger {
    irqmux_mux mux;
    irqmux_device device;
    irqmux_vector vector;
    int32_t answers[mux_thread_calls];
    int32_t number;
    const char *remedy;
};

static void *strange(void *context) {
    struct stranger *stranger = context;
    for (int which = 0; which < mux_thread_calls; which++)
        stranger->answers[which] = call(which, stranger->mux, stranger->device, stranger->vector);
    irqmux_error error = {.size = sizeof error};
    irqmux_error_read(&error);
    stranger->number = error.number;
    stranger->remedy = error.remedy;
    return NULL;
}

static void wrong_thread(void) {
    struct board board;
    struct tally tally;
    struct stranger stranger = {0};
    stranger.mux = made(&stranger.device, &stranger.vector, &board, &tally);
    EQUAL(irqmux_mux_dispatch(stranger.mux, 0), 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, strange, &stranger) == 0);
    pthread_join(thread, NULL);
    for (int which = 0; which < mux_thread_calls; which++)
        if (stranger.answers[which] != -EPERM) {
            printf("call %d:\n", which);
            EQUAL(stranger.answers[which], -EPERM);
        }
    EQUAL(stranger.number, -EPERM);
    CHECK(stranger.remedy && strstr(stranger.remedy, "thread"));
    // Nothing of it was done.
    board_raise(&board, IRQMUX_MSIX, 0);
    EQUAL(drain(stranger.mux), 1);
    EQUAL(irqmux_mux_destroy(stranger.mux), 0);
}

static void call_all_within(struct tally *tally) {
    tally->results[0] = irqmux_mux_destroy(tally->mux);
    tally->results[1] = irqmux_mux_run(tally->mux);
    tally->results[2] = irqmux_mux_dispatch(tally->mux, 0);
    irqmux_event event = {.size = sizeof event};
    tally->results[3] = irqmux_mux_next(tally->mux, &event);
    tally->results[4] = irqmux_vector_mask(tally->mux, tally->last.vector);
    tally->results[5] = irqmux_vector_unmask(tally->mux, tally->last.vector);
    tally->results[6] = irqmux_vector_disconnect(tally->mux, tally->last.vector);
}

static void within_the_handler(void) {
    irqmux_device device;
    irqmux_vector vector;
    struct board board;
    struct tally tally;
    irqmux_mux mux = made(&device, &vector, &board, &tally);
    tally.within = call_all_within;
    board_raise(&board, IRQMUX_MSIX, 0);
    EQUAL(drain(mux), 1);
    EQUAL(tally.results[0], -EBUSY);
    EQUAL(tally.results[1], -EDEADLK);
    EQUAL(tally.results[2], -EDEADLK);
    EQUAL(tally.results[3], -EDEADLK);
    EQUAL(tally.results[4], 0);
    EQUAL(tally.results[5], 0);
    EQUAL(tally.results[6], 0);
    EQUAL(board.eventfds[IRQMUX_MSIX][0], -1);
    // From inside a device's function nothing goes.
    board.reenter = mux;
    irqmux_connection connection = {.size = sizeof connection, .index = IRQMUX_MSIX, .count = 1};
    EQUAL(irqmux_vectors_connect(mux, device, &connection, &vector), 0);
    EQUAL(board.reentered, -EDEADLK);
    board.reenter.bits = 0;
    EQUAL(irqmux_mux_destroy(mux), 0);
}

static void forked(void) {
    irqmux_device device;
    irqmux_vector vector;
    struct board board;
    struct tally tally;
    irqmux_mux mux = made(&device, &vector, &board, &tally);
    EQUAL(irqmux_mux_dispatch(mux, 0), 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        int before = failures;
        for (int which = 0; which < all_calls; which++) FAILS(call(which, mux, device, vector), EPERM);
        // A mux of its own is another matter.
        struct board mine;
        struct tally mine_too;
        irqmux_device my_device;
        irqmux_vector my_vector;
        irqmux_mux my_mux = made(&my_device, &my_vector, &mine, &mine_too);
        board_raise(&mine, IRQMUX_MSIX, 0);
        EQUAL(drain(my_mux), 1);
        FAILS(irqmux_mux_destroy(mux), EPERM);
        EQUAL(irqmux_mux_destroy(my_mux), 0);
        fflush(stdout);
        _exit(failures != before);
    }
    int status = 1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    EQUAL(WEXITSTATUS(status), 0);
    // The parent has lost nothing by it.
    EQUAL(board.sets, 1);
    board_raise(&board, IRQMUX_MSIX, 0);
    EQUAL(drain(mux), 1);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

struct crowd {
    irqmux_mux mux;
    irqmux_vector vector;
    _Atomic uint32_t calls, odd;
};

static void *crowd_in(void *context) {
    struct crowd *crowd = context;
    for (;;) {
        int32_t answer = irqmux_vector_mask(crowd->mux, crowd->vector);
        if (answer == 0) answer = irqmux_vector_unmask(crowd->mux, crowd->vector);
        irqmux_statistics statistics = {.size = sizeof statistics};
        if (answer == 0) answer = irqmux_statistics_read(crowd->mux, &statistics);
        crowd->calls++;
        if (answer == 0) continue;
        if (answer != -EBADF && answer != -ECANCELED && answer != -EAGAIN) crowd->odd++;
        if (answer == -EBADF) return NULL;
    }
}

static void destroyed_under_a_crowd(void) {
    struct tally tally = {0};
    irqmux_mux_config config = config_of(IRQMUX_OWN_THREAD, tally_handler, &tally);
    struct crowd crowd = {0};
    EQUAL(irqmux_mux_create(&config, &crowd.mux), 0);
    struct board board;
    irqmux_device device;
    connect_board(crowd.mux, &board, &device, 1, &crowd.vector);
    pthread_t threads[4];
    for (int at = 0; at < 4; at++) CHECK(pthread_create(&threads[at], NULL, crowd_in, &crowd) == 0);
    while (crowd.calls < 200) usleep(1000);
    EQUAL(irqmux_mux_destroy(crowd.mux), 0);
    for (int at = 0; at < 4; at++) pthread_join(threads[at], NULL);
    EQUAL(crowd.odd, 0);
    EQUAL(board.released, 1);
}

static void dispositions_of(struct sigaction *actions) {
    for (int number = 1; number < 32; number++) sigaction(number, NULL, &actions[number]);
}

static void silent(void) {
    // Whatever the library does, stdout, stderr, signals and their mask stay as they are.
    fflush(stdout);
    char path[] = "c-tests-XXXXXX";
    int file = mkstemp(path), out = dup(1), err = dup(2);
    unlink(path);
    sigset_t mask, mask_after;
    struct sigaction before[32], after[32];
    memset(before, 0, sizeof before), memset(after, 0, sizeof after);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    dispositions_of(before);
    dup2(file, 1), dup2(file, 2);
    int before_failures = failures;
    within_the_handler();
    wrong_thread();
    destroyed_under_a_crowd();
    null_and_destroyed();
    fflush(stdout);
    dup2(out, 1), dup2(err, 2);
    close(out), close(err);
    if (failures == before_failures) EQUAL(lseek(file, 0, SEEK_END), 0);
    close(file);
    pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
    dispositions_of(after);
    for (int number = 1; number < 32; number++) {
        EQUAL(sigismember(&mask, number), sigismember(&mask_after, number));
        CHECK(before[number].sa_handler == after[number].sa_handler);
    }
}

const struct test misuse_tests[] = {
    {"every call refuses a null handle with EINVAL and a destroyed one with EBADF", null_and_destroyed, false},
    {"handles of vectors, devices, pairs, sources and timers are checked likewise", foreign_handles, false},
    {"every call of the mux's thread refuses another thread with EPERM", wrong_thread, false},
    {"a handler may change everything, and not destroy or wait", within_the_handler, false},
    {"a forked child is refused its parent's handles, and makes its own", forked, true},
    {"a mux is destroyed while four threads call it", destroyed_under_a_crowd, true},
    {"nothing is written, and no signal is touched", silent, true},
    {NULL, NULL, false},
};
