// The C library with real devices, inside the emulated machine (Tests/vm/suite): opened by address, adopted by
// descriptor, fired by their own registers. Linked with libirqmux.a, liburing and libc, all of them static.
// Argument: "cdev" where the machine has iommufd, so that a device is opened by its character device for adoption.
#include "../check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "hold.h"

// QEMU's rocker has 32 MSI-X vectors, each of which a register fires; edu an INTx that registers raise and quiet.
#define ROCKER "0000:00:07.0"
#define EDU "0000:00:04.0"
#define SPARE_EDU "0000:00:05.0"
#define EXPRESS "0000:02:00.0"
enum { ROCKER_VECTORS = 32, ROCKER_FIRE = 0x20, EDU_RAISE = 0x60, EDU_QUIET = 0x64, CONFIGURATION = 7, COMMAND = 4 };

static void write_region(irqmux_mux mux, irqmux_device device, uint32_t region, uint64_t offset, uint32_t value) {
    EQUAL(irqmux_region_write(mux, device, region, offset, 4, value), 0);
}

// Without its device a test has nothing to wait for.
static bool has_device(irqmux_mux mux, const char *name, irqmux_device *device) {
    EQUAL(irqmux_device_open(mux, name, device), 0);
    if (device->bits) return true;
    EQUAL(irqmux_mux_destroy(mux), 0);
    return false;
}

// Memory, and bus master: a message is a write of the device's own.
static void awaken(irqmux_mux mux, irqmux_device device) {
    uint64_t command = 0;
    EQUAL(irqmux_region_read(mux, device, CONFIGURATION, COMMAND, 2, &command), 0);
    EQUAL(irqmux_region_write(mux, device, CONFIGURATION, COMMAND, 2, command | 6), 0);
}

static uint32_t count_of(irqmux_mux mux, irqmux_device device, uint32_t index) {
    irqmux_irq_info info = {.size = sizeof info};
    EQUAL(irqmux_device_info(mux, device, index, &info), 0);
    return info.count;
}

static void connect_one(irqmux_mux mux, irqmux_device device, uint32_t index, irqmux_vector *vector) {
    irqmux_connection connection = {.size = sizeof connection, .index = index, .count = 1};
    EQUAL(irqmux_vectors_connect(mux, device, &connection, vector), 0);
}

// Every vector ten times to the handler, one held by its mask; then the account, which has to close.
static void fire_all(irqmux_mux mux, irqmux_device device, struct tally *tally) {
    irqmux_vector vectors[ROCKER_VECTORS];
    irqmux_connection connection = {.size = sizeof connection, .index = IRQMUX_MSIX, .count = ROCKER_VECTORS};
    EQUAL(irqmux_vectors_connect(mux, device, &connection, vectors), 0);
    uint32_t before = tally->kinds[IRQMUX_EVENT_INTERRUPT];
    for (uint32_t round = 0; round < 10; round++)
        for (uint32_t vector = 0; vector < ROCKER_VECTORS; vector++) {
            write_region(mux, device, 0, ROCKER_FIRE, vector);
            EQUAL(irqmux_mux_dispatch(mux, 1000000000), 1);
            EQUAL(tally->last.number, vector);
            // Without interrupts there is nothing to wait for, vector by vector.
            if (failures > 3) return;
        }
    EQUAL(irqmux_vector_mask(mux, vectors[3]), 0);
    write_region(mux, device, 0, ROCKER_FIRE, 3);
    EQUAL(drain(mux), 0);
    EQUAL(irqmux_vector_unmask(mux, vectors[3]), 0);
    EQUAL(drain(mux), 1);
    EQUAL(tally->kinds[IRQMUX_EVENT_INTERRUPT] - before, 10 * ROCKER_VECTORS + 1);
    irqmux_ledger ledger = {.size = sizeof ledger};
    EQUAL(irqmux_ledger_read_vector(mux, vectors[3], &ledger), 0);
    EQUAL(ledger.raised, 11);
    EQUAL(ledger.delivered, 11);
    EQUAL(irqmux_vectors_disconnect(mux, device, IRQMUX_MSIX), 0);
}

static void closed(irqmux_mux mux, irqmux_device device, uint64_t raised) {
    irqmux_ledger ledger = {.size = sizeof ledger};
    EQUAL(irqmux_device_detach(mux, device, &ledger), 0);
    EQUAL(ledger.raised, raised);
    EQUAL(ledger.delivered, raised);
    EQUAL(ledger.pending, 0);
    EQUAL(ledger.dropped, 0);
    EQUAL(ledger.unexplained, 0);
}

