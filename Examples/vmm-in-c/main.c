// A VMM in C: /dev/kvm by hand, a PCI device of its own, interrupts by irqmux.
//
//   guest ── registers: exit ──→ bus ──→ device ── MSI-X: its eventfd is the irqfd, all in the kernel ──→ handler
//                                 │            └── INTx: the same, and back by resampling
//                                 └──→ irqmux: configuration space, the MSI-X table, the pending bits
//   guest ── doorbell: no exit ──→ mux ── pair's completion ──→ handler
//
// The guest finds the device in configuration space, gives it addresses, and programs its MSI-X table; it looks at the
// pending bits under both masks. Then it asks the device for an interrupt, takes it, and asks for the next: first by
// MSI-X, then by INTx. Read from here on, then bus.c and device.c; the guest is in guest.S.
#include <errno.h>
#include <irqmux.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bus.h"
#include "device.h"
#include "guest.h"
#include "machine.h"

enum { tag_pair = 1 };

struct vmm {
    struct machine machine;
    struct device device;
    struct bus bus;
    irqmux_mux mux;
    irqmux_device attached;
    irqmux_pair pair;
    _Atomic int32_t failure;
    _Atomic uint64_t rings;
};

// On the mux's thread, once an event. Interrupts are not among them: their ways end in the guest.
static void handle(void *context, irqmux_mux mux, const irqmux_event *event) {
    struct vmm *vmm = context;
    int32_t result = 0;
    if (event->kind == IRQMUX_EVENT_DOORBELL) {
        vmm->rings++;
        result = irqmux_pair_complete(mux, vmm->pair);
    } else if (event->kind == IRQMUX_EVENT_FAILED) {
        result = event->error;
    }
    if (result < 0) vmm->failure = result;
}

// The device, and its interrupts as the guest sees them: INTx by KVM's resampling while MSI-X is off.
static int32_t serve_device(struct vmm *vmm) {
    irqmux_device_ops ops = device_ops();
    int32_t result = irqmux_device_attach(vmm->mux, &ops, &vmm->device, &vmm->attached);
    if (result < 0) return result;
    irqmux_intx_service line = {
        .size = sizeof line, .way = IRQMUX_WAY_KERNEL_RESAMPLE, .gsi = GUEST_LINE, .machine = vmm->machine.vm};
    irqmux_function_config config = {.size = sizeof config, .line = &line};
    vmm->bus.mux = vmm->mux;
    vmm->bus.device = &vmm->device;
    vmm->bus.capabilities.size = sizeof vmm->bus.capabilities;
    result = irqmux_function_serve(vmm->mux, vmm->attached, &config, &vmm->bus.function);
    return result < 0 ? result : irqmux_capabilities_read(vmm->mux, vmm->attached, &vmm->bus.capabilities);
}

static int32_t add_pair(struct vmm *vmm) {
    irqmux_gsi_route route = {
        .size = sizeof route, .kind = IRQMUX_GSI_MESSAGE, .address = 0xfee00000, .data = VECTOR_COMPLETION};
    irqmux_pair_config pair = {
        .size = sizeof pair, .flags = IRQMUX_PAIR_PORT, .address = PORT_DOORBELL, .width = 4, .tag = tag_pair};
    int32_t result = irqmux_gsi_allocate(vmm->mux, &route, &pair.gsi);
    return result < 0 ? result : irqmux_pair_add(vmm->mux, &pair, &vmm->pair);
}

static int32_t wire(struct vmm *vmm) {
    irqmux_mux_config config = {
        .size = sizeof config, .flags = IRQMUX_OWN_THREAD, .capacity = 16, .handler = handle, .context = vmm};
    int32_t result = irqmux_mux_create(&config, &vmm->mux);
    if (result >= 0) result = irqmux_guest_attach(vmm->mux, vmm->machine.vm, IRQMUX_TABLE_IRQCHIP);
    if (result >= 0) result = serve_device(vmm);
    return result < 0 ? result : add_pair(vmm);
}

// Runs the guest until it powers off; 0 or -errno.
static int32_t run(struct vmm *vmm) {
    while (!vmm->failure) {
        struct access access;
        int32_t result = machine_run(&vmm->machine, &access);
        if (result < 0) return result;
        if (result == 0) continue;
        if (access.is_port && access.address == PORT_POWER_OFF) return 0;
        result = bus_answer(&vmm->bus, &access);
        if (result < 0) return result;
    }
    return vmm->failure;
}

static int report(struct vmm *vmm, uint32_t rounds) {
    irqmux_function_report served = {.size = sizeof served};
    int32_t result = irqmux_function_report_read(vmm->mux, vmm->bus.function, &served);
    if (result >= 0) result = served.last_error ? served.last_error : served.line_error;
    irqmux_ledger ledger = {.size = sizeof ledger};
    if (result >= 0) result = irqmux_ledger_read_device(vmm->mux, vmm->attached, &ledger);
    if (result < 0) return result;
    uint32_t messages = machine_count(&vmm->machine, COUNT_MESSAGES_TAKEN), all = rounds + MASKED_MESSAGES;
    uint32_t pending = machine_count(&vmm->machine, COUNT_PENDING_SEEN);
    uint32_t lines = machine_count(&vmm->machine, COUNT_LINE_TAKEN);
    uint32_t completions = machine_count(&vmm->machine, COUNT_PAIR_TAKEN);
    printf("MSI-X: %u of %u taken by the guest, past this process\n", messages, all);
    printf("masked: %u of %u seen in the pending bits, delivered by unmasking\n", pending, MASKED_MESSAGES);
    printf("INTx: %u of %u taken by the guest, ended in the kernel\n", lines, rounds);
    printf("pair: %u of %u completed, doorbell rung %lu times\n", completions, rounds, (unsigned long)vmm->rings);
    printf("ledger: raised %lu, delivered %lu, pending %lu, unexplained %ld\n", (unsigned long)ledger.raised,
           (unsigned long)ledger.delivered, (unsigned long)ledger.pending, (long)ledger.unexplained);
    printf("exits: %lu\n", vmm->machine.exits);
    bool whole = messages == all && pending == MASKED_MESSAGES && lines == rounds && completions == rounds &&
                 vmm->rings == rounds && ledger.raised == all + rounds && ledger.delivered == all + rounds &&
                 ledger.pending == 0 && ledger.unexplained == 0;
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
    result = device_init(&vmm.device);
    if (result < 0) return complain("the device", result);
    result = wire(&vmm);
    if (result < 0) return complain("wiring", result);
    result = run(&vmm);
    if (result < 0) return complain("running the guest", result);
    int status = report(&vmm, (uint32_t)rounds);
    if (status < 0) return complain("the account", status);
    result = irqmux_mux_destroy(vmm.mux);
    device_end(&vmm.device);
    machine_free(&vmm.machine);
    if (result < 0) return complain("the end", result);
    if (status) fprintf(stderr, "vmm-in-c: an interrupt was lost or invented: the counts above disagree\n");
    return status;
}
