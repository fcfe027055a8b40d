// Vectors, routes, masks, INTx, and the ledger that has to close.
#include "check.h"

#include <stdlib.h>
#include <sys/eventfd.h>

struct rig {
    struct tally tally;
    struct board board;
    irqmux_mux mux;
    irqmux_device device;
    irqmux_vector vectors[BOARD_VECTORS];
};

static void make(struct rig *rig, uint32_t flags, uint32_t vectors) {
    memset(rig, 0, sizeof *rig);
    irqmux_mux_config config = config_of(flags, tally_handler, &rig->tally);
    EQUAL(irqmux_mux_create(&config, &rig->mux), 0);
    connect_board(rig->mux, &rig->board, &rig->device, vectors, rig->vectors);
    EQUAL(drain(rig->mux), 0);
}

static irqmux_ledger ledger_of(struct rig *rig) {
    irqmux_ledger ledger = {.size = sizeof ledger};
    EQUAL(irqmux_ledger_read_device(rig->mux, rig->device, &ledger), 0);
    return ledger;
}

static void end(struct rig *rig) {
    irqmux_ledger ledger = ledger_of(rig);
    EQUAL(ledger.unexplained, 0);
    EQUAL(ledger.raised, ledger.delivered + ledger.coalesced + ledger.pending + ledger.dropped);
    EQUAL(irqmux_mux_destroy(rig->mux), 0);
    EQUAL(rig->board.released, 1);
}

static irqmux_vector_state state_of(struct rig *rig, uint32_t number) {
    irqmux_vector_state state = {.size = sizeof state};
    EQUAL(irqmux_vector_read(rig->mux, rig->vectors[number], &state), 0);
    return state;
}

static void masking(void) {
    struct rig rig;
    make(&rig, 0, 4);
    EQUAL(irqmux_vector_mask(rig.mux, rig.vectors[1]), 0);
    EQUAL(irqmux_vector_mask(rig.mux, rig.vectors[1]), 0);
    for (int signal = 0; signal < 3; signal++) board_raise(&rig.board, IRQMUX_MSIX, 1);
    board_raise(&rig.board, IRQMUX_MSIX, 2);
    EQUAL(drain(rig.mux), 1);
    EQUAL(rig.tally.last.number, 2);
    irqmux_vector_state state = state_of(&rig, 1);
    EQUAL(state.masked, 1);
    EQUAL(state.pending, 1);
    CHECK(!strcmp(state.path, "parked"));
    EQUAL(irqmux_vector_unmask(rig.mux, rig.vectors[1]), 0);
    EQUAL(drain(rig.mux), 1);
    EQUAL(rig.tally.last.number, 1);
    EQUAL(state_of(&rig, 1).pending, 0);
    EQUAL(ledger_of(&rig).raised, 4);
    end(&rig);
}

static void parking_and_fan_out(void) {
    struct rig rig;
    make(&rig, 0, 2);
    irqmux_route route = {.size = sizeof route, .kind = IRQMUX_ROUTE_PARKED};
    EQUAL(irqmux_vector_route(rig.mux, rig.vectors[0], &route), 0);
    board_raise(&rig.board, IRQMUX_MSIX, 0);
    EQUAL(drain(rig.mux), 0);
    int32_t targets[3];
    for (int at = 0; at < 3; at++) targets[at] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    route = (irqmux_route){.size = sizeof route, .kind = IRQMUX_ROUTE_FAN_OUT, .target_count = 3, .targets = targets};
    EQUAL(irqmux_vector_route(rig.mux, rig.vectors[0], &route), 0);
    EQUAL(state_of(&rig, 0).route, IRQMUX_ROUTE_FAN_OUT);
    board_raise(&rig.board, IRQMUX_MSIX, 1);
    EQUAL(drain(rig.mux), 1);
    for (int at = 0; at < 3; at++) {
        uint64_t count = 0;
        CHECK(read(targets[at], &count, sizeof count) == sizeof count);
        EQUAL(count, 1);
        close(targets[at]);
    }
    // A refused route leaves the old one: the descriptors are closed by now.
    FAILS(irqmux_vector_route(rig.mux, rig.vectors[0], &route), EBADF);
    route.target_count = 0;
    FAILS(irqmux_vector_route(rig.mux, rig.vectors[0], &route), EINVAL);
    route = (irqmux_route){.size = sizeof route, .kind = 17};
    FAILS(irqmux_vector_route(rig.mux, rig.vectors[0], &route), EINVAL);
    route = (irqmux_route){.size = sizeof route, .kind = IRQMUX_ROUTE_GUEST, .gsi = 24};
    FAILS(irqmux_vector_route(rig.mux, rig.vectors[0], &route), ENODEV);
    FAILS(irqmux_vector_route(rig.mux, rig.vectors[0], NULL), EINVAL);
    EQUAL(state_of(&rig, 0).route, IRQMUX_ROUTE_FAN_OUT);
    end(&rig);
}

