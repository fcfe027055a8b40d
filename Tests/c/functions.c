// A guest's whole PCI function: configuration space, MSI-X, MSI and INTx in one. On a real /dev/kvm.
#include "card.h"

enum { COMMAND = 0x04, MESSAGE_CONTROL = CARD_MSIX + 2, DEVICE_CONTROL = CARD_EXPRESS + 8 };

static void config_write(irqmux_mux mux, irqmux_function function, uint64_t offset, uint32_t width, uint64_t value) {
    EQUAL(irqmux_function_config_write(mux, function, offset, width, value), 0);
}

static irqmux_function_report report_of(irqmux_mux mux, irqmux_function function) {
    irqmux_function_report report = {.size = sizeof report};
    EQUAL(irqmux_function_report_read(mux, function, &report), 0);
    return report;
}

static void whole(void) {
    struct carded at;
    make_carded(&at, true);
    irqmux_intx_service line = user_eoi(&at);
    irqmux_function function = serve_card(&at, &line);
    int32_t *intx = at.card.board.eventfds[IRQMUX_INTX], *msix = at.card.board.eventfds[IRQMUX_MSIX];
    CHECK(intx[0] >= 0);
    EQUAL(config_of_function(at.mux, function, 0, 4), 0x49511234);
    EQUAL(config_of_function(at.mux, function, 0x3c, 4), 0x01ff);
    // What PCI does not have reads ones and is ignored.
    EQUAL(config_of_function(at.mux, function, 1, 4), 0xffffffff);
    config_write(at.mux, function, 1, 4, 0);
    irqmux_function_report report = report_of(at.mux, function);
    EQUAL(report.messaging, 0);
    EQUAL(report.pin, 1);

    // The guest turns to MSI-X: its line goes, and its vectors come as the table says.
    config_write(at.mux, function, MESSAGE_CONTROL, 2, 0x8000);
    EQUAL(intx[0], -1);
    EQUAL(config_of_function(at.mux, function, MESSAGE_CONTROL, 2), 0x8003);
    open_entry(at.mux, function, 1, 0x41, 0);
    CHECK(msix[1] >= 0);
    EQUAL(region_of_function(at.mux, function, 4, 16 + 8, 4), 0x41);
    irqmux_vector vector;
    EQUAL(irqmux_function_vector(at.mux, function, IRQMUX_MSIX, 1, &vector), 0);
    FAILS(irqmux_function_vector(at.mux, function, IRQMUX_MSIX, 3, &vector), ENOENT);
    FAILS(irqmux_function_vector(at.mux, function, IRQMUX_INTX, 0, &vector), ENOENT);
    FAILS(irqmux_function_vector(at.mux, function, 9, 0, &vector), EINVAL);
    EQUAL(irqmux_function_vector(at.mux, function, IRQMUX_MSIX, 1, &vector), 0);
    // The rest of the BARs is the device's: its register raises.
    EQUAL(irqmux_function_region_write(at.mux, function, 0, 0, 4, 1), 0);
    EQUAL(at.card.written, 1);
    EQUAL(region_of_function(at.mux, function, 0, 0, 4), 1);
    EQUAL(region_of_function(at.mux, function, 0, 0x100, 4), 0xffffffff);
    CHECK(drain(at.mux) >= 0);
    // Masked it pends, and opened it comes.
    EQUAL(irqmux_function_region_write(at.mux, function, 4, 16 + 12, 4, 1), 0);
    EQUAL(irqmux_function_region_write(at.mux, function, 0, 0, 4, 1), 0);
    CHECK(drain(at.mux) >= 0);
    EQUAL(region_of_function(at.mux, function, 4, CARD_PENDING, 8), 2);
    EQUAL(irqmux_function_region_write(at.mux, function, 4, 16 + 12, 4, 0), 0);
    EQUAL(region_of_function(at.mux, function, 4, CARD_PENDING, 8), 0);
    irqmux_ledger ledger = {.size = sizeof ledger};
    EQUAL(irqmux_ledger_read_vector(at.mux, vector, &ledger), 0);
    EQUAL(ledger.raised, 2);
    EQUAL(ledger.delivered, 2);
    EQUAL(ledger.unexplained, 0);
    EQUAL(report_of(at.mux, function).messaging, 1);

    // Back: the line is there again.
    config_write(at.mux, function, MESSAGE_CONTROL, 2, 0);
    CHECK(intx[0] >= 0);
    EQUAL(msix[1], -1);
    EQUAL(at.tally.kinds[IRQMUX_EVENT_INTERRUPT], 0);
    end_carded(&at);
}

