// What must not work: null handles, destroyed ones, wrong threads, calls from inside, a forked child. Each is an errno
// with a text; none writes anything anywhere.
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

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
    const int of_device[] = {14, 15, 16, 39, 43, 45, 46, 47, 48, 49, 50, 51, 52, 55, 56, 57, 59, 70};
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
    for (int which = 60; which < 70; which++) FAILS(call(which, mux, device, vector), EBADF);
    irqmux_function no_function = {0};
    FAILS(irqmux_function_end(mux, no_function), EINVAL);
    FAILS(irqmux_functions_reset(mux, &no_function, 1, NULL, NULL), EINVAL);
    irqmux_pair no_pair = {0}, odd_pair = {0x500000001};
    FAILS(irqmux_pair_complete(mux, no_pair), EINVAL);
    FAILS(irqmux_pair_complete(mux, odd_pair), EBADF);
    FAILS(irqmux_pair_remove(mux, odd_pair), EBADF);
    irqmux_source no_source = {0}, odd_source = {0x300000002};
    FAILS(irqmux_source_remove(mux, no_source), EINVAL);
    FAILS(irqmux_source_remove(mux, odd_source), EBADF);
    FAILS(irqmux_source_arm(mux, no_source), EINVAL);
    FAILS(irqmux_source_arm(mux, odd_source), EBADF);
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

// ---- From inside

enum { first_running = 0, last_running = 4, destroying = 44 };

// What every call answers from inside a function of the caller's, and binding after them.
struct inside {
    irqmux_mux mux;
    irqmux_device device;
    irqmux_vector vector;
    int32_t answers[all_calls], bind;
    _Atomic uint32_t times;
};

static void call_all(void *context) {
    struct inside *inside = context;
    inside->bind = irqmux_mux_bind(inside->mux);
    for (int which = 0; which < all_calls; which++)
        inside->answers[which] = call(which, inside->mux, inside->device, inside->vector);
    // Last, because another thread may wait for it.
    inside->times++;
}

static void answered(const struct inside *inside, int which, int32_t wanted) {
    if (inside->answers[which] == wanted) return;
    printf("call %d from inside:\n", which);
    EQUAL(inside->answers[which], wanted);
}

// The calls of the mux's thread are refused, those of any thread work as ever.
static void all_refused(const struct inside *inside, int32_t running, int32_t destroy) {
    EQUAL(inside->times, 1);
    EQUAL(inside->bind, -EDEADLK);
    for (int which = 0; which < mux_thread_calls; which++)
        answered(inside, which, which == destroying ? destroy : which <= last_running ? running : -EDEADLK);
    answered(inside, mux_thread_calls, 0);
    answered(inside, mux_thread_calls + 1, -ENOTSUP);
    answered(inside, mux_thread_calls + 2, -EBADF);
    answered(inside, mux_thread_calls + 3, 0);
    answered(inside, mux_thread_calls + 4, 0);
    answered(inside, mux_thread_calls + 5, 0);
    answered(inside, mux_thread_calls + 6, 0);
}

static void call_all_within(struct tally *tally) {
    struct inside *inside = (struct inside *)(void *)tally->context;
    tally->within = NULL;
    call_all(inside);
}

static void within_the_handler(void) {
    struct inside inside = {0};
    struct board board;
    struct tally tally;
    inside.mux = made(&inside.device, &inside.vector, &board, &tally);
    tally.within = call_all_within;
    tally.context = &inside;
    board_raise(&board, IRQMUX_MSIX, 0);
    EQUAL(drain(inside.mux), 1);
    EQUAL(inside.times, 1);
    EQUAL(inside.bind, -EPERM);
    for (int which = first_running; which <= last_running; which++) answered(&inside, which, -EDEADLK);
    answered(&inside, destroying, -EBUSY);
    for (int which = last_running + 1; which < all_calls; which++)
        if (which != destroying && (inside.answers[which] == -EDEADLK || inside.answers[which] == -EPERM))
            answered(&inside, which, 0);
    // Masked, unmasked, disconnected, and its device let go.
    answered(&inside, 18, 0);
    answered(&inside, 19, 0);
    answered(&inside, 43, 0);
    EQUAL(board.eventfds[IRQMUX_MSIX][0], -1);
    EQUAL(board.released, 1);
    EQUAL(irqmux_mux_destroy(inside.mux), 0);
}

