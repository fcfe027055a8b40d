// A VMM in C: /dev/kvm by hand, interrupts by irqmux.
//
//   guest ── port ──→ exit ──→ device ── MSI-X: its eventfd is the irqfd, all in the kernel → handler
//                                     └─ INTx: eventfd → mux → irqfd, until the guest ends it → handler
//   guest ── doorbell: no exit ──→ mux ── pair's completion ──→ handler
#include <errno.h>
#include <irqmux.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "device.h"
#include "guest.h"
#include "machine.h"

enum { tag_pair = 1, tag_resample = 2 };

struct vmm {
    struct machine machine;
    struct device device;
    irqmux_mux mux;
    irqmux_device attached;
    irqmux_vector message, line;
    irqmux_pair pair;
    int32_t irqfd, resample;
    _Atomic int32_t failure;
    _Atomic uint64_t rings, unmasks;
};

// On the mux's thread, once an event. Interrupts are not among them: their routes end in the guest.
static void handle(void *context, irqmux_mux mux, const irqmux_event *event) {
    struct vmm *vmm = context;
    int32_t result = 0;
    if (event->kind == IRQMUX_EVENT_DOORBELL) {
        vmm->rings++;
        result = irqmux_pair_complete(mux, vmm->pair);
    } else if (event->kind == IRQMUX_EVENT_SOURCE && event->tag == tag_resample) {
        // The guest has ended the line's interrupt, so the device may fire again.
        vmm->unmasks++;
        result = irqmux_vector_acknowledge(mux, vmm->line);
    } else if (event->kind == IRQMUX_EVENT_FAILED) {
        result = event->error;
    }
    if (result < 0) vmm->failure = result;
}

// A line's irqfd with its resampling eventfd.
static int assign_line(struct vmm *vmm) {
    vmm->irqfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    vmm->resample = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct kvm_irqfd request = {
        .fd = (uint32_t)vmm->irqfd, .gsi = GUEST_LINE, .flags = KVM_IRQFD_FLAG_RESAMPLE,
        .resamplefd = (uint32_t)vmm->resample};
    return ioctl(vmm->machine.vm, KVM_IRQFD, &request) < 0 ? -errno : 0;
}

static int32_t allocate(struct vmm *vmm, uint32_t apic_vector, uint32_t *gsi) {
    irqmux_gsi_route route = {
        .size = sizeof route, .kind = IRQMUX_GSI_MESSAGE, .address = 0xfee00000, .data = apic_vector};
    return irqmux_gsi_allocate(vmm->mux, &route, gsi);
}

static int32_t connect_device(struct vmm *vmm, uint32_t message_gsi) {
    irqmux_device_ops ops = device_ops();
    int32_t result = irqmux_device_attach(vmm->mux, &ops, &vmm->device, &vmm->attached);
    if (result < 0) return result;
    // Past this process: the device signals the irqfd.
    irqmux_route past = {.size = sizeof past, .kind = IRQMUX_ROUTE_GUEST, .gsi = message_gsi};
    irqmux_connection message = {
        .size = sizeof message, .index = IRQMUX_MSIX, .count = 1, .route_count = 1, .routes = &past};
    return irqmux_vectors_connect(vmm->mux, vmm->attached, &message, &vmm->message);
}

// A device uses one type at a time: the message first, then the line, which goes through the mux to the irqfd.
static int32_t use_the_line(struct vmm *vmm) {
    int32_t result = irqmux_vectors_disconnect(vmm->mux, vmm->attached, IRQMUX_MSIX);
    if (result < 0) return result;
    irqmux_route out = {
        .size = sizeof out, .kind = IRQMUX_ROUTE_FAN_OUT, .target_count = 1, .targets = &vmm->irqfd};
    irqmux_connection line = {
        .size = sizeof line, .index = IRQMUX_INTX, .count = 1, .route_count = 1, .routes = &out};
    return irqmux_vectors_connect(vmm->mux, vmm->attached, &line, &vmm->line);
}

static int32_t wire(struct vmm *vmm) {
    irqmux_mux_config config = {
        .size = sizeof config, .flags = IRQMUX_OWN_THREAD | IRQMUX_EXPLICIT_ACK, .capacity = 16, .handler = handle,
        .context = vmm};
    uint32_t message_gsi, pair_gsi;
    irqmux_source resample;
    int32_t result = irqmux_mux_create(&config, &vmm->mux);
    if (result >= 0) result = irqmux_guest_attach(vmm->mux, vmm->machine.vm, IRQMUX_TABLE_IRQCHIP);
    if (result >= 0) result = allocate(vmm, VECTOR_MESSAGE, &message_gsi);
    if (result >= 0) result = allocate(vmm, VECTOR_COMPLETION, &pair_gsi);
    if (result >= 0) result = connect_device(vmm, message_gsi);
    if (result >= 0) result = assign_line(vmm);
    if (result >= 0) result = irqmux_source_add(vmm->mux, vmm->resample, tag_resample, IRQMUX_COUNTED, &resample);
    irqmux_pair_config pair = {
        .size = sizeof pair, .flags = IRQMUX_PAIR_PORT, .address = PORT_DOORBELL, .width = 4, .tag = tag_pair};
    if (result < 0) return result;
    pair.gsi = pair_gsi;
    return irqmux_pair_add(vmm->mux, &pair, &vmm->pair);
}