static void by_msi(void) {
    struct carded at;
    make_carded(&at, true);
    irqmux_intx_service line = user_eoi(&at);
    irqmux_function function = serve_card(&at, &line);
    EQUAL(config_of_function(at.mux, function, CARD_MSI, 4), 0x05 | CARD_EXPRESS << 8 | 0x0184 << 16);
    config_write(at.mux, function, CARD_MSI + 4, 4, 0xfee00000);
    config_write(at.mux, function, CARD_MSI + 12, 2, 0x40);
    config_write(at.mux, function, CARD_MSI + 2, 2, 1 | 1 << 4);
    EQUAL(at.card.board.eventfds[IRQMUX_INTX][0], -1);
    CHECK(at.card.board.eventfds[IRQMUX_MSI][1] >= 0);
    irqmux_vector vector;
    EQUAL(irqmux_function_vector(at.mux, function, IRQMUX_MSI, 1, &vector), 0);
    // Wiped behind VFIO's back: assigned again, and told once.
    int32_t eventfd = at.card.board.eventfds[IRQMUX_MSI][1];
    at.card.board.eventfds[IRQMUX_MSI][1] = -1;
    EQUAL(irqmux_function_repair(at.mux, function), 0);
    EQUAL(at.card.board.eventfds[IRQMUX_MSI][1], eventfd);
    EQUAL(report_of(at.mux, function).repairs, 1);
    at.card.board.refuse = -EIO;
    FAILS(irqmux_function_repair(at.mux, function), EIO);
    at.card.board.refuse = 0;
    end_carded(&at);
}

static void by_line(void) {
    struct carded at;
    make_carded(&at, true);
    irqmux_intx_service line = user_eoi(&at);
    irqmux_function function = serve_card(&at, &line);
    card_assert(&at.card, true);
    CHECK(drain(at.mux) >= 0);
    CHECK(at.high);
    EQUAL(config_of_function(at.mux, function, 6, 2) & 8, 8);
    // Ended while the device still asserts: it fires again.
    EQUAL(irqmux_intx_end(at.mux, 5), 0);
    CHECK(drain(at.mux) >= 0);
    CHECK(at.high);
    // DisINTx takes it from the pin, and the status bit goes on telling.
    config_write(at.mux, function, COMMAND, 2, 0x406);
    CHECK(!at.high);
    EQUAL(report_of(at.mux, function).disabled, 1);
    EQUAL(config_of_function(at.mux, function, COMMAND, 4), 0x00180406);
    config_write(at.mux, function, COMMAND, 2, 0x006);
    CHECK(drain(at.mux) >= 0);
    card_assert(&at.card, false);
    EQUAL(irqmux_intx_end(at.mux, 5), 0);
    CHECK(drain(at.mux) >= 0);
    CHECK(!at.high);
    irqmux_ledger ledger = {.size = sizeof ledger};
    EQUAL(irqmux_ledger_read_device(at.mux, at.device, &ledger), 0);
    EQUAL(ledger.raised, ledger.delivered);
    EQUAL(ledger.unexplained, 0);
    end_carded(&at);
}

// In the kernel, without a call of anybody: what unmasks is the eventfd that KVM signals at the end of interrupt.
static void resampled(void) {
    struct carded at;
    make_carded(&at, true);
    irqmux_intx_service line = {
        .size = sizeof line, .way = IRQMUX_WAY_KERNEL_RESAMPLE, .gsi = 11, .machine = at.machine};
    irqmux_function function = serve_card(&at, &line);
    CHECK(at.card.board.unmask >= 0);
    irqmux_vector vector;
    EQUAL(irqmux_function_vector(at.mux, function, IRQMUX_INTX, 0, &vector), 0);
    card_assert(&at.card, true);
    EQUAL(drain(at.mux), 0);
    EQUAL(at.card.board.raised[IRQMUX_INTX][0], 1);
    config_write(at.mux, function, MESSAGE_CONTROL, 2, 0x8000);
    EQUAL(at.card.board.eventfds[IRQMUX_INTX][0], -1);
    end_carded(&at);
}

