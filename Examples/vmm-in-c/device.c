#include "device.h"

#include <errno.h>
#include <unistd.h>

static void signal_eventfd(int32_t fd) {
    uint64_t one = 1;
    // A full counter (EAGAIN) is as good as a signal: whoever listens has one waiting.
    if (fd >= 0 && write(fd, &one, sizeof one) < 0) return;
}

static int32_t info(void *context, uint32_t index, irqmux_irq_info *info) {
    (void)context;
    if (index == IRQMUX_INTX) info->flags = IRQMUX_IRQ_EVENTFD | IRQMUX_IRQ_MASKABLE | IRQMUX_IRQ_AUTOMASKED;
    if (index == IRQMUX_MSIX) info->flags = IRQMUX_IRQ_EVENTFD;
    info->count = index == IRQMUX_INTX || index == IRQMUX_MSIX;
    return index <= IRQMUX_REQ ? 0 : -EINVAL;
}

// A level-triggered line fires once and masks itself until somebody unmasks; then it fires again if it is still up.
static void fire(struct device *device) {
    if (!device->asserted || device->masked || device->line < 0) return;
    device->masked = true;
    device->lines_raised++;
    signal_eventfd(device->line);
}

static int32_t set_irqs(void *context, const irqmux_irq_set *set) {
    struct device *device = context;
    bool is_line = set->index == IRQMUX_INTX, is_message = set->index == IRQMUX_MSIX;
    int32_t result = 0;
    pthread_mutex_lock(&device->lock);
    if (set->action == IRQMUX_ACTION_TRIGGER && set->data == IRQMUX_DATA_NONE && set->count == 0) {
        if (is_line) device->line = -1;
        if (is_message) device->message = -1;
    } else if (set->action == IRQMUX_ACTION_TRIGGER && set->data == IRQMUX_DATA_EVENTFD && set->count == 1) {
        if (is_line) device->line = set->eventfds[0];
        if (is_message) device->message = set->eventfds[0];
        if (is_line) fire(device);
    } else if (is_line && set->data == IRQMUX_DATA_NONE && set->action == IRQMUX_ACTION_MASK) {
        device->masked = true;
    } else if (is_line && set->data == IRQMUX_DATA_NONE && set->action == IRQMUX_ACTION_UNMASK) {
        device->masked = false;
        fire(device);
    } else {
        result = -EINVAL;
    }
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

irqmux_device_ops device_ops(void) {
    irqmux_device_ops ops = {.size = sizeof ops, .info = info, .set_irqs = set_irqs, .raised = raised};
    return ops;
}

void device_init(struct device *device) {
    *device = (struct device){.message = -1, .line = -1};
    pthread_mutex_init(&device->lock, NULL);
}

void device_raise(struct device *device) {
    pthread_mutex_lock(&device->lock);
    device->messages_raised++;
    signal_eventfd(device->message);
    pthread_mutex_unlock(&device->lock);
}

void device_assert(struct device *device, bool high) {
    pthread_mutex_lock(&device->lock);
    device->asserted = high;
    fire(device);
    pthread_mutex_unlock(&device->lock);
}
