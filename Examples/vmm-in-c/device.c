#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "guest.h"

enum { configuration = 7, capability = 0x40, pending_offset = 0x800, bar_registers = 0x10 };

static void signal_eventfd(int32_t fd) {
    uint64_t one = 1;
    // A full counter (EAGAIN) is as good as a signal: whoever listens has one waiting.
    if (fd >= 0 && write(fd, &one, sizeof one) < 0) return;
}

static bool has_bar(uint32_t bar) { return bar == 0 || bar == BAR_MESSAGES; }

// ---- Interrupts

static int32_t info(void *context, uint32_t index, irqmux_irq_info *info) {
    (void)context;
    if (index == IRQMUX_INTX) info->flags = IRQMUX_IRQ_EVENTFD | IRQMUX_IRQ_MASKABLE | IRQMUX_IRQ_AUTOMASKED;
    if (index == IRQMUX_MSIX) info->flags = IRQMUX_IRQ_EVENTFD;
    info->count = index == IRQMUX_INTX || index == IRQMUX_MSIX;
    return index <= IRQMUX_REQ ? 0 : -EINVAL;
}

// A level-triggered line fires once and masks itself until somebody unmasks; then it fires again if it is still up.
static void fire(struct device *device) {
    if (!device->pin.asserted || device->pin.disabled || device->masked || device->line < 0) return;
    device->masked = true;
    device->lines_raised++;
    signal_eventfd(device->line);
}

static void unmask_by(struct device *device, int32_t fd) {
    if (device->unmask >= 0) close(device->unmask);
    device->unmask = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    signal_eventfd(device->wake);
}

static int32_t set_line(struct device *device, const irqmux_irq_set *set) {
    bool is_trigger = set->action == IRQMUX_ACTION_TRIGGER, is_unmask = set->action == IRQMUX_ACTION_UNMASK;
    if (is_trigger && set->data == IRQMUX_DATA_NONE && set->count == 0) {
        device->line = -1;
        device->masked = false;
        unmask_by(device, -1);
        return 0;
    }
    if (set->count != 1) return -EINVAL;
    if (is_trigger && set->data == IRQMUX_DATA_EVENTFD) device->line = set->eventfds[0];
    else if (is_unmask && set->data == IRQMUX_DATA_EVENTFD) unmask_by(device, set->eventfds[0]);
    else if (is_unmask && set->data == IRQMUX_DATA_NONE) device->masked = false;
    else if (set->action == IRQMUX_ACTION_MASK && set->data == IRQMUX_DATA_NONE) device->masked = true;
    else return -EINVAL;
    fire(device);
    return 0;
}

static int32_t set_message(struct device *device, const irqmux_irq_set *set) {
    if (set->action != IRQMUX_ACTION_TRIGGER) return -EINVAL;
    if (set->data == IRQMUX_DATA_NONE && set->count == 0) device->message = -1;
    else if (set->data == IRQMUX_DATA_EVENTFD && set->count == 1) device->message = set->eventfds[0];
    else return -EINVAL;
    return 0;
}

static int32_t set_irqs(void *context, const irqmux_irq_set *set) {
    struct device *device = context;
    int32_t result = -EINVAL;
    pthread_mutex_lock(&device->lock);
    if (set->index == IRQMUX_INTX) result = set_line(device, set);
    if (set->index == IRQMUX_MSIX) result = set_message(device, set);
    pthread_mutex_unlock(&device->lock);
    return result;
}

static int32_t raised(void *context, uint32_t index, uint32_t number, uint64_t *count) {
    struct device *device = context;
    (void)number;
    pthread_mutex_lock(&device->lock);
    *count = index == IRQMUX_MSIX ? device->messages_raised : device->lines_raised;
    pthread_mutex_unlock(&device->lock);
    return 1;
}

// KVM signals the unmasking eventfd when the guest has ended the line's interrupt; nobody else is woken by it.
static void *listen_for_unmask(void *context) {
    struct device *device = context;
    uint64_t count;
    pthread_mutex_lock(&device->lock);
    while (!device->ended) {
        struct pollfd waiting[] = {{.fd = device->wake, .events = POLLIN}, {.fd = device->unmask, .events = POLLIN}};
        pthread_mutex_unlock(&device->lock);
        poll(waiting, 2, -1);
        pthread_mutex_lock(&device->lock);
        if (read(device->wake, &count, sizeof count) > 0) continue;
        if (device->unmask < 0 || read(device->unmask, &count, sizeof count) < 0) continue;
        device->masked = false;
        fire(device);
    }
    pthread_mutex_unlock(&device->lock);
    return NULL;
}