static void connecting(void) {
    struct rig rig;
    make(&rig, 0, 0);
    uint64_t tags[3] = {100, 200, 300};
    irqmux_route routes[3];
    for (int at = 0; at < 3; at++) routes[at] = (irqmux_route){.size = sizeof routes[at]};
    routes[1].kind = IRQMUX_ROUTE_PARKED;
    irqmux_connection connection = {
        .size = sizeof connection, .index = IRQMUX_MSIX, .first = 5, .count = 3, .route_count = 3, .routes = routes,
        .tags = tags};
    EQUAL(irqmux_vectors_connect(rig.mux, rig.device, &connection, rig.vectors), 0);
    EQUAL(rig.board.sets, 1);
    EQUAL(drain(rig.mux), 0);
    for (uint32_t number = 5; number < 8; number++) board_raise(&rig.board, IRQMUX_MSIX, number);
    EQUAL(drain(rig.mux), 2);
    CHECK(rig.tally.last.tag == 100 || rig.tally.last.tag == 300);
    EQUAL(state_of(&rig, 1).route, IRQMUX_ROUTE_PARKED);
    EQUAL(state_of(&rig, 1).pending, 1);

    // What cannot be had leaves everything as it was.
    irqmux_vector more[3];
    FAILS(irqmux_vectors_connect(rig.mux, rig.device, &connection, more), EBUSY);
    connection.first = BOARD_VECTORS - 1;
    FAILS(irqmux_vectors_connect(rig.mux, rig.device, &connection, more), EINVAL);
    connection.index = 9;
    FAILS(irqmux_vectors_connect(rig.mux, rig.device, &connection, more), EINVAL);
    connection.index = IRQMUX_MSIX;
    connection.first = UINT32_MAX;
    FAILS(irqmux_vectors_connect(rig.mux, rig.device, &connection, more), EINVAL);
    connection.first = 20;
    connection.route_count = 2;
    FAILS(irqmux_vectors_connect(rig.mux, rig.device, &connection, more), EINVAL);
    connection.route_count = 0;
    rig.board.refuse = -EIO;
    FAILS(irqmux_vectors_connect(rig.mux, rig.device, &connection, more), EIO);
    // The device has too few: it says how many could be had.
    rig.board.refuse = 2;
    FAILS(irqmux_vectors_connect(rig.mux, rig.device, &connection, more), ENOSPC);
    irqmux_error error = {.size = sizeof error};
    irqmux_error_read(&error);
    EQUAL(error.available, 2);
    EQUAL(drain(rig.mux), 0);
    EQUAL(irqmux_vectors_connect(rig.mux, rig.device, &connection, more), 0);

    EQUAL(irqmux_vector_disconnect(rig.mux, more[1]), 0);
    FAILS(irqmux_vector_mask(rig.mux, more[1]), EBADF);
    FAILS(irqmux_vector_disconnect(rig.mux, more[1]), EBADF);
    EQUAL(irqmux_vectors_disconnect(rig.mux, rig.device, IRQMUX_MSIX), 0);
    FAILS(irqmux_vector_mask(rig.mux, more[0]), EBADF);
    EQUAL(rig.board.eventfds[IRQMUX_MSIX][5], -1);
    end(&rig);
}

