#include "card.h"

#include <stdlib.h>

static void put(struct card *card, uint32_t offset, uint64_t value, uint32_t width) {
    for (uint32_t at = 0; at < width; at++) card->space[offset + at] = (uint8_t)(value >> 8 * at);
}

// A function interrupts by its pin while DisINTx is clear.
static void follow(struct card *card, int32_t change) {
    if (change == IRQMUX_PIN_RISES) board_assert(&card->board, true);
    if (change == IRQMUX_PIN_FALLS) board_assert(&card->board, false);
}

static int32_t card_read(void *context, uint32_t region, uint64_t offset, uint32_t width, uint64_t *value) {
    struct card *card = context;
    if (region == 0) *value = card->written;
    if (region == 0) return 0;
    if (region != 7 || offset + width > sizeof card->space) return -EINVAL;
    *value = 0;
    for (uint32_t at = 0; at < width; at++) *value |= (uint64_t)card->space[offset + at] << 8 * at;
    return irqmux_intx_registers_read(&card->line, offset, width, value);
}

static int32_t card_write(void *context, uint32_t region, uint64_t offset, uint32_t width, uint64_t value) {
    struct card *card = context;
    if (region == 0 && offset == 0 && width == 4) board_raise(&card->board, IRQMUX_MSIX, (uint32_t)value);
    if (region == 0) {
        card->written = value;
        card->writes++;
        return card->refuses_writes ? -EIO : 0;
    }
    if (region != 7 || offset + width > sizeof card->space) return -EINVAL;
    // Of the rest only the command register and base addresses can be written.
    if (offset == 4) put(card, 4, value & 0x7, 1);
    if (offset >= 0x10 && offset < 0x28) put(card, (uint32_t)offset, value, width);
    int32_t change = irqmux_intx_registers_write(&card->line, offset, width, value);
    follow(card, change);
    return change < 0 ? change : 0;
}

static int32_t card_size(void *context, uint32_t region, uint64_t *bytes) {
    const uint64_t sizes[] = {0x100, 0, 0, 0, 0x1000, 0, 0, 256, 0};
    if (((struct card *)context)->silent) return -EIO;
    if (region > 8) return -EINVAL;
    *bytes = sizes[region];
    return 0;
}

static int32_t card_reset(void *context) {
    struct card *card = context;
    card->resets++;
    put(card, 4, 0, 2);
    card->line.disabled = 0;
    follow(card, irqmux_intx_registers_assert(&card->line, 0));
    return 0;
}

irqmux_device_ops card_ops(void) {
    irqmux_device_ops ops = board_ops();
    ops.read_region = card_read;
    ops.write_region = card_write;
    ops.region_size = card_size;
    ops.reset = card_reset;
    return ops;
}

void card_init(struct card *card) {
    memset(card, 0, sizeof *card);
    board_init(&card->board);
    card->line = (irqmux_intx_registers){.size = sizeof card->line, .pin = 1, .line = 0xff};
    put(card, 0x00, 0x49511234, 4);
    put(card, 0x06, 0x10, 2); // there are capabilities
    put(card, 0x34, CARD_MSI, 1);
    // MSI: four vectors, 64 bits, maskable. PCI Express 2 with a function-level reset. MSI-X: four vectors.
    put(card, CARD_MSI, 0x05 | CARD_EXPRESS << 8 | 0x0184 << 16, 4);
    put(card, CARD_EXPRESS, 0x10 | CARD_MSIX << 8 | 0x02 << 16, 4);
    put(card, CARD_EXPRESS + 4, 1 << 28, 4);
    put(card, CARD_MSIX, 0x11 | (CARD_VECTORS - 1) << 16, 4);
    put(card, CARD_MSIX + 4, 4, 4);
    put(card, CARD_MSIX + 8, 4 | CARD_PENDING, 4);
}

void card_assert(struct card *card, bool high) { follow(card, irqmux_intx_registers_assert(&card->line, high)); }

void make_carded(struct carded *carded, bool has_irqchip) {
    memset(carded, 0, sizeof *carded);
    carded->mux = mux_of(0, tally_handler, &carded->tally);
    card_init(&carded->card);
    irqmux_device_ops ops = card_ops();
    EQUAL(irqmux_device_attach(carded->mux, &ops, &carded->card, &carded->device), 0);
    carded->machine = make_machine(has_irqchip);
    uint32_t table = has_irqchip ? IRQMUX_TABLE_IRQCHIP : IRQMUX_TABLE_EMPTY;
    EQUAL(irqmux_guest_attach(carded->mux, carded->machine, table), 0);
}

void end_carded(struct carded *carded) {
    EQUAL(irqmux_mux_destroy(carded->mux), 0);
    EQUAL(carded->card.board.released, 1);
    close(carded->machine);
}

static void drive(void *context, uint32_t gsi, uint32_t high) {
    struct carded *carded = context;
    EQUAL(gsi, 5);
    carded->high = high;
    carded->drives++;
}

irqmux_intx_service user_eoi(struct carded *carded) {
    irqmux_intx_service service = {
        .size = sizeof service, .way = IRQMUX_WAY_USER_EOI, .flags = IRQMUX_INTX_HAS_PIN, .gsi = 5, .drive = drive,
        .context = carded};
    return service;
}

irqmux_function serve_card(struct carded *carded, const irqmux_intx_service *line) {
    irqmux_function_config config = {.size = sizeof config, .line = line};
    irqmux_function function = {0};
    EQUAL(irqmux_function_serve(carded->mux, carded->device, &config, &function), 0);
    return function;
}

uint64_t config_of_function(irqmux_mux mux, irqmux_function function, uint64_t offset, uint32_t width) {
    uint64_t value = 0;
    EQUAL(irqmux_function_config_read(mux, function, offset, width, &value), 0);
    return value;
}

uint64_t region_of_function(irqmux_mux mux, irqmux_function function, uint32_t bar, uint64_t offset, uint32_t width) {
    uint64_t value = 0;
    EQUAL(irqmux_function_region_read(mux, function, bar, offset, width, &value), 0);
    return value;
}

void open_entry(irqmux_mux mux, irqmux_function function, uint32_t entry, uint32_t data, uint32_t control) {
    EQUAL(irqmux_function_region_write(mux, function, 4, entry * 16, 8, 0xfee00000), 0);
    EQUAL(irqmux_function_region_write(mux, function, 4, entry * 16 + 8, 4, data), 0);
    EQUAL(irqmux_function_region_write(mux, function, 4, entry * 16 + 12, 4, control), 0);
}