// On a split irqchip ends of interrupt come with the vector that the guest has programmed last.
static void another_vector(void) {
    struct carded at;
    make_carded(&at, false);
    irqmux_intx_service line = {
        .size = sizeof line, .way = IRQMUX_WAY_IOAPIC_BROADCAST, .gsi = 20, .machine = at.machine, .apic_vector = 0x51};
    irqmux_gsi_route pin = message(0x51);
    uint32_t gsi;
    EQUAL(irqmux_gsi_allocate(at.mux, &pin, &gsi), 0);
    EQUAL(irqmux_gsi_commit(at.mux), 1);
    line.gsi = gsi;
    serve_card(&at, &line);
    EQUAL(irqmux_intx_ioapic_eoi(at.mux, 0x51), 1);
    EQUAL(irqmux_intx_set_apic_vector(at.mux, gsi, 0x61), 1);
    EQUAL(irqmux_intx_ioapic_eoi(at.mux, 0x51), 0);
    EQUAL(irqmux_intx_ioapic_eoi(at.mux, 0x61), 1);
    EQUAL(irqmux_intx_set_apic_vector(at.mux, gsi + 1, 0x62), 0);
    FAILS(irqmux_intx_set_apic_vector(at.mux, gsi, 256), EINVAL);
    end_carded(&at);
}

// ---- Resets

static int32_t carried;

static int32_t carry_out(void *context) {
    struct carded *both = context;
    for (int at = 0; at < 2; at++) {
        EQUAL(both[at].card.board.eventfds[IRQMUX_INTX][0], -1);
        EQUAL(both[at].card.board.eventfds[IRQMUX_MSIX][0], -1);
        EQUAL(both[at].card.space[4], 0);
    }
    irqmux_ring ring = {.size = sizeof ring};
    FAILS(irqmux_ring_read(both[0].mux, &ring), EDEADLK);
    carried++;
    return carried == 3 ? -EIO : 0;
}

static void resets(void) {
    static struct carded both[2];
    make_carded(&both[0], true);
    irqmux_mux mux = both[0].mux;
    irqmux_intx_service line = user_eoi(&both[0]);
    irqmux_function functions[3] = {serve_card(&both[0], &line)};
    // The second is on the same mux.
    irqmux_device_ops ops = card_ops();
    card_init(&both[1].card);
    both[1].mux = mux;
    EQUAL(irqmux_device_attach(mux, &ops, &both[1].card, &both[1].device), 0);
    functions[1] = serve_card(&both[1], NULL);
    for (int at = 0; at < 2; at++) {
        config_write(mux, functions[at], COMMAND, 2, 0x6);
        config_write(mux, functions[at], MESSAGE_CONTROL, 2, 0x8000);
        open_entry(mux, functions[at], 0, 0x40, 0);
        CHECK(both[at].card.board.eventfds[IRQMUX_MSIX][0] >= 0);
    }
    // The guest's own, by Device Control.
    config_write(mux, functions[0], DEVICE_CONTROL, 2, 0x8000);
    EQUAL(both[0].card.resets, 1);
    EQUAL(report_of(mux, functions[0]).messaging, 0);
    CHECK(both[0].card.board.eventfds[IRQMUX_INTX][0] >= 0);
    EQUAL(both[0].card.board.eventfds[IRQMUX_MSIX][0], -1);
    // Both with their bus, once, when nothing of either is connected.
    EQUAL(irqmux_functions_reset(mux, functions, 2, carry_out, both), 0);
    EQUAL(carried, 1);
    EQUAL(both[0].card.resets, 1);
    EQUAL(report_of(mux, functions[1]).messaging, 0);
    CHECK(both[0].card.board.eventfds[IRQMUX_INTX][0] >= 0);
    EQUAL(both[1].card.board.eventfds[IRQMUX_INTX][0], -1);
    // Each by its own.
    EQUAL(irqmux_functions_reset(mux, functions, 2, NULL, NULL), 0);
    EQUAL(both[0].card.resets, 2);
    EQUAL(both[1].card.resets, 1);
    // Refused before anything is touched.
    functions[2] = functions[0];
    FAILS(irqmux_functions_reset(mux, functions, 3, carry_out, both), EINVAL);
    FAILS(irqmux_functions_reset(mux, functions, 0, carry_out, both), EINVAL);
    FAILS(irqmux_functions_reset(mux, NULL, 1, carry_out, both), EINVAL);
    functions[2].bits = 99;
    FAILS(irqmux_functions_reset(mux, functions, 3, carry_out, both), EBADF);
    EQUAL(carried, 1);
    EQUAL(irqmux_functions_reset(mux, functions, 2, carry_out, both), 0);
    FAILS(irqmux_functions_reset(mux, functions, 2, carry_out, both), EIO);
    CHECK(both[0].card.board.eventfds[IRQMUX_INTX][0] >= 0);
    end_carded(&both[0]);
}

// ---- Serving and ending

