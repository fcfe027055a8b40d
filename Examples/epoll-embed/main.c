// An epoll loop that was there before, and takes irqmux in: one descriptor more to wait for, one call more when it is
// readable. No thread, no signal, nothing of the loop's own changes.
#include <errno.h>
#include <irqmux.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { vectors = 4, ticks = 25 };

// The device: its vectors are raised by writing the eventfds that it was assigned.
struct device {
    int32_t eventfds[vectors];
    uint64_t raised[vectors];
};

static int32_t info(void *context, uint32_t index, irqmux_irq_info *info) {
    (void)context;
    info->count = index == IRQMUX_MSIX ? vectors : 0;
    info->flags = IRQMUX_IRQ_EVENTFD;
    return 0;
}

static int32_t set_irqs(void *context, const irqmux_irq_set *set) {
    struct device *device = context;
    if (set->index != IRQMUX_MSIX || set->start + set->count > vectors) return -EINVAL;
    for (uint32_t at = 0; set->data == IRQMUX_DATA_EVENTFD && at < set->count; at++)
        device->eventfds[set->start + at] = set->eventfds[at];
    return 0;
}

static int32_t raised(void *context, uint32_t index, uint32_t number, uint64_t *count) {
    (void)index;
    *count = ((struct device *)context)->raised[number];
    return 1;
}

static void raise_vector(struct device *device, uint32_t number) {
    uint64_t one = 1;
    device->raised[number]++;
    if (write(device->eventfds[number], &one, sizeof one) < 0) device->raised[number]--;
}

static void handle(void *context, irqmux_mux mux, const irqmux_event *event) {
    (void)mux;
    if (event->kind == IRQMUX_EVENT_INTERRUPT) ((unsigned *)context)[event->number]++;
}

static int complain(const char *what) {
    irqmux_error error = {.size = sizeof error};
    irqmux_error_read(&error);
    fprintf(stderr, "epoll-embed: %s: %s: %s: %s\n", what, error.operation, error.name, error.remedy);
    return 2;
}

static void wait_for(int loop, int fd) {
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(loop, EPOLL_CTL_ADD, fd, &wanted);
}

int main(void) {
    // The loop as it was: a timer of the program's own.
    int loop = epoll_create1(EPOLL_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct itimerspec every = {.it_interval.tv_nsec = 1000000, .it_value.tv_nsec = 1000000};
    timerfd_settime(timer, 0, &every, NULL);
    wait_for(loop, timer);

    // irqmux.
    unsigned events[vectors] = {0};
    irqmux_mux_config config = {
        .size = sizeof config, .flags = IRQMUX_POLLABLE, .capacity = 16, .handler = handle, .context = events};
    irqmux_mux mux;
    if (irqmux_mux_create(&config, &mux) < 0) return complain("making a mux");
    struct device device = {.eventfds = {-1, -1, -1, -1}};
    irqmux_device_ops ops = {.size = sizeof ops, .info = info, .set_irqs = set_irqs, .raised = raised};
    irqmux_device attached;
    irqmux_connection connection = {.size = sizeof connection, .index = IRQMUX_MSIX, .count = vectors};
    irqmux_vector connected[vectors];
    if (irqmux_device_attach(mux, &ops, &device, &attached) < 0 ||
        irqmux_vectors_connect(mux, attached, &connection, connected) < 0)
        return complain("attaching the device");
    int interrupts = irqmux_mux_fd(mux);
    wait_for(loop, interrupts);
    if (irqmux_mux_process(mux) < 0) return complain("processing");

    for (int ticked = 0, quiet = 0; ticked < ticks || quiet < 3;) {
        struct epoll_event ready[8];
        int count = epoll_wait(loop, ready, 8, 1000);
        for (int at = 0; at < count; at++) {
            if (ready[at].data.fd == interrupts) {
                if (irqmux_mux_process(mux) < 0) return complain("processing");
                continue;
            }
            uint64_t expired;
            if (read(timer, &expired, sizeof expired) < 0) continue;
            if (ticked++ < ticks) raise_vector(&device, (uint32_t)ticked % vectors);
            else quiet++;
        }
    }
    irqmux_ledger ledger = {.size = sizeof ledger};
    if (irqmux_ledger_read_device(mux, attached, &ledger) < 0) return complain("the account");
    printf("events by vector: %u %u %u %u\n", events[0], events[1], events[2], events[3]);
    printf("raised %lu, delivered %lu, unexplained %ld\n", (unsigned long)ledger.raised,
           (unsigned long)ledger.delivered, (long)ledger.unexplained);
    if (irqmux_mux_destroy(mux) < 0) return complain("the end");
    close(timer);
    close(loop);
    return ledger.raised == ticks && ledger.delivered == ticks && ledger.unexplained == 0 ? 0 : 1;
}
