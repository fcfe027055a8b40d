// Errors that irqmux.h names and only a machine that is full, closed or of another kind can give.
#include "check.h"

#include <sys/eventfd.h>
#include <sys/resource.h>

// A mux with room for `capacity` listeners, two pairs and one timer, its board with one vector connected.
struct small {
    irqmux_mux mux;
    struct board board;
    irqmux_device device;
    irqmux_vector vector;
    int machine;
};

static void make_small(struct small *small, uint32_t capacity) {
    irqmux_mux_config config = config_of(0, NULL, NULL);
    config.capacity = capacity;
    config.pairs = 2;
    config.timers = 1;
    EQUAL(irqmux_mux_create(&config, &small->mux), 0);
    connect_board(small->mux, &small->board, &small->device, 1, &small->vector);
    small->machine = -1;
}

static void attach_guest(struct small *small) {
    small->machine = make_machine(true);
    EQUAL(irqmux_guest_attach(small->mux, small->machine, IRQMUX_TABLE_IRQCHIP), 0);
}

static void end_small(struct small *small) {
    EQUAL(irqmux_mux_destroy(small->mux), 0);
    if (small->machine >= 0) close(small->machine);
}

static int make_eventfd(void) { return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); }

static void full_loops(void) {
    struct small small;
    make_small(&small, 4);
    irqmux_timer timer;
    EQUAL(irqmux_timer_add(small.mux, 1000000000, 0, 1, &timer), 0);
    irqmux_timer other_timer = {77};
    FAILS(irqmux_timer_add(small.mux, 1000000000, 0, 1, &other_timer), ENOSPC);
    EQUAL(other_timer.bits, 77);
    FAILS(irqmux_watchdog_start(small.mux, 0, 0), ENOSPC);
    EQUAL(irqmux_timer_remove(small.mux, timer), 0);
    int fd = make_eventfd();
    irqmux_source source, other_source = {77};
    int32_t answer;
    uint32_t added = 0;
    while ((answer = irqmux_source_add(small.mux, fd, 1, IRQMUX_EDGE, &source)) == 0 && added < 100) added++;
    // Four, of which the vector has one.
    EQUAL(added, 3);
    FAILS(irqmux_source_add(small.mux, fd, 1, IRQMUX_EDGE, &other_source), ENOSPC);
    EQUAL(other_source.bits, 77);
    FAILS(irqmux_vector_measure(small.mux, small.vector, fd), ENOSPC);
    EQUAL(irqmux_source_remove(small.mux, source), 0);
    // Its place is free when the loop has seen it go.
    EQUAL(irqmux_mux_wait(small.mux, 0), 0);
    EQUAL(irqmux_vector_measure(small.mux, small.vector, fd), 0);
    close(fd);
    end_small(&small);
}

static void no_descriptors(void) {
    struct rlimit before, none;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    int next = dup(0);
    none = before, none.rlim_cur = (rlim_t)next;
    close(next);
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    irqmux_mux_config config = config_of(0, NULL, NULL);
    irqmux_mux mux = {77};
    int32_t answer = irqmux_mux_create(&config, &mux);
    irqmux_error error = {.size = sizeof error};
    irqmux_error_read(&error);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    EQUAL(answer, -EMFILE);
    EQUAL(error.number, -EMFILE);
    CHECK(error.operation[0] && error.remedy[0]);
    EQUAL(mux.bits, 77);
}

