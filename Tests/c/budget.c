// The descriptor budget against what is really open, kind by kind.
#include "check.h"

#include <sys/eventfd.h>
#include <sys/resource.h>

enum { most_lines = 3 };

// What a mux is used for. `slack`: what the budget has besides, for all of a kind is counted as if it went the way that
// takes most.
struct use {
    uint32_t flags, wait, vectors, guest_vectors, lines, way, pairs, targets, slack;
};

struct used {
    uint32_t before, most;
    bool is_limited; // no descriptor is left for looking
    irqmux_mux mux;
    struct tally tally;
    struct board boards[most_lines + 1];
    int machine;
};

static void look(struct used *used) {
    // Handed out, so that everything is listened to.
    irqmux_mux_wait(used->mux, 0);
    irqmux_event event = {.size = sizeof event};
    while (irqmux_mux_next(used->mux, &event) == 1) continue;
    if (used->is_limited) return;
    uint32_t now = open_descriptors() - used->before;
    if (now > used->most) used->most = now;
}

static void use_vectors(struct used *used, const struct use *use, const int32_t *targets) {
    irqmux_device device;
    irqmux_vector vectors[BOARD_VECTORS];
    connect_board(used->mux, &used->boards[0], &device, use->vectors - use->lines, vectors);
    look(used);
    irqmux_route route = {
        .size = sizeof route, .kind = IRQMUX_ROUTE_FAN_OUT, .targets = targets, .target_count = use->targets};
    if (use->targets) EQUAL(irqmux_vector_route(used->mux, vectors[use->guest_vectors], &route), 0);
    look(used);
    for (uint32_t at = 0; at < use->guest_vectors; at++) {
        irqmux_gsi_route wanted = message(0x40 + at);
        route.kind = IRQMUX_ROUTE_GUEST;
        EQUAL(irqmux_gsi_allocate(used->mux, &wanted, &route.gsi), 0);
        EQUAL(irqmux_vector_route(used->mux, vectors[at], &route), 0);
        look(used);
        route.kind = IRQMUX_ROUTE_DETOUR;
        EQUAL(irqmux_vector_route(used->mux, vectors[at], &route), 0);
        look(used);
    }
    irqmux_ledger ledger = {.size = sizeof ledger};
    EQUAL(irqmux_ledger_read_device(used->mux, device, &ledger), 0);
}

static void drive(void *context, uint32_t gsi, uint32_t high) { (void)context, (void)gsi, (void)high; }
static void mappings(void *context, uint32_t enabled) { (void)context, (void)enabled; }

static void use_lines(struct used *used, const struct use *use) {
    bool is_split = use->way == IRQMUX_WAY_IOAPIC_BROADCAST;
    for (uint32_t at = 1; at <= use->lines; at++) {
        irqmux_device device;
        irqmux_vector vector;
        irqmux_connection connection = {.size = sizeof connection, .index = IRQMUX_INTX, .count = 1};
        connect_board(used->mux, &used->boards[at], &device, 0, NULL);
        EQUAL(irqmux_vectors_connect(used->mux, device, &connection, &vector), 0);
        look(used);
        irqmux_intx_service service = {
            .size = sizeof service, .way = use->way, .gsi = 4 + at, .machine = used->machine, .apic_vector = 0x50 + at,
            .flags = IRQMUX_INTX_HAS_PIN, .drive = drive, .mappings = mappings};
        irqmux_gsi_route wanted = message(0x8000 | service.apic_vector);
        if (is_split) EQUAL(irqmux_gsi_allocate(used->mux, &wanted, &service.gsi), 0);
        if (is_split) EQUAL(irqmux_gsi_commit(used->mux), 1);
        EQUAL(irqmux_intx_serve(used->mux, vector, &service), 0);
        look(used);
    }
}

static void use_pairs(struct used *used, const struct use *use) {
    for (uint32_t at = 0; at < use->pairs; at++) {
        irqmux_pair_config config = {
            .size = sizeof config, .address = 0xd0000000 + at * 16, .width = 4, .flags = IRQMUX_PAIR_MEASURED};
        irqmux_gsi_route wanted = message(0x40 + at);
        irqmux_pair pair;
        EQUAL(irqmux_gsi_allocate(used->mux, &wanted, &config.gsi), 0);
        EQUAL(irqmux_pair_add(used->mux, &config, &pair), 0);
        look(used);
    }
}

