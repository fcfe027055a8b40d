// Values of irqmux.h that no other test uses: kinds of sources, of waiting, of vectors, of events, of histograms.
#include "check.h"

#include <sys/eventfd.h>

static void signal_fd(int fd, uint64_t count) { CHECK(write(fd, &count, sizeof count) == sizeof count); }

static int make_eventfd(void) { return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }

static void acknowledged_source(void) {
    struct tally tally = {0};
    irqmux_mux mux = mux_of(0, tally_handler, &tally);
    int fd = make_eventfd();
    irqmux_source source;
    EQUAL(irqmux_source_add(mux, fd, 9, IRQMUX_ACKNOWLEDGED, &source), 0);
    EQUAL(drain(mux), 0);
    for (uint64_t round = 1; round <= 3; round++) {
        signal_fd(fd, 2);
        EQUAL(drain(mux), 1);
        EQUAL(tally.last.count, round == 1 ? 2 : 3);
        // Nothing more until it is armed; what came meanwhile is one event then.
        signal_fd(fd, 1);
        EQUAL(drain(mux), 0);
        EQUAL(irqmux_source_arm(mux, source), 0);
    }
    EQUAL(drain(mux), 1);
    EQUAL(tally.last.count, 1);
    EQUAL(tally.kinds[IRQMUX_EVENT_SOURCE], 4);
    EQUAL(irqmux_source_arm(mux, source), 0);
    EQUAL(irqmux_source_arm(mux, source), 0);
    EQUAL(irqmux_source_remove(mux, source), 0);
    FAILS(irqmux_source_arm(mux, source), EBADF);
    close(fd);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

// What comes may be the loop's own, the end of a source among it.
static int32_t dispatch_one(irqmux_mux mux) {
    int32_t count = 0;
    for (int turn = 0; turn < 5 && count == 0; turn++) count = irqmux_mux_dispatch(mux, 1000000000);
    return count;
}

static void spinning(void) {
    struct tally tally = {0};
    irqmux_mux_config config = config_of(0, tally_handler, &tally);
    config.wait = IRQMUX_WAIT_SPIN;
    irqmux_mux mux;
    EQUAL(irqmux_mux_create(&config, &mux), 0);
    struct board board;
    irqmux_device device;
    irqmux_vector vectors[3];
    // Three, so that the loop spins on its ring; then one alone, which it reads.
    connect_board(mux, &board, &device, 3, vectors);
    EQUAL(irqmux_mux_dispatch(mux, 0), 0);
    for (uint32_t round = 0; round < 30; round++) {
        if (round == 15) EQUAL(irqmux_vector_disconnect(mux, vectors[2]), 0);
        if (round == 15) EQUAL(irqmux_vector_disconnect(mux, vectors[1]), 0);
        board_raise(&board, IRQMUX_MSIX, round < 15 ? round % 3 : 0);
        EQUAL(dispatch_one(mux), 1);
    }
    EQUAL(tally.kinds[IRQMUX_EVENT_INTERRUPT], 30);
    irqmux_statistics statistics = {.size = sizeof statistics};
    EQUAL(irqmux_mux_dispatch(mux, 0), 0);
    EQUAL(irqmux_statistics_read(mux, &statistics), 0);
    EQUAL(statistics.sleeps, 0);
    EQUAL(irqmux_mux_set_wait(mux, IRQMUX_WAIT_BLOCK, 0), 0);
    EQUAL(irqmux_mux_dispatch(mux, 1000000), 0);
    EQUAL(irqmux_mux_set_wait(mux, IRQMUX_WAIT_SPIN, 0), 0);
    board_raise(&board, IRQMUX_MSIX, 0);
    EQUAL(dispatch_one(mux), 1);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

static uint64_t dispatched(irqmux_mux mux) {
    irqmux_histogram histogram = {.size = sizeof histogram, .which = IRQMUX_HISTOGRAM_DISPATCH};
    EQUAL(irqmux_histogram_read(mux, &histogram), 0);
    return histogram.count;
}

static void unstamped(void) {
    for (uint32_t flags = 0; flags <= IRQMUX_NO_STAMPS; flags += IRQMUX_NO_STAMPS) {
        struct tally tally = {0};
        irqmux_mux mux = mux_of(flags, tally_handler, &tally);
        struct board board;
        irqmux_device device;
        irqmux_vector vector;
        connect_board(mux, &board, &device, 1, &vector);
        EQUAL(drain(mux), 0);
        for (int round = 0; round < 3; round++) {
            board_raise(&board, IRQMUX_MSIX, 0);
            EQUAL(drain(mux), 1);
        }
        EQUAL(tally.last.ticks != 0, flags == 0);
        EQUAL(dispatched(mux), flags ? 0 : 3);
        EQUAL(irqmux_mux_destroy(mux), 0);
    }
}

// ERR and REQ, as a VFIO device signals them.
static void notices(void) {
    struct tally tally = {0};
    irqmux_mux mux = mux_of(0, tally_handler, &tally);
    struct board board;
    irqmux_device device;
    connect_board(mux, &board, &device, 0, NULL);
    for (uint32_t index = IRQMUX_ERR; index <= IRQMUX_REQ; index++) {
        irqmux_vector vector;
        irqmux_connection connection = {.size = sizeof connection, .index = index, .count = 1};
        EQUAL(irqmux_vectors_connect(mux, device, &connection, &vector), 0);
        board_raise(&board, index, 0);
        EQUAL(drain(mux), 1);
        EQUAL(tally.last.kind, IRQMUX_EVENT_INTERRUPT);
        EQUAL(tally.last.index, index);
        EQUAL(tally.last.vector.bits, vector.bits);
        // There is one of each.
        connection.first = 1;
        FAILS(irqmux_vectors_connect(mux, device, &connection, &vector), EINVAL);
    }
    EQUAL(irqmux_vectors_disconnect(mux, device, IRQMUX_ERR), 0);
    EQUAL(board.eventfds[IRQMUX_ERR][0], -1);
    CHECK(board.eventfds[IRQMUX_REQ][0] >= 0);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

static uint32_t wait_for_verdict(irqmux_mux mux, struct tally *tally, struct board *board, bool storms) {
    tally->kinds[IRQMUX_EVENT_WATCHDOG] = 0;
    for (int turn = 0; turn < 20000 && !tally->kinds[IRQMUX_EVENT_WATCHDOG]; turn++) {
        for (int signal = 0; storms && signal < 100; signal++) board_raise(board, IRQMUX_MSIX, 1);
        irqmux_mux_dispatch(mux, 1000000);
    }
    EQUAL(tally->kinds[IRQMUX_EVENT_WATCHDOG], 1);
    return tally->last.detail;
}

static void storming(void) {
    struct tally tally = {0};
    irqmux_mux mux = mux_of(0, tally_handler, &tally);
    struct board board;
    irqmux_device device;
    irqmux_vector vectors[2];
    connect_board(mux, &board, &device, 2, vectors);
    // A look each millisecond.
    EQUAL(irqmux_watchdog_start(mux, 8000000, 1000), 0);
    EQUAL(wait_for_verdict(mux, &tally, &board, true), IRQMUX_VERDICT_STORM);
    EQUAL(tally.last.vector.bits, vectors[1].bits);
    EQUAL(wait_for_verdict(mux, &tally, &board, false), IRQMUX_VERDICT_STORM_OVER);
    EQUAL(tally.last.vector.bits, vectors[1].bits);
    irqmux_ledger ledger = {.size = sizeof ledger};
    EQUAL(irqmux_ledger_read_device(mux, device, &ledger), 0);
    EQUAL(ledger.unexplained, 0);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

static void failing(void) {
    struct tally tally = {0};
    irqmux_mux mux = mux_of(0, tally_handler, &tally);
    struct board board;
    irqmux_device device;
    irqmux_vector vectors[2];
    connect_board(mux, &board, &device, 2, vectors);
    // Somebody closes a vector's eventfd before the loop listens to it: the first, because epoll's duplicate of another
    // one may be given its number.
    EQUAL(close(board.eventfds[IRQMUX_MSIX][0]), 0);
    EQUAL(drain(mux), 1);
    EQUAL(tally.kinds[IRQMUX_EVENT_FAILED], 1);
    EQUAL(tally.last.error, -EBADF);
    EQUAL(tally.last.vector.bits, vectors[0].bits);
    // The other one is served as ever.
    board_raise(&board, IRQMUX_MSIX, 1);
    EQUAL(drain(mux), 1);
    EQUAL(tally.last.vector.bits, vectors[1].bits);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

// ---- Into a guest

static void pins(void) {
    irqmux_mux mux = mux_of(0, NULL, NULL);
    int machine = make_machine(true);
    EQUAL(irqmux_guest_attach(mux, machine, IRQMUX_TABLE_IRQCHIP), 0);
    irqmux_gsi_route route = {
        .size = sizeof route, .kind = IRQMUX_GSI_PINS, .flags = IRQMUX_GSI_IOAPIC | IRQMUX_GSI_PIC2, .ioapic = 23,
        .pic2 = 7};
    uint32_t gsi = 0;
    int32_t room = irqmux_gsi_room(mux);
    EQUAL(irqmux_gsi_allocate(mux, &route, &gsi), 0);
    EQUAL(irqmux_gsi_room(mux), room - 2);
    EQUAL(irqmux_gsi_commit(mux), 1);
    // Another pin for it, then a pin that no chip has.
    route.flags = IRQMUX_GSI_PIC1;
    route.pic1 = 3;
    EQUAL(irqmux_gsi_set(mux, gsi, &route), 0);
    EQUAL(irqmux_gsi_commit(mux), 1);
    route.pic1 = 8;
    FAILS(irqmux_gsi_set(mux, gsi, &route), EINVAL);
    route = (irqmux_gsi_route){
        .size = sizeof route, .kind = IRQMUX_GSI_PINS, .flags = IRQMUX_GSI_IOAPIC, .ioapic = 24};
    FAILS(irqmux_gsi_set(mux, gsi, &route), EINVAL);
    EQUAL(irqmux_gsi_free(mux, gsi), 0);
    EQUAL(irqmux_gsi_room(mux), room);
    EQUAL(irqmux_mux_destroy(mux), 0);
    close(machine);
}

static uint64_t last_signal(void *context, uint32_t index, uint32_t number) {
    (void)index, (void)number;
    return ((struct board *)context)->signalled;
}

static uint64_t stage(irqmux_mux mux, irqmux_vector vector, uint32_t which) {
    irqmux_histogram histogram = {.size = sizeof histogram, .which = which, .vector = vector};
    EQUAL(irqmux_histogram_read(mux, &histogram), 0);
    CHECK(histogram.max < 60000000000);
    return histogram.count;
}

static void stages(void) {
    struct tally tally = {0};
    irqmux_mux mux = mux_of(0, tally_handler, &tally);
    irqmux_device_ops ops = board_ops();
    ops.last_signal = last_signal;
    struct board board;
    irqmux_device device;
    irqmux_vector vector;
    board_init(&board);
    EQUAL(irqmux_device_attach(mux, &ops, &board, &device), 0);
    int machine = make_machine(true), acknowledged = make_eventfd();
    EQUAL(irqmux_guest_attach(mux, machine, IRQMUX_TABLE_IRQCHIP), 0);
    irqmux_route route = {.size = sizeof route, .kind = IRQMUX_ROUTE_DETOUR};
    irqmux_gsi_route wanted = message(0x40);
    EQUAL(irqmux_gsi_allocate(mux, &wanted, &route.gsi), 0);
    irqmux_connection connection = {
        .size = sizeof connection, .index = IRQMUX_MSIX, .count = 1, .route_count = 1, .routes = &route};
    EQUAL(irqmux_vectors_connect(mux, device, &connection, &vector), 0);
    EQUAL(irqmux_vector_measure(mux, vector, acknowledged), 0);
    EQUAL(drain(mux), 0);
    for (int round = 0; round < 4; round++) {
        board_raise(&board, IRQMUX_MSIX, 0);
        EQUAL(drain(mux), 0);
        // The guest acknowledges all but the last.
        if (round < 3) signal_fd(acknowledged, 1);
        EQUAL(drain(mux), 0);
    }
    EQUAL(stage(mux, vector, IRQMUX_HISTOGRAM_WAKE), 4);
    EQUAL(stage(mux, vector, IRQMUX_HISTOGRAM_TURN), 4);
    EQUAL(stage(mux, vector, IRQMUX_HISTOGRAM_FORWARD), 4);
    EQUAL(stage(mux, vector, IRQMUX_HISTOGRAM_ACKNOWLEDGED), 3);
    EQUAL(irqmux_mux_destroy(mux), 0);
    close(machine);
    close(acknowledged);
}

const struct test kind_tests[] = {
    {"a source that wants to be acknowledged is silent until it is armed", acknowledged_source, false},
    {"a mux that spins never sleeps, and hands out the same", spinning, false},
    {"without stamps nothing is stamped and no delay recorded", unstamped, false},
    {"ERR and REQ are vectors of their own", notices, false},
    {"the watchdog names a storm, and its end", storming, false},
    {"a vector whose eventfd was closed from outside is a failed event, and the others go on", failing, false},
    {NULL, NULL, false},
};

const struct test guest_kind_tests[] = {
    {"a GSI is routed to pins, which take an entry each", pins, false},
    {"a detour's stages are measured, from the device's stamp to the guest's acknowledgement", stages, false},
    {NULL, NULL, false},
};
