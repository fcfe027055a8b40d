// Configuration space as bytes: its capabilities, and INTx's registers. No mux is needed, nor a guest.
#include "card.h"

static irqmux_capabilities parse(const struct card *card) {
    irqmux_capabilities found = {.size = sizeof found};
    EQUAL(irqmux_capabilities_parse(card->space, sizeof card->space, &found), 0);
    return found;
}

static void check_found(const irqmux_capabilities *found, uint32_t pin) {
    EQUAL(found->found, IRQMUX_HAS_MSI | IRQMUX_HAS_MSIX | IRQMUX_HAS_EXPRESS | IRQMUX_HAS_RESET);
    EQUAL(found->vendor, 0x1234);
    EQUAL(found->device, 0x4951);
    EQUAL(found->pin, pin);
    EQUAL(found->msi_offset, CARD_MSI);
    EQUAL(found->msi_length, 24);
    EQUAL(found->msi_vectors, 4);
    EQUAL(found->msi_flags, IRQMUX_MSI_64BIT | IRQMUX_MSI_MASKABLE);
    EQUAL(found->msix_offset, CARD_MSIX);
    EQUAL(found->msix_vectors, CARD_VECTORS);
    EQUAL(found->table_bar, 4);
    EQUAL(found->table_offset, 0);
    EQUAL(found->table_length, 64);
    EQUAL(found->pending_bar, 4);
    EQUAL(found->pending_offset, CARD_PENDING);
    EQUAL(found->pending_length, 8);
    EQUAL(found->express_offset, CARD_EXPRESS);
    EQUAL(found->error_reporting_offset, 0);
    EQUAL(found->virtual_functions_offset, 0);
    EQUAL(found->fault_offset, 0);
    CHECK(found->fault && !found->fault[0]);
}

static void capabilities(void) {
    struct card card;
    card_init(&card);
    // The pin is the device's register, which the bytes of this card leave to INTx's registers.
    irqmux_capabilities found = parse(&card);
    check_found(&found, 0);
    // The same of an attached device.
    irqmux_mux mux = mux_of(0, NULL, NULL);
    irqmux_device device, plain;
    irqmux_device_ops ops = card_ops();
    EQUAL(irqmux_device_attach(mux, &ops, &card, &device), 0);
    EQUAL(irqmux_capabilities_read(mux, device, &found), 0);
    check_found(&found, 1);
    FAILS(irqmux_capabilities_read(mux, device, NULL), EINVAL);
    card.silent = true;
    FAILS(irqmux_capabilities_read(mux, device, &found), EIO);
    card.silent = false;
    // A table of an older header has no region_size: no region is there.
    struct board board;
    board_init(&board);
    ops.size = (uint32_t)((char *)&ops.region_size - (char *)&ops);
    EQUAL(irqmux_device_attach(mux, &ops, &card, &plain), 0);
    EQUAL(irqmux_capabilities_read(mux, plain, &found), 0);
    CHECK(strstr(found.fault, "smaller"));
    EQUAL(irqmux_mux_destroy(mux), 0);
}