static void devices(void) {
    struct rig rig;
    make(&rig, 0, 1);
    irqmux_irq_info info = {.size = sizeof info};
    EQUAL(irqmux_device_info(rig.mux, rig.device, IRQMUX_INTX, &info), 0);
    EQUAL(info.count, 1);
    EQUAL(info.flags, IRQMUX_IRQ_EVENTFD | IRQMUX_IRQ_MASKABLE | IRQMUX_IRQ_AUTOMASKED);
    FAILS(irqmux_device_info(rig.mux, rig.device, 5, &info), EINVAL);
    irqmux_device_ops ops = board_ops();
    irqmux_device other;
    ops.set_irqs = NULL;
    FAILS(irqmux_device_attach(rig.mux, &ops, NULL, &other), EINVAL);
    FAILS(irqmux_device_attach(rig.mux, NULL, NULL, &other), EINVAL);
    // As many as there may be; one more is refused without its being told that it was let go.
    struct board boards[16];
    ops = board_ops();
    irqmux_device attached[16];
    for (int at = 0; at < 15; at++) {
        board_init(&boards[at]);
        EQUAL(irqmux_device_attach(rig.mux, &ops, &boards[at], &attached[at]), 0);
    }
    board_init(&boards[15]);
    FAILS(irqmux_device_attach(rig.mux, &ops, &boards[15], &attached[15]), ENOSPC);
    EQUAL(boards[15].released, 0);
    irqmux_ledger account = {.size = sizeof account};
    board_raise(&rig.board, IRQMUX_MSIX, 0);
    EQUAL(drain(rig.mux), 1);
    EQUAL(irqmux_device_detach(rig.mux, rig.device, &account), 0);
    EQUAL(account.raised, 1);
    EQUAL(account.unexplained, 0);
    EQUAL(rig.board.released, 1);
    FAILS(irqmux_device_detach(rig.mux, rig.device, NULL), EBADF);
    EQUAL(irqmux_device_attach(rig.mux, &ops, &boards[15], &attached[15]), 0);
    CHECK(attached[15].bits != rig.device.bits);
    FAILS(irqmux_ledger_read_device(rig.mux, rig.device, &account), EBADF);
    EQUAL(irqmux_mux_destroy(rig.mux), 0);
    for (int at = 0; at < 16; at++) EQUAL(boards[at].released, 1);
}

static void kernel_devices(void) {
    struct rig rig;
    make(&rig, 0, 1);
    irqmux_device device;
    FAILS(irqmux_device_adopt(rig.mux, -1, 0, &device), EBADF);
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    FAILS(irqmux_device_adopt(rig.mux, fd, 0, &device), ENOTTY);
    FAILS(irqmux_device_adopt(rig.mux, fd, 2, &device), EINVAL);
    FAILS(irqmux_device_adopt(rig.mux, fd, 0, NULL), EINVAL);
    // What was refused is still the caller's.
    FAILS(irqmux_device_adopt(rig.mux, fd, IRQMUX_ADOPT_TAKE, &device), ENOTTY);
    EQUAL(close(fd), 0);
    FAILS(irqmux_device_open(rig.mux, "no address", &device), EINVAL);
    FAILS(irqmux_device_open(rig.mux, NULL, &device), EINVAL);
    CHECK(irqmux_device_open(rig.mux, "ffff:ff:1f.7", &device) < 0);
    CHECK(irqmux_device_open(rig.mux, "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", &device) < 0);
    irqmux_error error = {.size = sizeof error};
    EQUAL(irqmux_error_read(&error), 0);
    CHECK(error.number < 0 && strlen(error.remedy) > 10);
    end(&rig);
}

