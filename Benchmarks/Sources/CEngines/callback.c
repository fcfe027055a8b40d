#include "bench_callback.h"

#include <errno.h>
#include <irqmux.h>
#include <stdlib.h>
#include <string.h>

struct bench_callback {
    irqmux_mux mux;
    struct bench_sink *sink;
    uint32_t vectors;
    int32_t *eventfds;
};

static void handle(void *context, irqmux_mux mux, const irqmux_event *event) {
    (void)mux;
    bench_note(context, (uint32_t)event->tag);
}

static int32_t info(void *context, uint32_t index, irqmux_irq_info *info) {
    struct bench_callback *self = context;
    if (index != IRQMUX_MSIX) return 0;
    info->flags = IRQMUX_IRQ_EVENTFD;
    info->count = self->vectors;
    return 0;
}

static int32_t set_irqs(void *context, const irqmux_irq_set *set) {
    struct bench_callback *self = context;
    if (set->data == IRQMUX_DATA_EVENTFD && set->start == 0 && set->count == self->vectors)
        memcpy(self->eventfds, set->eventfds, set->count * sizeof *set->eventfds);
    return 0;
}

struct bench_callback *bench_callback_make(
    uint32_t vectors, struct bench_sink *sink, int32_t *eventfds, int32_t *error) {
    struct bench_callback *self = calloc(1, sizeof *self);
    irqmux_vector *ids = calloc(vectors, sizeof *ids);
    irqmux_mux_config config = {.size = sizeof config, .capacity = vectors, .handler = handle, .context = sink};
    irqmux_device_ops ops = {.size = sizeof ops, .info = info, .set_irqs = set_irqs};
    irqmux_connection all = {.size = sizeof all, .index = IRQMUX_MSIX, .count = vectors};
    irqmux_device device;
    *error = -ENOMEM;
    if (self && ids) {
        *self = (struct bench_callback){.sink = sink, .vectors = vectors, .eventfds = eventfds};
        *error = irqmux_mux_create(&config, &self->mux);
    }
    if (*error >= 0) *error = irqmux_device_attach(self->mux, &ops, self, &device);
    if (*error >= 0) *error = irqmux_vectors_connect(self->mux, device, &all, ids);
    free(ids);
    if (*error >= 0) return self;
    bench_callback_free(self);
    return NULL;
}

int32_t bench_callback_drain(struct bench_callback *self, uint64_t until) {
    while (self->sink->total < until) {
        int32_t result = irqmux_mux_dispatch(self->mux, 0);
        if (result < 0) return result;
    }
    return 0;
}

void bench_callback_free(struct bench_callback *self) {
    if (!self) return;
    if (self->mux.bits) irqmux_mux_destroy(self->mux);
    free(self);
}