static void guests(void) {
    struct small small;
    make_small(&small, 16);
    int fd = make_eventfd();
    FAILS(irqmux_guest_attach(small.mux, fd, IRQMUX_TABLE_IRQCHIP), ENOTTY);
    EQUAL(irqmux_guest_read(small.mux), 0);
    irqmux_pair_config config = {.size = sizeof config, .address = 0xd0001000, .width = 4, .gsi = 30};
    irqmux_pair pair = {77}, first;
    FAILS(irqmux_pair_add(small.mux, &config, &pair), ENODEV);
    attach_guest(&small);
    // Nobody has a route but the irqchip's own pins.
    irqmux_route route = {.size = sizeof route, .kind = IRQMUX_ROUTE_GUEST, .gsi = 3000};
    FAILS(irqmux_vector_route(small.mux, small.vector, &route), ENXIO);
    FAILS(irqmux_pair_add(small.mux, &config, &pair), ENXIO);
    FAILS(irqmux_gsi_free(small.mux, 3000), ENOENT);
    FAILS(irqmux_gsi_free(small.mux, UINT32_MAX), ENOENT);

    // A vector, then a pair, keep the guest.
    irqmux_gsi_route wanted = message(0x40);
    uint32_t gsi[4];
    for (int at = 0; at < 4; at++) EQUAL(irqmux_gsi_allocate(small.mux, &wanted, &gsi[at]), 0);
    route.gsi = gsi[0];
    EQUAL(irqmux_vector_route(small.mux, small.vector, &route), 0);
    FAILS(irqmux_guest_detach(small.mux), EBUSY);
    route.kind = IRQMUX_ROUTE_HANDLER;
    EQUAL(irqmux_vector_route(small.mux, small.vector, &route), 0);
    // A vector keeps its GSI, also while it goes elsewhere.
    config.gsi = gsi[0];
    FAILS(irqmux_pair_add(small.mux, &config, &pair), EEXIST);
    config.gsi = gsi[3];
    config.flags = IRQMUX_PAIR_EVENTFD;
    config.eventfd = fd;
    EQUAL(irqmux_pair_add(small.mux, &config, &first), 0);
    FAILS(irqmux_guest_detach(small.mux), EBUSY);

    // An eventfd is an irqfd once, and there are as many pairs as were asked for.
    config.address = 0xd0002000;
    config.gsi = gsi[1];
    FAILS(irqmux_pair_add(small.mux, &config, &pair), EBUSY);
    config.flags = 0;
    irqmux_pair second;
    EQUAL(irqmux_pair_add(small.mux, &config, &second), 0);
    config.address = 0xd0003000;
    config.gsi = gsi[2];
    FAILS(irqmux_pair_add(small.mux, &config, &pair), ENOSPC);
    EQUAL(pair.bits, 77);
    EQUAL(irqmux_pair_remove(small.mux, second), 0);
    EQUAL(irqmux_pair_add(small.mux, &config, &pair), 0);
    EQUAL(irqmux_pair_remove(small.mux, pair), 0);
    EQUAL(irqmux_pair_remove(small.mux, first), 0);
    EQUAL(irqmux_guest_detach(small.mux), 0);
    FAILS(irqmux_gsi_free(small.mux, gsi[2]), ENODEV);
    close(fd);
    end_small(&small);
}

static void full_table(void) {
    struct small small;
    make_small(&small, 4);
    attach_guest(&small);
    int32_t room = irqmux_gsi_room(small.mux), taken = 0, answer;
    irqmux_gsi_route wanted = message(0x40);
    uint32_t gsi = 77;
    while ((answer = irqmux_gsi_allocate(small.mux, &wanted, &gsi)) == 0) taken++;
    EQUAL(answer, -ENOSPC);
    EQUAL(taken, room);
    EQUAL(irqmux_gsi_room(small.mux), 0);
    uint32_t last = gsi;
    FAILS(irqmux_gsi_allocate(small.mux, &wanted, &gsi), ENOSPC);
    EQUAL(gsi, last);
    EQUAL(irqmux_gsi_free(small.mux, last), 0);
    FAILS(irqmux_gsi_free(small.mux, last), ENOENT);
    EQUAL(irqmux_gsi_room(small.mux), 1);
    EQUAL(irqmux_gsi_allocate(small.mux, &wanted, &gsi), 0);
    end_small(&small);
}

static int32_t (*whole_info)(void *context, uint32_t index, irqmux_irq_info *info);

static int32_t info_without_msi(void *context, uint32_t index, irqmux_irq_info *info) {
    int32_t answer = whole_info(context, index, info);
    if (index == IRQMUX_MSI) info->count = 0;
    return answer;
}

static void unserved(void) {
    struct small small;
    make_small(&small, 16);
    attach_guest(&small);
    irqmux_messages_config config = {.size = sizeof config, .index = IRQMUX_MSIX};
    FAILS(irqmux_messages_serve(small.mux, small.device, &config), EBUSY);
    EQUAL(irqmux_vectors_disconnect(small.mux, small.device, IRQMUX_MSIX), 0);
    config.vectors = BOARD_VECTORS + 1;
    FAILS(irqmux_messages_serve(small.mux, small.device, &config), EINVAL);
    config.vectors = 0;
    EQUAL(irqmux_messages_serve(small.mux, small.device, &config), 0);
    irqmux_device_ops ops = board_ops();
    whole_info = ops.info;
    ops.info = info_without_msi;
    struct board board;
    irqmux_device device;
    board_init(&board);
    EQUAL(irqmux_device_attach(small.mux, &ops, &board, &device), 0);
    config.index = IRQMUX_MSI;
    config.vectors = 1;
    FAILS(irqmux_messages_serve(small.mux, device, &config), ENODEV);
    end_small(&small);
}

const struct test error_tests[] = {
    {"a mux that is full says so, of sources, timers and what is measured", full_loops, false},
    {"without a descriptor left no mux is made", no_descriptors, true},
    {NULL, NULL, false},
};

const struct test guest_error_tests[] = {
    {"no machine, no guest, no route, no room: each has its errno, and leaves things as they were", guests, false},
    {"when the routing table is full, a GSI is refused until one is given back", full_table, false},
    {"messages are served of a device that has them, and has nothing connected", unserved, false},
    {NULL, NULL, false},
};
