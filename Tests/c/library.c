// Version, features, last error, structs of other versions, the descriptor budget.
#include "check.h"

#include <pthread.h>

static void version(void) {
    EQUAL(irqmux_abi_version(), IRQMUX_ABI_VERSION);
    CHECK(strlen(irqmux_version()) >= 5);
    CHECK(irqmux_features() & IRQMUX_FEATURE_GUEST);
    CHECK(irqmux_features() & IRQMUX_FEATURE_VFIO);
}

static void *other_thread(void *context) {
    irqmux_error *error = context;
    error->size = sizeof *error;
    irqmux_error_read(error);
    return NULL;
}

static void last_error(void) {
    irqmux_mux nothing = {0};
    EQUAL(irqmux_mux_destroy(nothing), -EINVAL);
    irqmux_error error = {.size = sizeof error};
    EQUAL(irqmux_error_read(&error), 0);
    EQUAL(error.number, -EINVAL);
    CHECK(!strcmp(error.name, "EINVAL"));
    CHECK(!strcmp(error.operation, "irqmux_mux_destroy"));
    CHECK(strlen(error.remedy) > 10);

    // Another thread has an error of its own: none.
    irqmux_error theirs;
    memset(&theirs, 0xff, sizeof theirs);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, other_thread, &theirs) == 0);
    pthread_join(thread, NULL);
    EQUAL(theirs.number, 0);
    CHECK(theirs.name && theirs.name[0] == 0);

    FAILS(irqmux_error_read(NULL), EINVAL);
    irqmux_error bad = {.size = 3};
    FAILS(irqmux_error_read(&bad), EINVAL);
}

static void older_and_newer(void) {
    irqmux_mux mux;
    // An older header's struct ends after `flags`; what follows it in memory is not looked at.
    irqmux_mux_config config = config_of(0, NULL, NULL);
    config.size = 8;
    config.capacity = 1 << 30;
    config.best_tier = 99;
    EQUAL(irqmux_mux_create(&config, &mux), 0);
    EQUAL(irqmux_mux_destroy(mux), 0);

    // A newer header's is longer: all right as long as what it has more is not used.
    struct {
        irqmux_mux_config known;
        uint64_t more[4];
    } newer = {.known = config_of(0, NULL, NULL)};
    newer.known.size = sizeof newer;
    EQUAL(irqmux_mux_create(&newer.known, &mux), 0);

    // Likewise for what the library fills: an older one's end is respected, a newer one's is zeroed.
    struct {
        irqmux_statistics known;
        uint64_t more[2];
    } statistics;
    memset(&statistics, 0xff, sizeof statistics);
    statistics.known.size = 16;
    EQUAL(irqmux_statistics_read(mux, &statistics.known), 0);
    EQUAL(statistics.known.size, 16);
    CHECK(statistics.known.batches == UINT64_MAX);
    statistics.known.size = sizeof statistics;
    EQUAL(irqmux_statistics_read(mux, &statistics.known), 0);
    CHECK(statistics.known.stale == 0 && statistics.more[0] == 0 && statistics.more[1] == 0);
    EQUAL(irqmux_mux_destroy(mux), 0);

    newer.more[3] = 1;
    FAILS(irqmux_mux_create(&newer.known, &mux), E2BIG);
    config.size = 0;
    FAILS(irqmux_mux_create(&config, &mux), EINVAL);
    config.size = 7;
    FAILS(irqmux_mux_create(&config, &mux), EINVAL);
    config.size = UINT32_MAX;
    FAILS(irqmux_mux_create(&config, &mux), E2BIG);
    FAILS(irqmux_mux_create(NULL, &mux), EINVAL);
    config = config_of(0, NULL, NULL);
    FAILS(irqmux_mux_create(&config, NULL), EINVAL);
}

