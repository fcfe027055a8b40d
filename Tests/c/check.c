#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>

int failures;
uint32_t best_tier;

void check_failed(const char *file, int line, const char *text) {
    failures++;
    printf("%s:%d: %s does not hold\n", file, line, text);
}

void check_equal(const char *file, int line, const char *text, int64_t got, int64_t wanted) {
    if (got == wanted) return;
    failures++;
    printf("%s:%d: %s is %" PRId64 ", wanted %" PRId64 "\n", file, line, text, got, wanted);
    if (got >= 0) return;
    irqmux_error error = {.size = sizeof error};
    irqmux_error_read(&error);
    printf("  last error: %s: %s: %s\n", error.operation, error.name, error.remedy);
}

void check_fails(const char *file, int line, const char *text, int32_t result, int number) {
    check_equal(file, line, text, result, -number);
    irqmux_error error = {.size = sizeof error};
    irqmux_error_read(&error);
    if (error.number == -number && error.operation[0] && error.name[0] == 'E') return;
    failures++;
    printf("%s:%d: %s: the error told is %" PRId32 ", '%s'\n", file, line, text, error.number, error.operation);
}

bool has_kvm(void) {
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

int make_machine(bool has_irqchip) {
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    CHECK(kvm >= 0);
    int machine;
    // It takes long on a loaded machine, and a signal ends it, as that of a child which has just ended.
    do machine = ioctl(kvm, KVM_CREATE_VM, 0);
    while (machine < 0 && errno == EINTR);
    CHECK(machine >= 0);
    close(kvm);
    struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
    CHECK((has_irqchip ? ioctl(machine, KVM_CREATE_IRQCHIP, 0) : ioctl(machine, KVM_ENABLE_CAP, &split)) == 0);
    return machine;
}

uint32_t open_descriptors(void) {
    DIR *folder = opendir("/proc/self/fd");
    uint32_t count = 0;
    for (struct dirent *entry; (entry = readdir(folder));) count += entry->d_name[0] != '.';
    closedir(folder);
    return count - 1;
}

irqmux_gsi_route message(uint32_t data) {
    irqmux_gsi_route route = {.size = sizeof route, .kind = IRQMUX_GSI_MESSAGE, .address = 0xfee00000, .data = data};
    return route;
}

irqmux_mux_config config_of(uint32_t flags, irqmux_handler handler, void *context) {
    irqmux_mux_config config = {.size = sizeof config};
    config.flags = flags;
    config.best_tier = best_tier;
    config.capacity = 128;
    config.handler = handler;
    config.context = context;
    return config;
}

irqmux_mux mux_of(uint32_t flags, irqmux_handler handler, void *context) {
    irqmux_mux_config config = config_of(flags, handler, context);
    irqmux_mux mux = {0};
    EQUAL(irqmux_mux_create(&config, &mux), 0);
    return mux;
}

void tally_handler(void *context, irqmux_mux mux, const irqmux_event *event) {
    struct tally *tally = context;
    if (event->kind < 8) tally->kinds[event->kind]++;
    tally->count += event->count;
    tally->last = *event;
    tally->mux = mux;
    if (tally->within) tally->within(tally);
}

// ---- The board

static int32_t board_info(void *context, uint32_t index, irqmux_irq_info *info) {
    (void)context;
    const uint32_t counts[] = {1, 32, BOARD_VECTORS, 1, 1};
    if (index > IRQMUX_REQ) return -EINVAL;
    info->count = counts[index];
    info->flags = IRQMUX_IRQ_EVENTFD;
    if (index == IRQMUX_INTX) info->flags |= IRQMUX_IRQ_MASKABLE | IRQMUX_IRQ_AUTOMASKED;
    return 0;
}

static void signal_eventfd(int32_t fd) {
    uint64_t one = 1;
    if (fd >= 0 && write(fd, &one, sizeof one) != sizeof one) abort();
}

static void board_fire(struct board *board) {
    if (!board->line || board->masked || board->eventfds[IRQMUX_INTX][0] < 0) return;
    board->masked = true;
    board->raised[IRQMUX_INTX][0]++;
    signal_eventfd(board->eventfds[IRQMUX_INTX][0]);
}

static int32_t board_set(void *context, const irqmux_irq_set *set) {
    struct board *board = context;
    board->sets++;
    if (set->size != sizeof *set || set->index > IRQMUX_REQ) return -EINVAL;
    void (*within)(void *) = board->within;
    board->within = NULL;
    if (within) within(board->context);
    if (board->refuse) {
        int32_t answer = board->refuse;
        if (!board->refuses) board->refuse = 0;
        return answer;
    }
    if (set->action == IRQMUX_ACTION_TRIGGER && set->data == IRQMUX_DATA_NONE && set->count == 0) {
        for (int number = 0; number < BOARD_VECTORS; number++) board->eventfds[set->index][number] = -1;
        return 0;
    }
    if (set->start + set->count > BOARD_VECTORS) return -EINVAL;
    if (set->action == IRQMUX_ACTION_TRIGGER && set->data == IRQMUX_DATA_EVENTFD) {
        for (uint32_t at = 0; at < set->count; at++)
            board->eventfds[set->index][set->start + at] = set->eventfds[at];
        if (set->index == IRQMUX_INTX) board_fire(board);
        return 0;
    }
    if (set->index != IRQMUX_INTX) return -ENOTTY;
    if (set->action == IRQMUX_ACTION_UNMASK && set->data == IRQMUX_DATA_EVENTFD) board->unmask = set->eventfds[0];
    if (set->action == IRQMUX_ACTION_MASK) board->masked = true;
    if (set->action == IRQMUX_ACTION_UNMASK && set->data == IRQMUX_DATA_NONE) {
        board->masked = false;
        board_fire(board);
    }
    return 0;
}

static int32_t board_raised(void *context, uint32_t index, uint32_t number, uint64_t *count) {
    struct board *board = context;
    *count = board->raised[index][number];
    return 1;
}

static void board_released(void *context) { ((struct board *)context)->released++; }

irqmux_device_ops board_ops(void) {
    irqmux_device_ops ops = {.size = sizeof ops};
    ops.info = board_info;
    ops.set_irqs = board_set;
    ops.raised = board_raised;
    ops.released = board_released;
    return ops;
}

void board_init(struct board *board) {
    memset(board, 0, sizeof *board);
    memset(board->eventfds, -1, sizeof board->eventfds);
    board->unmask = -1;
}

void board_raise(struct board *board, uint32_t index, uint32_t number) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    board->signalled = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    board->raised[index][number]++;
    signal_eventfd(board->eventfds[index][number]);
}

void board_assert(struct board *board, bool high) {
    board->line = high;
    board_fire(board);
}

void connect_board(irqmux_mux mux, struct board *board, irqmux_device *device, uint32_t count, irqmux_vector *vectors) {
    irqmux_device_ops ops = board_ops();
    board_init(board);
    EQUAL(irqmux_device_attach(mux, &ops, board, device), 0);
    if (count == 0) return;
    irqmux_connection connection = {.size = sizeof connection, .index = IRQMUX_MSIX, .count = count};
    EQUAL(irqmux_vectors_connect(mux, *device, &connection, vectors), 0);
}

int32_t drain(irqmux_mux mux) {
    int32_t sum = 0, quiet = 0;
    while (quiet < 3) {
        int32_t count = irqmux_mux_dispatch(mux, 1000000);
        if (count < 0) return count;
        quiet = count == 0 ? quiet + 1 : 0;
        sum += count;
    }
    return sum;
}
