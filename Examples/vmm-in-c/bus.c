#include "bus.h"

#include <errno.h>

#include "guest.h"

// The function is device 3 of bus 0.
enum { place = 3 << 11 };

static const uint64_t ones = UINT64_MAX;

static int32_t data_port(struct bus *bus, const struct access *access) {
    // Bit 31 enables; bus, device and function follow. Nobody else is there, and that reads as ones.
    if ((bus->address & 0xffffff00) != (0x80000000 | place)) {
        if (!access->is_write) machine_answer(access, ones);
        return 0;
    }
    uint64_t offset = (bus->address & 0xfc) + (access->address & 3), value = ones;
    if (access->is_write)
        return irqmux_function_config_write(bus->mux, bus->function, offset, access->width, access->value);
    int32_t result = irqmux_function_config_read(bus->mux, bus->function, offset, access->width, &value);
    machine_answer(access, value);
    return result;
}

static int32_t port(struct bus *bus, const struct access *access) {
    if (access->address >= PORT_DATA) return data_port(bus, access);
    if (!access->is_write) machine_answer(access, bus->address);
    else if (access->width == 4) bus->address = (uint32_t)access->value;
    return 0;
}

static bool hits(uint64_t offset, uint32_t width, uint32_t start, uint32_t length) {
    return offset < (uint64_t)start + length && offset + width > start;
}

// Whether an access is one of irqmux's. Any other goes to the device at once, on the virtual processor's thread.
static bool is_of_interrupts(const struct bus *bus, uint32_t bar, uint64_t offset, uint32_t width) {
    const irqmux_capabilities *found = &bus->capabilities;
    return (bar == found->table_bar && hits(offset, width, found->table_offset, found->table_length)) ||
           (bar == found->pending_bar && hits(offset, width, found->pending_offset, found->pending_length));
}

static int32_t memory(struct bus *bus, const struct access *access) {
    for (uint32_t bar = 0; bar < 6; bar++) {
        uint64_t base = device_bar(bus->device, bar), offset = access->address - base, value = ones;
        if (base == 0 || access->address < base || offset >= device_bar_size) continue;
        bool is_ours = is_of_interrupts(bus, bar, offset, access->width);
        if (access->is_write && is_ours)
            return irqmux_function_region_write(
                bus->mux, bus->function, bar, offset, access->width, access->value);
        if (access->is_write) {
            if (bar == 0) device_write(bus->device, offset);
            return 0;
        }
        int32_t result = 0;
        if (is_ours) result = irqmux_function_region_read(bus->mux, bus->function, bar, offset, access->width, &value);
        machine_answer(access, value);
        return result;
    }
    return -ENXIO;
}

int32_t bus_answer(struct bus *bus, const struct access *access) {
    if (!access->is_port) return memory(bus, access);
    return access->address >= PORT_ADDRESS && access->address < PORT_DATA + 4 ? port(bus, access) : -ENXIO;
}
