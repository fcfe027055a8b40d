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

const struct test guest_tests[] = {
    {"a vector goes into a guest, by a detour, and back, and every signal is accounted for", routes, false},
    {"pairs are made, completed from anywhere, and gone when removed", pairs, false},
    {"where the owner commits the table, the mux does not", owner_keeps_the_table, false},
    {NULL, NULL, false},
};
