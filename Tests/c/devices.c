// Devices by name, their regions and their reset.
#include "check.h"

// A board with one region of eight bytes.
struct registers {
    struct board board;
    uint64_t bytes;
    uint32_t resets;
};

static int32_t read_region(void *context, uint32_t region, uint64_t offset, uint32_t width, uint64_t *value) {
    struct registers *registers = context;
    if (region != 0 || offset + width > sizeof registers->bytes) return -EINVAL;
    *value = 0;
    memcpy(value, (char *)&registers->bytes + offset, width);
    return 0;
}

static int32_t write_region(void *context, uint32_t region, uint64_t offset, uint32_t width, uint64_t value) {
    struct registers *registers = context;
    if (region != 0 || offset + width > sizeof registers->bytes) return -EINVAL;
    memcpy((char *)&registers->bytes + offset, &value, width);
    return 0;
}

static int32_t reset(void *context) {
    struct registers *registers = context;
    registers->bytes = 0;
    registers->resets++;
    return 0;
}

static void regions(void) {
    irqmux_mux mux = mux_of(0, NULL, NULL);
    struct registers registers = {.bytes = 0};
    board_init(&registers.board);
    irqmux_device_ops ops = board_ops();
    irqmux_device device;
    EQUAL(irqmux_device_attach(mux, &ops, &registers, &device), 0);
    uint64_t value = 7;
    // A device without the functions has no regions and no reset.
    FAILS(irqmux_region_read(mux, device, 0, 0, 4, &value), EINVAL);
    FAILS(irqmux_region_write(mux, device, 0, 0, 4, 1), EINVAL);
    FAILS(irqmux_device_reset(mux, device), EINVAL);
    EQUAL(value, 7);
    EQUAL(irqmux_device_detach(mux, device, NULL), 0);
    FAILS(irqmux_device_reset(mux, device), EBADF);

    ops.read_region = read_region;
    ops.write_region = write_region;
    ops.reset = reset;
    EQUAL(irqmux_device_attach(mux, &ops, &registers, &device), 0);
    EQUAL(irqmux_region_write(mux, device, 0, 0, 8, 0x1122334455667788), 0);
    EQUAL(irqmux_region_read(mux, device, 0, 2, 2, &value), 0);
    EQUAL(value, 0x5566);
    EQUAL(irqmux_region_read(mux, device, 0, 7, 1, &value), 0);
    EQUAL(value, 0x11);
    FAILS(irqmux_region_read(mux, device, 0, 0, 3, &value), EINVAL);
    FAILS(irqmux_region_read(mux, device, 0, 8, 1, &value), EINVAL);
    FAILS(irqmux_region_read(mux, device, 1, 0, 1, &value), EINVAL);
    FAILS(irqmux_region_read(mux, device, 0, 0, 1, NULL), EINVAL);
    FAILS(irqmux_region_write(mux, device, 0, 0, 0, 1), EINVAL);
    EQUAL(irqmux_device_reset(mux, device), 0);
    EQUAL(registers.resets, 1);
    EQUAL(irqmux_region_read(mux, device, 0, 0, 8, &value), 0);
    EQUAL(value, 0);
    EQUAL(irqmux_mux_destroy(mux), 0);
    FAILS(irqmux_region_read(mux, device, 0, 0, 8, &value), EBADF);
}

static void served_elsewhere(void) {
    irqmux_mux_config config = config_of(0, NULL, NULL);
    irqmux_mux mux;
    irqmux_device device = {0};
    EQUAL(irqmux_mux_create(&config, &mux), 0);
    bool can = irqmux_features() & IRQMUX_FEATURE_VFIO_USER;
    EQUAL(can, (irqmux_features() & IRQMUX_FEATURE_RUNTIME) != 0);
    char name[200] = "vfio-user:";
    FAILS(irqmux_device_open(mux, name, &device), can ? EINVAL : EOPNOTSUPP);
    memset(name + 10, 'x', 150);
    FAILS(irqmux_device_open(mux, name, &device), can ? EINVAL : EOPNOTSUPP);
    FAILS(irqmux_device_open(mux, "vfio-user:/nowhere/at/all.sock", &device), can ? ENOENT : EOPNOTSUPP);
    FAILS(irqmux_device_open(mux, "vfio-user:/dev/null", &device), can ? ENOTSOCK : EOPNOTSUPP);
    FAILS(irqmux_device_open(mux, "vfio-use", &device), EINVAL);
    EQUAL(device.bits, 0);
    EQUAL(irqmux_mux_destroy(mux), 0);
}

const struct test device_tests[] = {
    {"a device's regions are read and written, and it is reset, by its own functions", regions, false},
    {"a device behind a socket is refused by name where it cannot be, and the mux goes on", served_elsewhere, false},
    {NULL, NULL, false},
};
