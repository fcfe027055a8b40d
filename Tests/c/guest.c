// Routes into a guest, on a real /dev/kvm: a machine without a processor takes interrupts all the same.
#include "check.h"

#include <sys/eventfd.h>

static void routes(void) {
    struct tally tally = {0};
    irqmux_mux mux = mux_of(0, tally_handler, &tally);
    struct board board;
    irqmux_device device;
    irqmux_vector vectors[2];
    connect_board(mux, &board, &device, 2, vectors);
    EQUAL(drain(mux), 0);
    irqmux_gsi_route wanted = message(0x40);
    uint32_t gsi = 0;
    FAILS(irqmux_gsi_allocate(mux, &wanted, &gsi), ENODEV);
    EQUAL(irqmux_guest_read(mux), 0);
    FAILS(irqmux_guest_attach(mux, -1, IRQMUX_TABLE_IRQCHIP), EBADF);
    FAILS(irqmux_guest_attach(mux, 0, 9), EINVAL);
    int machine = make_machine(true);
    EQUAL(irqmux_guest_attach(mux, machine, IRQMUX_TABLE_IRQCHIP), 0);
    FAILS(irqmux_guest_attach(mux, machine, IRQMUX_TABLE_IRQCHIP), EBUSY);
    EQUAL(irqmux_guest_read(mux), 1);
    int32_t room = irqmux_gsi_room(mux);
    CHECK(room > 1000);
    EQUAL(irqmux_gsi_allocate(mux, &wanted, &gsi), 0);
    CHECK(gsi >= 24);
    EQUAL(irqmux_gsi_room(mux), room - 1);

    // Past the process: the loop sees nothing, the device's own count tells.
    irqmux_route route = {.size = sizeof route, .kind = IRQMUX_ROUTE_GUEST, .gsi = gsi};
    EQUAL(irqmux_vector_route(mux, vectors[0], &route), 0);
    FAILS(irqmux_vector_route(mux, vectors[1], &route), EEXIST);
    for (int round = 0; round < 5; round++) board_raise(&board, IRQMUX_MSIX, 0);
    EQUAL(drain(mux), 0);
    irqmux_vector_state state = {.size = sizeof state};
    EQUAL(irqmux_vector_read(mux, vectors[0], &state), 0);
    EQUAL(state.gsi, gsi);
    CHECK(!strcmp(state.path, "bypass-atomic") && state.counted == 1);

    // By way of the loop, measured; masked on the way; back to the handler.
    route.kind = IRQMUX_ROUTE_DETOUR;
    EQUAL(irqmux_vector_route(mux, vectors[0], &route), 0);
    EQUAL(irqmux_vector_measure(mux, vectors[0], -1), 0);
    for (int round = 0; round < 3; round++) {
        board_raise(&board, IRQMUX_MSIX, 0);
        EQUAL(drain(mux), 0);
    }
    irqmux_histogram histogram = {.size = sizeof histogram, .which = IRQMUX_HISTOGRAM_FORWARD, .vector = vectors[0]};
    EQUAL(irqmux_histogram_read(mux, &histogram), 0);
    EQUAL(histogram.count, 3);
    EQUAL(irqmux_vector_mask(mux, vectors[0]), 0);
    board_raise(&board, IRQMUX_MSIX, 0);
    EQUAL(drain(mux), 0);
    route.kind = IRQMUX_ROUTE_HANDLER;
    EQUAL(irqmux_vector_route(mux, vectors[0], &route), 0);
    EQUAL(drain(mux), 0);
    EQUAL(irqmux_vector_unmask(mux, vectors[0]), 0);
    EQUAL(drain(mux), 1);
    irqmux_ledger ledger = {.size = sizeof ledger};
    EQUAL(irqmux_ledger_read_device(mux, device, &ledger), 0);
    EQUAL(ledger.raised, 9);
    EQUAL(ledger.unexplained, 0);

    wanted = message(0x41);
    EQUAL(irqmux_gsi_set(mux, gsi, &wanted), 0);
    EQUAL(irqmux_gsi_commit(mux), 1);
    EQUAL(irqmux_gsi_commit(mux), 0);
    FAILS(irqmux_gsi_free(mux, gsi), EBUSY);
    EQUAL(irqmux_guest_detach(mux), 0);
    FAILS(irqmux_guest_detach(mux), ENODEV);
    EQUAL(irqmux_mux_destroy(mux), 0);
    close(machine);
}