// ---- INTx

static void quiet_the_line(struct tally *tally) {
    struct rig *rig = (struct rig *)tally;
    if (tally->last.index == IRQMUX_INTX) board_assert(&rig->board, false);
}

static void connect_line(struct rig *rig) {
    irqmux_connection connection = {.size = sizeof connection, .index = IRQMUX_INTX, .count = 1};
    EQUAL(irqmux_vectors_connect(rig->mux, rig->device, &connection, rig->vectors), 0);
    EQUAL(drain(rig->mux), 0);
}

static void line(void) {
    struct rig rig;
    make(&rig, 0, 0);
    connect_line(&rig);
    rig.tally.within = quiet_the_line;
    for (int round = 1; round <= 10; round++) {
        board_assert(&rig.board, true);
        EQUAL(drain(rig.mux), 1);
        CHECK(!rig.board.masked);
    }
    EQUAL(rig.tally.count, 10);
    end(&rig);
}

static void explicit_line(void) {
    struct rig rig;
    make(&rig, IRQMUX_EXPLICIT_ACK, 0);
    connect_line(&rig);
    board_assert(&rig.board, true);
    EQUAL(drain(rig.mux), 1);
    CHECK(rig.board.masked);
    // Acknowledged while the device still asserts: it fires again, and nothing is lost.
    EQUAL(irqmux_vector_acknowledge(rig.mux, rig.vectors[0]), 0);
    EQUAL(drain(rig.mux), 1);
    board_assert(&rig.board, false);
    EQUAL(irqmux_vector_acknowledge(rig.mux, rig.vectors[0]), 0);
    CHECK(!rig.board.masked);
    EQUAL(drain(rig.mux), 0);
    end(&rig);
}

struct pin {
    uint32_t gsi, changes, high;
};

static void drive(void *context, uint32_t gsi, uint32_t high) {
    struct pin *pin = context;
    pin->gsi = gsi;
    pin->high = high;
    pin->changes++;
}

static void served_line(void) {
    struct rig rig;
    make(&rig, IRQMUX_EXPLICIT_ACK, 0);
    connect_line(&rig);
    struct pin pin = {0};
    irqmux_intx_service service = {
        .size = sizeof service, .way = IRQMUX_WAY_USER_EOI, .flags = IRQMUX_INTX_HAS_PIN, .gsi = 11, .drive = drive,
        .context = &pin};
    EQUAL(irqmux_intx_serve(rig.mux, rig.vectors[0], &service), 0);
    FAILS(irqmux_intx_serve(rig.mux, rig.vectors[0], &service), EBUSY);
    board_assert(&rig.board, true);
    EQUAL(drain(rig.mux), 1);
    CHECK(pin.gsi == 11 && pin.high == 1 && pin.changes == 1);
    // The guest quiets the device, then ends the interrupt.
    board_assert(&rig.board, false);
    EQUAL(irqmux_intx_end(rig.mux, 11), 0);
    CHECK(pin.high == 0 && pin.changes == 2);
    CHECK(!rig.board.masked);
    EQUAL(irqmux_intx_ioapic_eoi(rig.mux, 77), 0);
    EQUAL(irqmux_intx_stop(rig.mux, rig.vectors[0], NULL), 0);
    board_assert(&rig.board, true);
    EQUAL(drain(rig.mux), 1);
    EQUAL(pin.changes, 2);
    board_assert(&rig.board, false);

    service.drive = NULL;
    FAILS(irqmux_intx_serve(rig.mux, rig.vectors[0], &service), EINVAL);
    service = (irqmux_intx_service){.size = sizeof service, .way = IRQMUX_WAY_MAPPING_TOGGLE};
    FAILS(irqmux_intx_serve(rig.mux, rig.vectors[0], &service), EINVAL);
    service.way = 12;
    FAILS(irqmux_intx_serve(rig.mux, rig.vectors[0], &service), EINVAL);
    service.way = IRQMUX_WAY_KERNEL_RESAMPLE;
    service.machine = -1;
    FAILS(irqmux_intx_serve(rig.mux, rig.vectors[0], &service), EBADF);
    FAILS(irqmux_intx_ioapic_eoi(rig.mux, 256), EINVAL);
    end(&rig);
}