static void lying_spaces(void) {
    struct card card;
    card_init(&card);
    irqmux_capabilities found = {.size = sizeof found};
    FAILS(irqmux_capabilities_parse(NULL, 256, &found), EINVAL);
    FAILS(irqmux_capabilities_parse(card.space, 256, NULL), EINVAL);
    found.size = 4;
    FAILS(irqmux_capabilities_parse(card.space, 256, &found), EINVAL);
    found.size = sizeof found;
    // No bytes, and a length of no memory's: nothing beyond what configuration space has is read.
    EQUAL(irqmux_capabilities_parse(card.space, 0, &found), 0);
    CHECK(strstr(found.fault, "smaller"));
    EQUAL(found.vendor, 0xffff);
    card.space[CARD_MSI + 1] = CARD_MSI;
    found = parse(&card);
    EQUAL(found.found, IRQMUX_HAS_MSI);
    EQUAL(found.fault_offset, CARD_MSI);
    CHECK(strstr(found.fault, "loops"));
    card_init(&card);
    card.space[CARD_MSIX + 8] = 4 | 0x20, card.space[CARD_MSIX + 9] = 0;
    found = parse(&card);
    EQUAL(found.found & IRQMUX_HAS_MSIX, 0);
    CHECK(strstr(found.fault, "overlap"));
    memset(card.space, 0xff, sizeof card.space);
    found = parse(&card);
    EQUAL(found.vendor, 0xffff);
    CHECK(strstr(found.fault, "answers"));
    // Extended space, of which a card has none: its chain begins beyond 256 bytes.
    static uint8_t whole[4096];
    card_init(&card);
    memcpy(whole, card.space, sizeof card.space);
    whole[0x100] = 0x01, whole[0x102] = 0x01; // error reporting, version 1, the last
    EQUAL(irqmux_capabilities_parse(whole, sizeof whole, &found), 0);
    EQUAL(found.error_reporting_offset, 0x100);
    CHECK(found.found & IRQMUX_HAS_ERROR_REPORTING);
}

static void registers(void) {
    irqmux_intx_registers line = {.size = sizeof line, .pin = 2, .line = 0xff};
    uint64_t value = 0;
    EQUAL(irqmux_intx_registers_read(&line, 0x3c, 4, &value), 0);
    EQUAL(value, 0x02ff);
    EQUAL(irqmux_intx_registers_assert(&line, 1), IRQMUX_PIN_RISES);
    EQUAL(irqmux_intx_registers_assert(&line, 1), IRQMUX_PIN_STAYS);
    // DisINTx keeps it from its pin, and the status bit goes on telling.
    EQUAL(irqmux_intx_registers_write(&line, 0x04, 2, 0x0407), IRQMUX_PIN_FALLS);
    EQUAL(line.disabled, 1);
    value = 0x00100003;
    EQUAL(irqmux_intx_registers_read(&line, 0x04, 4, &value), 0);
    EQUAL(value, 0x00180403);
    EQUAL(irqmux_intx_registers_write(&line, 0x04, 2, 0x0007), IRQMUX_PIN_RISES);
    EQUAL(irqmux_intx_registers_write(&line, 0x3c, 1, 11), IRQMUX_PIN_STAYS);
    EQUAL(line.line, 11);
    EQUAL(irqmux_intx_registers_write(&line, 0x3d, 1, 4), IRQMUX_PIN_STAYS);
    EQUAL(line.pin, 2);
    EQUAL(irqmux_intx_registers_assert(&line, 0), IRQMUX_PIN_FALLS);
    // Without a pin nothing is driven.
    irqmux_intx_registers none = {.size = sizeof none};
    EQUAL(irqmux_intx_registers_assert(&none, 1), IRQMUX_PIN_STAYS);
    FAILS(irqmux_intx_registers_read(&line, 0, 0, &value), EINVAL);
    FAILS(irqmux_intx_registers_read(&line, 0, 9, &value), EINVAL);
    FAILS(irqmux_intx_registers_read(&line, 0, 4, NULL), EINVAL);
    FAILS(irqmux_intx_registers_read(NULL, 0, 4, &value), EINVAL);
    FAILS(irqmux_intx_registers_write(&line, 0, 9, 0), EINVAL);
    FAILS(irqmux_intx_registers_write(NULL, 0, 4, 0), EINVAL);
    FAILS(irqmux_intx_registers_assert(NULL, 1), EINVAL);
    line.pin = 5;
    FAILS(irqmux_intx_registers_assert(&line, 1), EINVAL);
    line.pin = 1, line.line = 256;
    FAILS(irqmux_intx_registers_assert(&line, 1), EINVAL);
}

const struct test space_tests[] = {
    {"a configuration space's capabilities are told, of bytes and of a device", capabilities, false},
    {"a configuration space that lies is told as that, and what was found counts", lying_spaces, false},
    {"INTx's registers say what becomes of the pin", registers, false},
    {NULL, NULL, false},
};