static void within_a_device(void) {
    struct inside inside = {0};
    struct board board;
    struct tally tally;
    inside.mux = made(&inside.device, &inside.vector, &board, &tally);
    board.within = call_all;
    board.context = &inside;
    EQUAL(irqmux_vector_disconnect(inside.mux, inside.vector), 0);
    all_refused(&inside, -EDEADLK, -EBUSY);
    // From a device's last functions, while its mux is destroyed, there is no mux to call.
    irqmux_connection connection = {.size = sizeof connection, .index = IRQMUX_MSIX, .count = 1};
    EQUAL(irqmux_vectors_connect(inside.mux, inside.device, &connection, &inside.vector), 0);
    board.within = call_all;
    EQUAL(irqmux_mux_destroy(inside.mux), 0);
    EQUAL(inside.times, 2);
    for (int which = 0; which < all_calls; which++) answered(&inside, which, -EBADF);
    EQUAL(inside.bind, -EBADF);
}

struct inside_thread {
    struct inside handler, ended, device;
};

static void threaded_handler(void *context, irqmux_mux mux, const irqmux_event *event) {
    struct inside_thread *all = context;
    (void)mux;
    call_all(event->kind == IRQMUX_EVENT_ENDED ? &all->ended : &all->handler);
}

// On a mux's own thread nobody else runs it or destroys it, and at its end nothing is left to ask.
static void within_its_thread(void) {
    struct inside_thread all = {0};
    irqmux_mux_config config = config_of(IRQMUX_OWN_THREAD, threaded_handler, &all);
    struct board board;
    EQUAL(irqmux_mux_create(&config, &all.device.mux), 0);
    connect_board(all.device.mux, &board, &all.device.device, 1, &all.device.vector);
    board.context = &all.device;
    all.handler = all.ended = all.device;
    irqmux_connection connection = {.size = sizeof connection, .index = IRQMUX_MSIX, .first = 1, .count = 1};
    irqmux_vector other;
    board.within = call_all;
    EQUAL(irqmux_vectors_connect(all.device.mux, all.device.device, &connection, &other), 0);
    // The stop from inside has ended it by now, or will.
    while (!all.ended.times) usleep(1000);
    all_refused(&all.device, -EPERM, -EDEADLK);
    all_refused(&all.ended, -EPERM, -EDEADLK);
    EQUAL(irqmux_mux_destroy(all.device.mux), 0);
    EQUAL(all.handler.times, 0);

    EQUAL(irqmux_mux_create(&config, &all.handler.mux), 0);
    connect_board(all.handler.mux, &board, &all.handler.device, 1, &all.handler.vector);
    all.ended = all.handler;
    board_raise(&board, IRQMUX_MSIX, 0);
    while (!all.ended.times) usleep(1000);
    for (int which = first_running; which <= last_running; which++) answered(&all.handler, which, -EPERM);
    answered(&all.handler, destroying, -EDEADLK);
    answered(&all.handler, 18, 0);
    answered(&all.handler, 43, 0);
    EQUAL(irqmux_mux_destroy(all.handler.mux), 0);
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
    within_a_device();
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
    {"from inside a device's function the mux's calls are refused, and those of any thread go", within_a_device, false},
    {"on a mux's own thread nobody else runs or destroys it, also at its end", within_its_thread, true},
    {"a forked child is refused its parent's handles, and makes its own", forked, true},
    {"a mux is destroyed while four threads call it", destroyed_under_a_crowd, true},
    {"nothing is written, and no signal is touched", silent, true},
    {NULL, NULL, false},
};