// Runs the guest until it powers off; 0 or -errno.
static int32_t run(struct vmm *vmm) {
    bool by_line = false;
    while (!vmm->failure) {
        uint16_t port = 0;
        int32_t result = machine_run(&vmm->machine, &port);
        if (result < 0) return result;
        if (result == 0) continue;
        if (port == PORT_POWER_OFF) return 0;
        if (port == PORT_ASSERT && !by_line) {
            result = use_the_line(vmm);
            if (result < 0) return result;
            by_line = true;
        }
        if (port == PORT_RAISE) device_raise(&vmm->device);
        if (port == PORT_ASSERT) device_assert(&vmm->device, true);
        if (port == PORT_LET_GO) device_assert(&vmm->device, false);
    }
    return vmm->failure;
}

static int report(struct vmm *vmm, uint32_t rounds) {
    // The last end of interrupt may still be on its way through the loop.
    for (int turn = 0; turn < 2000 && vmm->unmasks < rounds; turn++) usleep(1000);
    irqmux_ledger ledger = {.size = sizeof ledger};
    int32_t result = irqmux_ledger_read_device(vmm->mux, vmm->attached, &ledger);
    if (result < 0) return result;
    uint32_t messages = machine_count(&vmm->machine, COUNT_MESSAGES_TAKEN);
    uint32_t lines = machine_count(&vmm->machine, COUNT_LINE_TAKEN);
    uint32_t completions = machine_count(&vmm->machine, COUNT_PAIR_TAKEN);
    printf("MSI-X: %u of %u taken by the guest, past this process\n", messages, rounds);
    printf("INTx: %u of %u taken by the guest, unmasked %lu times\n", lines, rounds, (unsigned long)vmm->unmasks);
    printf("pair: %u of %u completed, doorbell rung %lu times\n", completions, rounds, (unsigned long)vmm->rings);
    printf("ledger: raised %lu, delivered %lu, pending %lu, unexplained %ld\n", (unsigned long)ledger.raised,
           (unsigned long)ledger.delivered, (unsigned long)ledger.pending, (long)ledger.unexplained);
    printf("exits: %lu\n", vmm->machine.exits);
    bool whole = messages == rounds && lines == rounds && completions == rounds && vmm->rings == rounds &&
                 vmm->unmasks == rounds && ledger.raised == 2ul * rounds && ledger.delivered == 2ul * rounds &&
                 ledger.unexplained == 0;
    return whole ? 0 : 1;
}

static int complain(const char *what, int32_t result) {
    irqmux_error error = {.size = sizeof error};
    irqmux_error_read(&error);
    if (error.number == result) fprintf(stderr, "vmm-in-c: %s: %s: %s\n", error.operation, error.name, error.remedy);
    else fprintf(stderr, "vmm-in-c: %s: %s\n", what, strerror(-result));
    return 2;
}

int main(int count, char **arguments) {
    unsigned long rounds = count > 1 ? strtoul(arguments[1], NULL, 10) : 200;
    if (count > 2 || rounds < 1 || rounds > 1000000) {
        fprintf(stderr, "usage: vmm-in-c [ROUNDS], 1 to 1000000\n");
        return 64;
    }
    static struct vmm vmm;
    const char *what;
    int32_t result = machine_make(&vmm.machine, (uint32_t)rounds, &what);
    if (result < 0) {
        fprintf(stderr, "vmm-in-c: %s: %s\n", what, strerror(-result));
        return 69;
    }
    device_init(&vmm.device);
    result = wire(&vmm);
    if (result < 0) return complain("wiring", result);
    result = run(&vmm);
    if (result < 0) return complain("running the guest", result);
    int status = report(&vmm, (uint32_t)rounds);
    if (status < 0) return complain("the account", status);
    result = irqmux_mux_destroy(vmm.mux);
    machine_free(&vmm.machine);
    if (result < 0) return complain("the end", result);
    if (status) fprintf(stderr, "vmm-in-c: an interrupt was lost or invented: the counts above disagree\n");
    return status;
}