static void pairs(void) {
    struct tally tally = {0};
    irqmux_mux_config config = config_of(0, tally_handler, &tally);
    config.pairs = 2;
    irqmux_mux mux;
    EQUAL(irqmux_mux_create(&config, &mux), 0);
    int machine = make_machine(true);
    EQUAL(irqmux_guest_attach(mux, machine, IRQMUX_TABLE_IRQCHIP), 0);
    irqmux_gsi_route wanted = message(0x40);
    uint32_t gsi;
    EQUAL(irqmux_gsi_allocate(mux, &wanted, &gsi), 0);
    irqmux_pair_config pair_config = {
        .size = sizeof pair_config, .address = 0xd0001000, .width = 4, .gsi = gsi, .tag = 7,
        .flags = IRQMUX_PAIR_MEASURED};
    irqmux_pair pair, other;
    EQUAL(irqmux_pair_add(mux, &pair_config, &pair), 0);
    FAILS(irqmux_pair_add(mux, &pair_config, &other), EEXIST);
    EQUAL(drain(mux), 0);
    EQUAL(irqmux_pair_complete(mux, pair), 0);
    irqmux_histogram histogram = {.size = sizeof histogram, .which = IRQMUX_HISTOGRAM_FORWARD, .pair = pair};
    EQUAL(irqmux_histogram_read(mux, &histogram), 0);
    EQUAL(irqmux_pair_remove(mux, pair), 0);
    FAILS(irqmux_pair_complete(mux, pair), EBADF);
    FAILS(irqmux_pair_remove(mux, pair), EBADF);
    FAILS(irqmux_histogram_read(mux, &histogram), EBADF);
    pair_config.width = 3;
    FAILS(irqmux_pair_add(mux, &pair_config, &pair), EINVAL);
    pair_config.width = 2;
    pair_config.flags = IRQMUX_PAIR_PORT;
    FAILS(irqmux_pair_add(mux, &pair_config, &pair), EINVAL);
    pair_config.address = 0x510;
    pair_config.flags = IRQMUX_PAIR_PORT | IRQMUX_PAIR_MATCH | IRQMUX_PAIR_EVENTFD;
    pair_config.match = 3;
    pair_config.eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    EQUAL(irqmux_pair_add(mux, &pair_config, &other), 0);
    CHECK(other.bits != pair.bits);
    close(pair_config.eventfd);
    EQUAL(irqmux_pair_complete(mux, other), 0);
    // Destroyed with a pair that is left.
    EQUAL(irqmux_mux_destroy(mux), 0);
    FAILS(irqmux_pair_complete(mux, other), EBADF);
    close(machine);
}

static void owner_keeps_the_table(void) {
    irqmux_mux mux = mux_of(0, NULL, NULL);
    int machine = make_machine(true);
    EQUAL(irqmux_guest_attach(mux, machine, IRQMUX_TABLE_OWNER), 0);
    irqmux_gsi_route wanted = message(0x40);
    uint32_t gsi;
    FAILS(irqmux_gsi_allocate(mux, &wanted, &gsi), EPERM);
    wanted.kind = 5;
    FAILS(irqmux_gsi_allocate(mux, &wanted, &gsi), EINVAL);
    wanted = (irqmux_gsi_route){.size = sizeof wanted, .kind = IRQMUX_GSI_PINS};
    FAILS(irqmux_gsi_set(mux, 30, &wanted), EINVAL);
    EQUAL(irqmux_mux_destroy(mux), 0);
    close(machine);
}

// What the board does when its unmasking eventfd is signalled, as a kernel's device would.
static uint64_t take_unmask(struct board *board) {
    uint64_t count = 0;
    if (board->unmask < 0 || read(board->unmask, &count, sizeof count) != sizeof count) return 0;
    board->masked = false;
    board_assert(board, board->line);
    return count;
}