static void opened(void) {
    struct tally tally = {0};
    irqmux_mux mux = mux_of(0, tally_handler, &tally);
    irqmux_device device = {0}, second;
    if (!has_device(mux, ROCKER, &device)) return;
    FAILS(irqmux_device_open(mux, ROCKER, &second), EBUSY);
    FAILS(irqmux_device_open(mux, "0000:00:19.0", &second), ENODEV);
    EQUAL(count_of(mux, device, IRQMUX_MSIX), ROCKER_VECTORS);
    irqmux_capabilities found = {.size = sizeof found};
    EQUAL(irqmux_capabilities_read(mux, device, &found), 0);
    EQUAL(found.msix_vectors, ROCKER_VECTORS);
    awaken(mux, device);
    irqmux_vector request;
    connect_one(mux, device, IRQMUX_REQ, &request);
    fire_all(mux, device, &tally);
    // QEMU gives rocker no reset of its own.
    FAILS(irqmux_device_reset(mux, device), EINVAL);
    closed(mux, device, 10 * ROCKER_VECTORS + 1);
    // It is free again, and the same once more.
    EQUAL(irqmux_device_open(mux, ROCKER, &device), 0);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

// The VMM has opened it; afterwards the descriptor is the VMM's still, or closed with IRQMUX_ADOPT_TAKE.
static void adopted(void) {
    struct tally tally = {0};
    struct held held;
    irqmux_mux mux = mux_of(0, tally_handler, &tally);
    irqmux_device device;
    CHECK(hold(&held, ROCKER));
    if (held.device < 0) return;
    EQUAL(irqmux_device_adopt(mux, held.device, 0, &device), 0);
    awaken(mux, device);
    fire_all(mux, device, &tally);
    closed(mux, device, 10 * ROCKER_VECTORS + 1);
    CHECK(fcntl(held.device, F_GETFD) >= 0);
    EQUAL(irqmux_device_adopt(mux, held.device, IRQMUX_ADOPT_TAKE, &device), 0);
    fire_all(mux, device, &tally);
    closed(mux, device, 10 * ROCKER_VECTORS + 1);
    CHECK(fcntl(held.device, F_GETFD) < 0);
    held.device = -1;
    let_go(&held);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

// A device behind a root port has ERR; every PCI device has REQ.
static void notices(void) {
    struct held held;
    irqmux_mux mux = mux_of(0, NULL, NULL);
    irqmux_device device;
    irqmux_vector vectors[2];
    CHECK(hold(&held, EXPRESS));
    if (held.device < 0) return;
    EQUAL(irqmux_device_adopt(mux, held.device, 0, &device), 0);
    EQUAL(count_of(mux, device, IRQMUX_ERR), 1);
    EQUAL(count_of(mux, device, IRQMUX_REQ), 1);
    connect_one(mux, device, IRQMUX_ERR, &vectors[0]);
    connect_one(mux, device, IRQMUX_REQ, &vectors[1]);
    EQUAL(irqmux_vector_disconnect(mux, vectors[0]), 0);
    closed(mux, device, 0);
    let_go(&held);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

struct line {
    irqmux_device device;
    struct tally tally;
};

// What edu's driver does in its handler: the line goes low before it is acknowledged.
static void quiet(void *context, irqmux_mux mux, const irqmux_event *event) {
    struct line *line = context;
    tally_handler(&line->tally, mux, event);
    if (event->index == IRQMUX_INTX) write_region(mux, line->device, 0, EDU_QUIET, 0xffffffff);
}

static void by_line(void) {
    struct line line = {0};
    irqmux_mux mux = mux_of(0, quiet, &line);
    irqmux_vector vector;
    if (!has_device(mux, EDU, &line.device)) return;
    awaken(mux, line.device);
    write_region(mux, line.device, 0, EDU_QUIET, 0xffffffff);
    connect_one(mux, line.device, IRQMUX_INTX, &vector);
    for (int round = 0; round < 20; round++) {
        write_region(mux, line.device, 0, EDU_RAISE, 1);
        EQUAL(irqmux_mux_dispatch(mux, 1000000000), 1);
    }
    EQUAL(drain(mux), 0);
    EQUAL(line.tally.kinds[IRQMUX_EVENT_INTERRUPT], 20);
    closed(mux, line.device, 20);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

// The host asks for its device: the owner is told by REQ, and it goes when the device is let go.
static void asked_for(void) {
    struct tally tally = {0};
    irqmux_mux mux = mux_of(0, tally_handler, &tally);
    irqmux_device device = {0};
    irqmux_vector request;
    int status;
    if (!has_device(mux, SPARE_EDU, &device)) return;
    connect_one(mux, device, IRQMUX_REQ, &request);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        // Another program, because a child's descriptors would hold the device as well.
        execl("/bin/sh", "sh", "-c", "echo " SPARE_EDU " >/sys/bus/pci/drivers/vfio-pci/unbind && "
              "echo " SPARE_EDU " >/sys/bus/pci/drivers_probe", (char *)NULL);
        _exit(1);
    }
    EQUAL(irqmux_mux_dispatch(mux, 20000000000), 1);
    EQUAL(tally.last.index, IRQMUX_REQ);
    EQUAL(waitpid(child, &status, WNOHANG), 0);
    EQUAL(irqmux_device_detach(mux, device, NULL), 0);
    EQUAL(waitpid(child, &status, 0), child);
    EQUAL(status, 0);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

// A real device's whole function: its table is the guest's, and its vector goes straight into the machine.
static void function(void) {
    struct tally tally = {0};
    irqmux_mux mux = mux_of(0, tally_handler, &tally);
    irqmux_device device = {0};
    irqmux_function function;
    irqmux_capabilities found = {.size = sizeof found};
    irqmux_function_config config = {.size = sizeof config};
    uint64_t pending = 0;
    if (!has_device(mux, ROCKER, &device)) return;
    int machine = make_machine(true);
    EQUAL(irqmux_guest_attach(mux, machine, IRQMUX_TABLE_IRQCHIP), 0);
    EQUAL(irqmux_capabilities_read(mux, device, &found), 0);
    EQUAL(irqmux_function_serve(mux, device, &config, &function), 0);
    EQUAL(irqmux_function_config_write(mux, function, COMMAND, 2, 6), 0);
    EQUAL(irqmux_function_config_write(mux, function, found.msix_offset + 2, 2, 0x8000), 0);
    uint64_t entry = found.table_offset + 2 * 16;
    EQUAL(irqmux_function_region_write(mux, function, found.table_bar, entry, 4, 0xfee00000), 0);
    EQUAL(irqmux_function_region_write(mux, function, found.table_bar, entry + 8, 4, 0x40), 0);
    EQUAL(irqmux_function_region_write(mux, function, found.table_bar, entry + 12, 4, 0), 0);
    EQUAL(irqmux_function_region_write(mux, function, 0, ROCKER_FIRE, 4, 2), 0);
    EQUAL(irqmux_function_region_write(mux, function, found.table_bar, entry + 12, 4, 1), 0);
    EQUAL(irqmux_function_region_write(mux, function, 0, ROCKER_FIRE, 4, 2), 0);
    CHECK(drain(mux) >= 0);
    EQUAL(irqmux_function_region_read(mux, function, found.pending_bar, found.pending_offset, 8, &pending), 0);
    EQUAL(pending, 4);
    EQUAL(irqmux_function_region_write(mux, function, found.table_bar, entry + 12, 4, 0), 0);
    EQUAL(irqmux_function_region_read(mux, function, found.pending_bar, found.pending_offset, 8, &pending), 0);
    EQUAL(pending, 0);
    EQUAL(tally.kinds[IRQMUX_EVENT_INTERRUPT], 0);
    irqmux_function_report report = {.size = sizeof report};
    EQUAL(irqmux_function_report_read(mux, function, &report), 0);
    EQUAL(report.messaging, 1);
    EQUAL(report.last_error, 0);
    // The device has no reset, which is told; the registers are reset all the same.
    FAILS(irqmux_functions_reset(mux, &function, 1, NULL, NULL), EINVAL);
    EQUAL(irqmux_function_report_read(mux, function, &report), 0);
    EQUAL(report.messaging, 0);
    EQUAL(irqmux_function_end(mux, function), 0);
    irqmux_ledger ledger = {.size = sizeof ledger};
    EQUAL(irqmux_device_detach(mux, device, &ledger), 0);
    EQUAL(ledger.unexplained, 0);
    EQUAL(irqmux_mux_destroy(mux), 0);
    close(machine);
}

static const struct test tests[] = {
    {"a device opened by its address: 32 vectors, a mask, REQ, and the ledger closes", opened, false},
    {"a device that the program opened is adopted, and stays its own or not", adopted, false},
    {"ERR and REQ of a device with error reporting are connected", notices, false},
    {"edu's line, quieted by the handler", by_line, false},
    {"the host asks for a device, and has it when it is let go", asked_for, true},
    {"a real device's function is served: table, pending bit, reset", function, false},
};

int main(int count, char **arguments) {
    by_character_device = count > 1 && !strcmp(arguments[1], "cdev");
    setvbuf(stdout, NULL, _IOLBF, 0);
    int failed = 0;
    for (size_t at = 0; at < sizeof tests / sizeof *tests; at++) {
        int before = failures;
        printf("- %s\n", tests[at].name);
        tests[at].run();
        if (failures != before) failed++;
        if (failures != before) printf("FAILED: %s\n", tests[at].name);
    }
    printf("%d of %zu C tests with real devices failed\n", failed, sizeof tests / sizeof *tests);
    return failed != 0;
}