static void mappings(void *context, uint32_t enabled) { *(uint32_t *)context = enabled; }

static void toggled_line(void) {
    struct rig rig;
    make(&rig, IRQMUX_EXPLICIT_ACK, 0);
    connect_line(&rig);
    uint32_t enabled = 1;
    irqmux_intx_service service = {
        .size = sizeof service, .way = IRQMUX_WAY_MAPPING_TOGGLE, .quiet_ns = 1000000, .mappings = mappings,
        .context = &enabled};
    EQUAL(irqmux_intx_serve(rig.mux, rig.vectors[0], &service), 0);
    board_assert(&rig.board, true);
    EQUAL(drain(rig.mux), 1);
    EQUAL(enabled, 0);
    EQUAL(irqmux_intx_trapped(rig.mux, rig.vectors[0]), 0);
    board_assert(&rig.board, false);
    for (int turn = 0; turn < 10000 && !enabled; turn++) irqmux_mux_dispatch(rig.mux, 1000000);
    EQUAL(enabled, 1);
    CHECK(!rig.board.masked);
    end(&rig);
}

static void watching(void) {
    struct rig rig;
    make(&rig, IRQMUX_EXPLICIT_ACK, 0);
    connect_line(&rig);
    EQUAL(irqmux_watchdog_start(rig.mux, 2000000, 0), 0);
    FAILS(irqmux_watchdog_start(rig.mux, 0, 0), EBUSY);
    board_assert(&rig.board, true);
    for (int turn = 0; turn < 10000 && !rig.tally.kinds[IRQMUX_EVENT_WATCHDOG]; turn++)
        irqmux_mux_dispatch(rig.mux, 1000000);
    EQUAL(rig.tally.kinds[IRQMUX_EVENT_WATCHDOG], 1);
    EQUAL(rig.tally.last.detail, IRQMUX_VERDICT_NEVER_ACKNOWLEDGED);
    EQUAL(rig.tally.last.vector.bits, rig.vectors[0].bits);
    EQUAL(irqmux_watchdog_stop(rig.mux), 0);
    board_assert(&rig.board, false);
    EQUAL(irqmux_vector_acknowledge(rig.mux, rig.vectors[0]), 0);
    end(&rig);
}

// ---- Storms, statistics, histograms

static void storm(void) {
    struct rig rig;
    make(&rig, 0, BOARD_VECTORS);
    uint32_t seed = 1;
    for (int round = 0; round < 2000; round++) {
        seed = seed * 1664525 + 1013904223;
        board_raise(&rig.board, IRQMUX_MSIX, seed >> 26);
        uint32_t number = seed >> 20 & 63;
        if (round % 7 == 0) EQUAL(irqmux_vector_mask(rig.mux, rig.vectors[number]), 0);
        if (round % 11 == 0) EQUAL(irqmux_vector_unmask(rig.mux, rig.vectors[number]), 0);
        if (round % 5 == 0) CHECK(irqmux_mux_dispatch(rig.mux, 0) >= 0);
    }
    for (uint32_t number = 0; number < BOARD_VECTORS; number++)
        EQUAL(irqmux_vector_unmask(rig.mux, rig.vectors[number]), 0);
    CHECK(drain(rig.mux) > 0);
    irqmux_ledger ledger = ledger_of(&rig);
    EQUAL(ledger.raised, 2000);
    EQUAL(ledger.pending, 0);
    irqmux_ledger sum = {0};
    for (uint32_t number = 0; number < BOARD_VECTORS; number++) {
        irqmux_ledger one = {.size = sizeof one};
        EQUAL(irqmux_ledger_read_vector(rig.mux, rig.vectors[number], &one), 0);
        sum.raised += one.raised;
        sum.delivered += one.delivered;
    }
    EQUAL(sum.raised, ledger.raised);
    EQUAL(sum.delivered, ledger.delivered);
    EQUAL(rig.tally.kinds[IRQMUX_EVENT_INTERRUPT], ledger.delivered);
    end(&rig);
}