static void served_and_ended(void) {
    struct carded at;
    make_carded(&at, true);
    irqmux_function_config config = {.size = sizeof config};
    irqmux_function function, other;
    FAILS(irqmux_function_serve(at.mux, at.device, &config, NULL), EINVAL);
    FAILS(irqmux_function_serve(at.mux, at.device, NULL, &function), EINVAL);
    config.flags = 4;
    FAILS(irqmux_function_serve(at.mux, at.device, &config, &function), EINVAL);
    config.flags = 0;
    irqmux_intx_service line = {.size = sizeof line, .way = 9};
    config.line = &line;
    FAILS(irqmux_function_serve(at.mux, at.device, &config, &function), EINVAL);
    config.line = NULL;
    // A device that lies, or does not answer, is not served.
    at.card.space[CARD_MSIX + 10] = 1;
    FAILS(irqmux_function_serve(at.mux, at.device, &config, &function), EINVAL);
    card_init(&at.card);
    at.card.silent = true;
    FAILS(irqmux_function_serve(at.mux, at.device, &config, &function), EIO);
    at.card.silent = false;
    EQUAL(irqmux_function_serve(at.mux, at.device, &config, &function), 0);
    FAILS(irqmux_function_serve(at.mux, at.device, &config, &other), EBUSY);
    irqmux_messages_config messages = {.size = sizeof messages, .index = IRQMUX_MSIX};
    FAILS(irqmux_messages_serve(at.mux, at.device, &messages), EBUSY);
    uint64_t value;
    FAILS(irqmux_messages_read(at.mux, at.device, IRQMUX_AREA_TABLE, 0, 4, &value), ENODATA);
    FAILS(irqmux_function_config_read(at.mux, function, 0, 4, NULL), EINVAL);
    FAILS(irqmux_function_region_read(at.mux, function, 0, 0, 4, NULL), EINVAL);
    FAILS(irqmux_function_vector(at.mux, function, IRQMUX_MSIX, 0, NULL), EINVAL);
    FAILS(irqmux_function_report_read(at.mux, function, NULL), EINVAL);
    // What the device says of its configuration space is told.
    FAILS(irqmux_function_config_read(at.mux, function, 0x100, 4, &value), EINVAL);

    // What was refused is asked for again.
    at.card.board.refuse = -ENOSPC;
    at.card.board.refuses = true;
    config_write(at.mux, function, MESSAGE_CONTROL, 2, 0x8000);
    open_entry(at.mux, function, 0, 0x40, 0);
    irqmux_function_report report = report_of(at.mux, function);
    CHECK(report.refusals > 0);
    EQUAL(report.last_error, -ENOSPC);
    at.card.board.refuse = 0;
    EQUAL(irqmux_function_retry(at.mux, function), 0);
    irqmux_vector vector;
    EQUAL(irqmux_function_vector(at.mux, function, IRQMUX_MSIX, 0, &vector), 0);

    // Ended, its vectors are let go, and another one has another handle.
    EQUAL(irqmux_function_end(at.mux, function), 0);
    EQUAL(at.card.board.eventfds[IRQMUX_MSIX][0], -1);
    EQUAL(at.card.resets, 0);
    FAILS(irqmux_function_end(at.mux, function), EBADF);
    line = user_eoi(&at);
    config.line = &line;
    EQUAL(irqmux_function_serve(at.mux, at.device, &config, &other), 0);
    FAILS(irqmux_function_retry(at.mux, function), EBADF);
    EQUAL(irqmux_function_end(at.mux, other), 0);
    EQUAL(at.card.board.eventfds[IRQMUX_INTX][0], -1);
    EQUAL(irqmux_function_serve(at.mux, at.device, &config, &other), 0);
    irqmux_ledger ledger = {.size = sizeof ledger};
    EQUAL(irqmux_device_detach(at.mux, at.device, &ledger), 0);
    EQUAL(ledger.unexplained, 0);
    FAILS(irqmux_function_retry(at.mux, other), EBADF);
    end_carded(&at);
}

const struct test function_tests[] = {
    {"a function is served: MSI-X by its table, INTx while messages are off, the rest by the device", whole, false},
    {"a function's MSI is served by configuration space, and repaired", by_msi, false},
    {"a function's INTx follows its level, DisINTx and the end of interrupt", by_line, false},
    {"a function's INTx is resampled in the kernel", resampled, false},
    {"another vector of the IOAPIC's pin ends the interrupt from then on", another_vector, false},
    {"functions are reset by their guest, by themselves, or once for all of them", resets, false},
    {"a function is served once, refused with a text, and ended with its device or before", served_and_ended, false},
    {NULL, NULL, false},
};
