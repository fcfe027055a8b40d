// The C library against a device that another process serves: vfio-user SOCKET [PID]. The server is irqmux serve, with
// four MSI-X vectors and nothing else. With its PID it is killed at the end, to see what is left of the device then.
#include "../check.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

enum { vectors = 4 };

// Of the device (docs/exerciser.md).
enum { bar_0 = 0, number = 0x014, raise_once = 0x024, magic = 0x58515249 };
enum { configuration = 7, command = 4, bus_master = 4 };

static void raise_vector(irqmux_mux mux, irqmux_device device, uint32_t vector) {
    EQUAL(irqmux_region_write(mux, device, bar_0, number, 4, vector), 0);
    EQUAL(irqmux_region_write(mux, device, bar_0, raise_once, 4, 1), 0);
}

// Hands out until so many interrupts have come; the server may take its time.
static void await(irqmux_mux mux, const struct tally *tally, uint32_t interrupts) {
    for (int turn = 0; turn < 1000 && tally->kinds[IRQMUX_EVENT_INTERRUPT] < interrupts; turn++)
        CHECK(irqmux_mux_dispatch(mux, 10000000) >= 0);
    EQUAL(tally->kinds[IRQMUX_EVENT_INTERRUPT], interrupts);
}

static void use(irqmux_mux mux, const struct tally *tally, irqmux_device device) {
    irqmux_irq_info info = {.size = sizeof info};
    EQUAL(irqmux_device_info(mux, device, IRQMUX_MSIX, &info), 0);
    EQUAL(info.count, vectors);
    uint64_t value = 0;
    EQUAL(irqmux_region_read(mux, device, bar_0, 0, 4, &value), 0);
    EQUAL(value, magic);
    // Out of range: the server refuses, and the connection stays.
    CHECK(irqmux_region_read(mux, device, bar_0, 1u << 20, 4, &value) < 0);
    EQUAL(irqmux_region_write(mux, device, configuration, command, 2, bus_master), 0);

    irqmux_connection connection = {.size = sizeof connection, .index = IRQMUX_MSIX, .count = vectors};
    irqmux_vector ids[vectors];
    EQUAL(irqmux_vectors_connect(mux, device, &connection, ids), 0);
    for (uint32_t vector = 0; vector < vectors; vector++) {
        raise_vector(mux, device, vector);
        await(mux, tally, vector + 1);
        EQUAL(tally->last.vector.bits, ids[vector].bits);
    }
    EQUAL(irqmux_vector_mask(mux, ids[1]), 0);
    raise_vector(mux, device, 1);
    CHECK(irqmux_mux_dispatch(mux, 50000000) >= 0);
    EQUAL(tally->kinds[IRQMUX_EVENT_INTERRUPT], vectors);
    EQUAL(irqmux_vector_unmask(mux, ids[1]), 0);
    await(mux, tally, vectors + 1);

    irqmux_ledger ledger = {.size = sizeof ledger};
    EQUAL(irqmux_ledger_read_device(mux, device, &ledger), 0);
    EQUAL(ledger.delivered + ledger.coalesced, vectors + 1);
    EQUAL(ledger.unexplained, 0);
    irqmux_device second;
    FAILS(irqmux_device_open(mux, "vfio-user:", &second), EINVAL);
    EQUAL(irqmux_vectors_disconnect(mux, device, IRQMUX_MSIX), 0);
    EQUAL(irqmux_device_reset(mux, device), 0);
}

int main(int count, char **arguments) {
    if (count < 2 || !(irqmux_features() & IRQMUX_FEATURE_VFIO_USER)) return 64;
    char name[200];
    snprintf(name, sizeof name, "vfio-user:%s", arguments[1]);
    struct tally tally = {.mux = {0}};
    irqmux_mux_config config = config_of(0, tally_handler, &tally);
    irqmux_mux mux;
    irqmux_device device, second;
    EQUAL(irqmux_mux_create(&config, &mux), 0);
    EQUAL(irqmux_device_open(mux, name, &device), 0);
    if (failures) return 1;
    // It serves one client at a time.
    FAILS(irqmux_device_open(mux, name, &second), EBUSY);
    use(mux, &tally, device);
    EQUAL(irqmux_device_detach(mux, device, NULL), 0);
    // Again, by a connection of its own.
    EQUAL(irqmux_device_open(mux, name, &device), 0);
    if (count > 2) {
        EQUAL(kill((pid_t)atoi(arguments[2]), SIGKILL), 0);
        uint64_t value;
        CHECK(irqmux_region_read(mux, device, bar_0, 0, 4, &value) < 0);
        irqmux_connection connection = {.size = sizeof connection, .index = IRQMUX_MSIX, .count = vectors};
        irqmux_vector ids[vectors];
        CHECK(irqmux_vectors_connect(mux, device, &connection, ids) < 0);
    }
    EQUAL(irqmux_device_detach(mux, device, NULL), 0);
    EQUAL(irqmux_mux_destroy(mux), 0);
    printf("vfio-user: %s, %d failed\n", failures ? "not as it must be" : "as it must be", failures);
    return failures != 0;
}