static void histograms(void) {
    struct rig rig;
    make(&rig, 0, 2);
    for (int round = 0; round < 100; round++) {
        board_raise(&rig.board, IRQMUX_MSIX, 0);
        CHECK(irqmux_mux_dispatch(rig.mux, 1000000000) >= 0);
    }
    drain(rig.mux);
    // One more than the header says, to see that it is as many as are written.
    uint64_t *buckets = malloc((IRQMUX_HISTOGRAM_BUCKETS + 1) * sizeof *buckets);
    memset(buckets, 0xff, (IRQMUX_HISTOGRAM_BUCKETS + 1) * sizeof *buckets);
    irqmux_histogram histogram = {.size = sizeof histogram, .which = IRQMUX_HISTOGRAM_DISPATCH, .buckets = buckets};
    EQUAL(irqmux_histogram_read(rig.mux, &histogram), 0);
    CHECK(histogram.count > 0 && histogram.min <= histogram.p50 && histogram.p50 <= histogram.max);
    uint64_t sum = 0;
    for (int bucket = 0; bucket < IRQMUX_HISTOGRAM_BUCKETS; bucket++) sum += buckets[bucket];
    EQUAL(sum, histogram.count);
    CHECK(buckets[IRQMUX_HISTOGRAM_BUCKETS - 1] != UINT64_MAX);
    CHECK(buckets[IRQMUX_HISTOGRAM_BUCKETS] == UINT64_MAX);
    free(buckets);
    histogram = (irqmux_histogram){.size = sizeof histogram, .which = IRQMUX_HISTOGRAM_TURN, .vector = rig.vectors[0]};
    FAILS(irqmux_histogram_read(rig.mux, &histogram), ENODATA);
    EQUAL(irqmux_vector_measure(rig.mux, rig.vectors[0], -1), 0);
    FAILS(irqmux_vector_measure(rig.mux, rig.vectors[0], -1), EBUSY);
    EQUAL(irqmux_histogram_read(rig.mux, &histogram), 0);
    EQUAL(histogram.count, 0);
    histogram.which = 99;
    FAILS(irqmux_histogram_read(rig.mux, &histogram), EINVAL);
    FAILS(irqmux_histogram_read(rig.mux, NULL), EINVAL);
    irqmux_statistics statistics = {.size = sizeof statistics};
    EQUAL(irqmux_statistics_read(rig.mux, &statistics), 0);
    CHECK(statistics.notifications >= 1 && statistics.system_calls > 0);
    end(&rig);
}

const struct test vector_tests[] = {
    {"a masked vector keeps its signals, and delivers them once", masking, false},
    {"a parked vector keeps, a fan-out signals every target once", parking_and_fan_out, false},
    {"connecting is all or nothing, with one request for the range", connecting, false},
    {"devices come and go, and are told once when they were let go", devices, false},
    {"a kernel's device that is none, or is not there, is refused with a remedy", kernel_devices, false},
    {"an INTx is acknowledged when the handler returns", line, false},
    {"an INTx is acknowledged by its owner, and a line that still asserts fires again", explicit_line, false},
    {"a served line drives its pin, up and down", served_line, false},
    {"mappings are off while a toggled line is in service", toggled_line, false},
    {"the watchdog names a line that nobody acknowledges", watching, false},
    {"under random masks every signal is accounted for", storm, false},
    {"histograms and statistics can be read", histograms, false},
    {NULL, NULL, false},
};