// Makes a mux as the case says and uses it so: with what the budget says it works, and it takes little less.
static void measure(const struct use *use, bool is_limited) {
    struct used used = {.machine = -1, .is_limited = is_limited};
    bool is_split = use->way == IRQMUX_WAY_IOAPIC_BROADCAST, has_guest = use->guest_vectors || use->lines || use->pairs;
    if (has_guest) used.machine = make_machine(!is_split);
    irqmux_mux_config config = config_of(use->flags, tally_handler, &used.tally);
    config.wait = use->wait;
    config.pairs = use->pairs ? use->pairs : 1;
    int32_t targets[BOARD_VECTORS];
    for (uint32_t at = 0; at < use->targets; at++) targets[at] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    irqmux_budget budget = {
        .size = sizeof budget, .vectors = use->vectors, .guest_vectors = use->guest_vectors, .intx_lines = use->lines,
        .targets = use->targets};
    EQUAL(irqmux_budget_read(&config, &budget), 0);
    used.before = open_descriptors();
    EQUAL(budget.open, used.before);
    struct rlimit before, limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    limit = before, limit.rlim_cur = used.before + budget.needed;
    if (is_limited) CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    EQUAL(irqmux_mux_create(&config, &used.mux), 0);
    look(&used);
    uint32_t table = is_split ? IRQMUX_TABLE_EMPTY : IRQMUX_TABLE_IRQCHIP;
    if (has_guest) EQUAL(irqmux_guest_attach(used.mux, used.machine, table), 0);
    look(&used);
    use_vectors(&used, use, targets);
    use_lines(&used, use);
    use_pairs(&used, use);
    EQUAL(irqmux_mux_destroy(used.mux), 0);
    if (is_limited) CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    else {
        CHECK(used.most <= budget.needed);
        // Six of its own are a ring and what wakes it, and for some a descriptor to poll and a machine; the pair that
        // nobody made takes two, and a third on epoll.
        uint32_t own = 4 - (use->flags & IRQMUX_POLLABLE && best_tier == 0) - has_guest;
        uint32_t unused = use->pairs ? 0 : best_tier == 0 ? 2 : 3;
        EQUAL(budget.needed - used.most, own + unused + use->slack);
    }
    if (has_guest) close(used.machine);
    for (uint32_t at = 0; at < use->targets; at++) close(targets[at]);
    EQUAL(open_descriptors(), used.before - has_guest - use->targets);
}

static void kinds(void) {
    const struct use uses[] = {
        {.flags = 0},
        {.flags = IRQMUX_POLLABLE},
        {.flags = IRQMUX_ANY_THREAD},
        {.vectors = 32},
        // Two are duplicated for who spins on them; on epoll nobody does.
        {.vectors = 2, .wait = IRQMUX_WAIT_SPIN, .slack = best_tier == 0 ? 0 : 2},
        {.vectors = 32, .guest_vectors = 8},
        {.vectors = 32, .guest_vectors = 32},
        {.vectors = 8, .targets = 16},
        {.vectors = 3, .lines = 3, .way = IRQMUX_WAY_KERNEL_RESAMPLE},
        {.vectors = 3, .lines = 3, .way = IRQMUX_WAY_IOAPIC_BROADCAST},
        {.vectors = 3, .lines = 3, .way = IRQMUX_WAY_USER_EOI, .slack = 3 * 4},
        {.vectors = 3, .lines = 3, .way = IRQMUX_WAY_MAPPING_TOGGLE, .slack = 3 * 4},
        {.pairs = 8},
        {.flags = IRQMUX_POLLABLE, .vectors = 32, .guest_vectors = 8, .lines = 3, .pairs = 8, .targets = 16},
    };
    for (size_t at = 0; at < sizeof uses / sizeof *uses; at++)
        for (int limited = 0; limited < 2; limited++) {
            int before = failures;
            measure(&uses[at], limited);
            if (failures != before) printf("  in use %zu%s\n", at, limited ? ", with no more than the budget" : "");
        }
}

const struct test budget_tests[] = {
    {"the budget is what vectors, a guest's vectors, lines, pairs and targets really take", kinds, true},
    {NULL, NULL, false},
};