static void refused_configs(void) {
    irqmux_mux mux = {77};
    irqmux_mux_config config = config_of(1u << 31, NULL, NULL);
    FAILS(irqmux_mux_create(&config, &mux), EINVAL);
    config = config_of(IRQMUX_OWN_THREAD, NULL, NULL);
    FAILS(irqmux_mux_create(&config, &mux), EINVAL);
    config = config_of(IRQMUX_OWN_THREAD | IRQMUX_POLLABLE, tally_handler, NULL);
    FAILS(irqmux_mux_create(&config, &mux), EINVAL);
    config = config_of(0, NULL, NULL);
    config.capacity = 40000;
    FAILS(irqmux_mux_create(&config, &mux), EINVAL);
    config = config_of(0, NULL, NULL);
    config.wait = 3;
    FAILS(irqmux_mux_create(&config, &mux), EINVAL);
    config = config_of(0, NULL, NULL);
    config.best_tier = 4;
    FAILS(irqmux_mux_create(&config, &mux), EINVAL);
    config = config_of(IRQMUX_OWN_THREAD | IRQMUX_PINNED, tally_handler, NULL);
    config.cpu = 1000000;
    FAILS(irqmux_mux_create(&config, &mux), EINVAL);
    // A refusal leaves what was to be written as it was.
    EQUAL(mux.bits, 77);
}

static void budget(void) {
    irqmux_mux_config config = config_of(IRQMUX_POLLABLE, tally_handler, NULL);
    config.pairs = 1;
    irqmux_budget asked = {.size = sizeof asked, .vectors = 32};
    EQUAL(irqmux_budget_read(&config, &asked), 0);
    EQUAL(asked.open, open_descriptors());
    CHECK(asked.limit >= asked.open + asked.needed);

    // It is enough, and not much too much.
    uint32_t before = open_descriptors();
    struct tally tally = {0};
    config.context = &tally;
    irqmux_mux mux;
    EQUAL(irqmux_mux_create(&config, &mux), 0);
    struct board board;
    irqmux_device device;
    irqmux_vector vectors[32];
    connect_board(mux, &board, &device, 32, vectors);
    EQUAL(irqmux_mux_process(mux), 0);
    uint32_t used = open_descriptors() - before;
    CHECK(used <= asked.needed);
    CHECK(asked.needed - used <= 8);
    EQUAL(irqmux_mux_destroy(mux), 0);
    EQUAL(open_descriptors(), before);

    asked.vectors = 2000000000;
    FAILS(irqmux_budget_read(&config, &asked), EMFILE);
    CHECK(asked.needed >= 2000000000);
    FAILS(irqmux_budget_read(&config, NULL), EINVAL);
    FAILS(irqmux_budget_read(NULL, &asked), EINVAL);
}

static void many(void) {
    irqmux_mux muxes[256];
    irqmux_mux_config config = config_of(0, NULL, NULL);
    config.capacity = 4;
    config.best_tier = IRQMUX_TIER_EPOLL;
    int made = 0;
    while (made < 256 && irqmux_mux_create(&config, &muxes[made]) == 0) made++;
    EQUAL(made, 256);
    irqmux_mux more;
    FAILS(irqmux_mux_create(&config, &more), ENOSPC);
    // The place is used again, and the handle is another.
    EQUAL(irqmux_mux_destroy(muxes[100]), 0);
    EQUAL(irqmux_mux_create(&config, &more), 0);
    CHECK(more.bits != muxes[100].bits);
    FAILS(irqmux_mux_fd(muxes[100]), EBADF);
    muxes[100] = more;
    while (made > 0) EQUAL(irqmux_mux_destroy(muxes[--made]), 0);
}

const struct test library_tests[] = {
    {"version and features are told", version, false},
    {"the last error is the thread's own, with operation and remedy", last_error, false},
    {"structs of older and newer headers are taken, and refused where they ask for more", older_and_newer, false},
    {"a config that makes no sense is refused", refused_configs, false},
    {"the descriptor budget is enough, and not much too much", budget, false},
    {"256 muxes are the most, and a place that is used again has another handle", many, false},
    {NULL, NULL, false},
};