static void serve_line(bool has_irqchip, irqmux_intx_service service) {
    struct tally tally = {0};
    irqmux_mux mux = mux_of(IRQMUX_EXPLICIT_ACK, tally_handler, &tally);
    struct board board;
    irqmux_device device;
    irqmux_vector vector;
    connect_board(mux, &board, &device, 0, NULL);
    service.size = sizeof service;
    service.machine = make_machine(has_irqchip);
    EQUAL(irqmux_guest_attach(mux, service.machine, has_irqchip ? IRQMUX_TABLE_IRQCHIP : IRQMUX_TABLE_EMPTY), 0);
    if (!has_irqchip) {
        // The IOAPIC's own entry: level-triggered.
        irqmux_gsi_route wanted = message(0x8000 | service.apic_vector);
        EQUAL(irqmux_gsi_set(mux, service.gsi, &wanted), 0);
        EQUAL(irqmux_gsi_commit(mux), 1);
    }
    irqmux_connection connection = {.size = sizeof connection, .index = IRQMUX_INTX, .count = 1};
    EQUAL(irqmux_vectors_connect(mux, device, &connection, &vector), 0);
    EQUAL(drain(mux), 0);
    EQUAL(irqmux_intx_serve(mux, vector, &service), 0);
    take_unmask(&board);
    CHECK(!board.masked && board.unmask >= 0);
    EQUAL(irqmux_intx_ioapic_eoi(mux, service.apic_vector), !has_irqchip);
    EQUAL(take_unmask(&board), !has_irqchip);
    for (int round = 0; round < 5; round++) {
        board_assert(&board, true);
        CHECK(board.masked);
        // Past the process: nobody sees it here.
        EQUAL(drain(mux), 0);
        if (has_irqchip) continue;
        EQUAL(irqmux_intx_ioapic_eoi(mux, service.apic_vector + 1), 0);
        EQUAL(take_unmask(&board), 0);
        // Ended while the device still asserts: it fires again; then quiet.
        EQUAL(irqmux_intx_ioapic_eoi(mux, service.apic_vector), 1);
        EQUAL(take_unmask(&board), 1);
        CHECK(board.masked);
        board.line = false;
        EQUAL(irqmux_intx_ioapic_eoi(mux, service.apic_vector), 1);
        EQUAL(take_unmask(&board), 1);
        CHECK(!board.masked);
    }
    // Back to the handler.
    board.line = false;
    EQUAL(irqmux_intx_stop(mux, vector, NULL), 0);
    EQUAL(drain(mux), 0);
    EQUAL(irqmux_intx_ioapic_eoi(mux, service.apic_vector), 0);
    CHECK(!board.masked);
    board_assert(&board, true);
    EQUAL(drain(mux), 1);
    EQUAL(tally.last.vector.bits, vector.bits);
    board.line = false;
    EQUAL(irqmux_vector_acknowledge(mux, vector), 0);
    irqmux_ledger ledger = {.size = sizeof ledger};
    EQUAL(irqmux_ledger_read_device(mux, device, &ledger), 0);
    EQUAL(ledger.unexplained, 0);
    EQUAL(irqmux_mux_destroy(mux), 0);
    close(service.machine);
}

static void broadcast_line(void) {
    serve_line(false, (irqmux_intx_service){.way = IRQMUX_WAY_IOAPIC_BROADCAST, .gsi = 30, .apic_vector = 0x51});
}

static void resampled_line(void) {
    serve_line(true, (irqmux_intx_service){.way = IRQMUX_WAY_KERNEL_RESAMPLE, .gsi = 11});
}

const struct test guest_tests[] = {
    {"a vector goes into a guest, by a detour, and back, and every signal is accounted for", routes, false},
    {"pairs are made, completed from anywhere, and gone when removed", pairs, false},
    {"a line by IOAPIC broadcast goes past the process, and its end is told by vector", broadcast_line, false},
    {"a line that KVM resamples goes past the process", resampled_line, false},
    {"where the owner commits the table, the mux does not", owner_keeps_the_table, false},
    {NULL, NULL, false},
};
