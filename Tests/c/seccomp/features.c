// One feature of the library a run, by name, so that a filter can hold the rows of docs/c-abi.md that it needs and no
// others. Exit: 0 it worked, 1 not, 64 no such feature; a call beyond the filter kills the process.
#include "../check.h"

#include <stdlib.h>
#include <sys/eventfd.h>

static irqmux_mux mux;
static irqmux_device device;
static struct board board;
static struct tally tally;
static irqmux_vector vectors[2];

static void make(uint32_t flags, uint32_t wait) {
    irqmux_mux_config config = config_of(flags, tally_handler, &tally);
    config.wait = wait;
    EQUAL(irqmux_mux_create(&config, &mux), 0);
    connect_board(mux, &board, &device, 2, vectors);
}

static void end(void) { EQUAL(irqmux_mux_destroy(mux), 0); }

// Vectors, masks, timers, a source of the program's own: what a loop does on either kind of kernel interface.
static void loop(void) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    uint64_t one = 1;
    irqmux_source source;
    irqmux_timer timer;
    make(0, IRQMUX_WAIT_BLOCK);
    EQUAL(irqmux_source_add(mux, fd, 1, IRQMUX_COUNTED, &source), 0);
    EQUAL(irqmux_timer_add(mux, 1000000, 0, 1, &timer), 0);
    board_raise(&board, IRQMUX_MSIX, 0);
    CHECK(write(fd, &one, sizeof one) == sizeof one);
    EQUAL(irqmux_vector_mask(mux, vectors[1]), 0);
    board_raise(&board, IRQMUX_MSIX, 1);
    EQUAL(drain(mux), 3);
    EQUAL(irqmux_vector_unmask(mux, vectors[1]), 0);
    EQUAL(drain(mux), 1);
    EQUAL(irqmux_source_remove(mux, source), 0);
    EQUAL(irqmux_vector_disconnect(mux, vectors[0]), 0);
    EQUAL(drain(mux), 0);
    end();
    close(fd);
}

static void on_epoll(void) {
    best_tier = IRQMUX_TIER_EPOLL;
    loop();
}

static void spinning(void) {
    make(0, IRQMUX_WAIT_SPIN);
    EQUAL(irqmux_vector_disconnect(mux, vectors[1]), 0);
    for (int round = 0; round < 20; round++) {
        board_raise(&board, IRQMUX_MSIX, 0);
        CHECK(drain(mux) >= 1);
    }
    end();
}

// Its calls are made by this thread, and carried out by that one.
static void own_thread(void) {
    make(IRQMUX_OWN_THREAD, IRQMUX_WAIT_BLOCK);
    for (int round = 0; round < 20; round++) {
        EQUAL(irqmux_vector_mask(mux, vectors[0]), 0);
        board_raise(&board, IRQMUX_MSIX, 0);
        EQUAL(irqmux_vector_unmask(mux, vectors[0]), 0);
    }
    end();
    CHECK(tally.kinds[IRQMUX_EVENT_INTERRUPT] >= 1);
}

static void fan_out(void) {
    uint64_t count;
    int32_t targets[] = {eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC)};
    irqmux_route route = {
        .size = sizeof route, .kind = IRQMUX_ROUTE_FAN_OUT, .target_count = 2, .targets = targets};
    make(0, IRQMUX_WAIT_BLOCK);
    EQUAL(irqmux_vector_route(mux, vectors[0], &route), 0);
    board_raise(&board, IRQMUX_MSIX, 0);
    CHECK(drain(mux) >= 0);
    for (int at = 0; at < 2; at++) CHECK(read(targets[at], &count, sizeof count) == sizeof count);
    end();
}

static void ledger(void) {
    irqmux_ledger account = {.size = sizeof account};
    make(0, IRQMUX_WAIT_BLOCK);
    EQUAL(irqmux_vector_mask(mux, vectors[0]), 0);
    board_raise(&board, IRQMUX_MSIX, 0);
    CHECK(drain(mux) >= 0);
    EQUAL(irqmux_ledger_read_device(mux, device, &account), 0);
    EQUAL(account.pending, 1);
    end();
}

static void budget(void) {
    irqmux_mux_config config = config_of(0, tally_handler, &tally);
    irqmux_budget asked = {.size = sizeof asked, .vectors = 2};
    EQUAL(irqmux_budget_read(&config, &asked), 0);
    CHECK(asked.needed > 2 && asked.open > 2);
}

static void guest(void) {
    int machine = make_machine(true);
    uint32_t gsi;
    irqmux_gsi_route wanted = message(0x40);
    irqmux_route route = {.size = sizeof route, .kind = IRQMUX_ROUTE_GUEST};
    irqmux_pair_config pair = {
        .size = sizeof pair, .flags = IRQMUX_PAIR_PORT, .address = 0x510, .width = 4};
    irqmux_pair added;
    make(0, IRQMUX_WAIT_BLOCK);
    EQUAL(irqmux_guest_attach(mux, machine, IRQMUX_TABLE_IRQCHIP), 0);
    EQUAL(irqmux_gsi_allocate(mux, &wanted, &gsi), 0);
    route.gsi = gsi;
    EQUAL(irqmux_vector_route(mux, vectors[0], &route), 0);
    EQUAL(irqmux_gsi_allocate(mux, &wanted, &pair.gsi), 0);
    EQUAL(irqmux_pair_add(mux, &pair, &added), 0);
    EQUAL(irqmux_pair_complete(mux, added), 0);
    board_raise(&board, IRQMUX_MSIX, 0);
    CHECK(drain(mux) >= 0);
    end();
    close(machine);
}

// There is none on most machines, and that takes the calls of looking for it.
static void vfio(void) {
    irqmux_device opened;
    make(0, IRQMUX_WAIT_BLOCK);
    CHECK(irqmux_device_open(mux, "0000:00:1f.7", &opened) < 0);
    end();
}

int main(int count, char **arguments) {
    static const struct {
        const char *name;
        void (*run)(void);
    } features[] = {
        {"loop", loop}, {"epoll", on_epoll}, {"spinning", spinning}, {"thread", own_thread}, {"fan-out", fan_out},
        {"ledger", ledger}, {"budget", budget}, {"guest", guest}, {"vfio", vfio}};
    for (size_t at = 0; count == 2 && at < sizeof features / sizeof *features; at++) {
        if (strcmp(features[at].name, arguments[1])) continue;
        features[at].run();
        return failures != 0;
    }
    return 64;
}