// ---- Registers

void device_write(struct device *device, uint64_t offset) {
    pthread_mutex_lock(&device->lock);
    if (offset == REGISTER_RAISE) {
        device->messages_raised++;
        signal_eventfd(device->message);
    }
    if (offset == REGISTER_ASSERT || offset == REGISTER_LET_GO)
        irqmux_intx_registers_assert(&device->pin, offset == REGISTER_ASSERT);
    fire(device);
    pthread_mutex_unlock(&device->lock);
}

uint64_t device_bar(struct device *device, uint32_t bar) {
    uint32_t base = 0;
    pthread_mutex_lock(&device->lock);
    if (device->space[4] & 2) memcpy(&base, &device->space[bar_registers + 4 * bar], sizeof base);
    pthread_mutex_unlock(&device->lock);
    return base;
}

static int32_t region_size(void *context, uint32_t region, uint64_t *bytes) {
    (void)context;
    if (region <= 5 && has_bar(region)) *bytes = device_bar_size;
    if (region == configuration) *bytes = sizeof ((struct device *)0)->space;
    return 0;
}

static int32_t read_region(void *context, uint32_t region, uint64_t offset, uint32_t width, uint64_t *value) {
    struct device *device = context;
    *value = 0;
    if (region <= 5) return 0; // its registers are for writing
    if (region != configuration || offset > sizeof device->space - width) return -EINVAL;
    pthread_mutex_lock(&device->lock);
    memcpy(value, &device->space[offset], width);
    int32_t result = irqmux_intx_registers_read(&device->pin, offset, width, value);
    pthread_mutex_unlock(&device->lock);
    return result;
}

static int32_t write_region(void *context, uint32_t region, uint64_t offset, uint32_t width, uint64_t value) {
    struct device *device = context;
    if (region == 0) device_write(device, offset);
    if (region <= 5) return 0;
    if (region != configuration || offset > sizeof device->space - width) return -EINVAL;
    uint32_t bar = (uint32_t)(offset - bar_registers) / 4;
    pthread_mutex_lock(&device->lock);
    if (offset == 4) device->space[4] = value & 0x07;
    if (offset >= bar_registers && width == 4 && has_bar(bar)) {
        uint32_t base = (uint32_t)value & ~(device_bar_size - 1u);
        memcpy(&device->space[bar_registers + 4 * bar], &base, sizeof base);
    }
    int32_t change = irqmux_intx_registers_write(&device->pin, offset, width, value);
    fire(device);
    pthread_mutex_unlock(&device->lock);
    return change < 0 ? change : 0;
}

static int32_t reset(void *context) {
    struct device *device = context;
    pthread_mutex_lock(&device->lock);
    device->space[4] = 0;
    memset(&device->space[bar_registers], 0, 4 * 6);
    device->pin.disabled = device->pin.asserted = 0;
    pthread_mutex_unlock(&device->lock);
    return 0;
}

irqmux_device_ops device_ops(void) {
    irqmux_device_ops ops = {
        .size = sizeof ops, .info = info, .set_irqs = set_irqs, .raised = raised, .reset = reset,
        .read_region = read_region, .write_region = write_region, .region_size = region_size};
    return ops;
}

static void put(struct device *device, uint32_t offset, uint32_t value) {
    memcpy(&device->space[offset], &value, sizeof value);
}

int32_t device_init(struct device *device) {
    *device = (struct device){.message = -1, .line = -1, .unmask = -1};
    device->pin = (irqmux_intx_registers){.size = sizeof device->pin, .pin = 1, .line = GUEST_LINE};
    put(device, 0x00, DEVICE_IDENTITY);
    put(device, 0x04, 0x10u << 16); // there are capabilities
    put(device, 0x34, capability);
    put(device, capability, 0x11);  // MSI-X, the last one, of one vector
    put(device, capability + 4, BAR_MESSAGES);
    put(device, capability + 8, BAR_MESSAGES | pending_offset);
    pthread_mutex_init(&device->lock, NULL);
    device->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (device->wake < 0) return -errno;
    return -pthread_create(&device->listener, NULL, listen_for_unmask, device);
}

void device_end(struct device *device) {
    pthread_mutex_lock(&device->lock);
    device->ended = true;
    signal_eventfd(device->wake);
    pthread_mutex_unlock(&device->lock);
    pthread_join(device->listener, NULL);
    close(device->wake);
}
