// A guest's MSI-X and MSI: registers, saved states, what is refused. On a real /dev/kvm.
#include "check.h"

static void write_entry(irqmux_mux mux, irqmux_device device, uint32_t entry, uint32_t data, uint32_t control) {
    EQUAL(irqmux_messages_write(mux, device, IRQMUX_AREA_TABLE, entry * 16, 8, 0xfee00000), 0);
    EQUAL(irqmux_messages_write(mux, device, IRQMUX_AREA_TABLE, entry * 16 + 8, 4, data), 0);
    EQUAL(irqmux_messages_write(mux, device, IRQMUX_AREA_TABLE, entry * 16 + 12, 4, control), 0);
}

static uint64_t read_area(irqmux_mux mux, irqmux_device device, uint32_t area, uint64_t offset, uint32_t width) {
    uint64_t value = 0;
    EQUAL(irqmux_messages_read(mux, device, area, offset, width, &value), 0);
    return value;
}

static void messages(void) {
    struct tally tally = {0};
    irqmux_mux mux = mux_of(0, tally_handler, &tally);
    struct board board;
    irqmux_device device;
    connect_board(mux, &board, &device, 0, NULL);
    int machine = make_machine(true);
    EQUAL(irqmux_guest_attach(mux, machine, IRQMUX_TABLE_IRQCHIP), 0);
    irqmux_messages_config served = {.size = sizeof served, .index = IRQMUX_MSIX, .vectors = 4};
    uint64_t value;
    FAILS(irqmux_messages_read(mux, device, IRQMUX_AREA_TABLE, 0, 4, &value), ENODATA);
    served.index = IRQMUX_INTX;
    FAILS(irqmux_messages_serve(mux, device, &served), EINVAL);
    served.index = IRQMUX_MSIX;
    EQUAL(irqmux_messages_serve(mux, device, &served), 0);
    FAILS(irqmux_messages_serve(mux, device, &served), EBUSY);
    // As after a reset: everything masked, off, four vectors.
    EQUAL(read_area(mux, device, IRQMUX_AREA_CONTROL, 0, 2), 3);
    EQUAL(read_area(mux, device, IRQMUX_AREA_TABLE, 12, 4), 1);
    irqmux_vector vector;
    FAILS(irqmux_messages_vector(mux, device, IRQMUX_MSIX, 1, &vector), ENOENT);

    // The guest enables MSI-X and opens vector 1.
    EQUAL(irqmux_messages_write(mux, device, IRQMUX_AREA_CONTROL, 0, 2, 0x8000), 0);
    write_entry(mux, device, 1, 0x41, 0);
    CHECK(board.eventfds[IRQMUX_MSIX][1] >= 0);
    EQUAL(irqmux_messages_vector(mux, device, IRQMUX_MSIX, 1, &vector), 0);
    board_raise(&board, IRQMUX_MSIX, 1);
    CHECK(drain(mux) >= 0);
    EQUAL(tally.kinds[IRQMUX_EVENT_INTERRUPT], 0);
    // Masked, it pends; opened, it does not.
    EQUAL(irqmux_messages_write(mux, device, IRQMUX_AREA_TABLE, 16 + 12, 4, 1), 0);
    board_raise(&board, IRQMUX_MSIX, 1);
    CHECK(drain(mux) >= 0);
    EQUAL(read_area(mux, device, IRQMUX_AREA_PENDING, 0, 8), 2);

    // Saved, reset, loaded: the registers and the pending bit are back.
    uint64_t length = 0;
    EQUAL(irqmux_state_save(mux, device, NULL, 0, &length), 0);
    CHECK(length > 64 && length < 4096);
    uint8_t state[4096];
    FAILS(irqmux_state_save(mux, device, state, 10, &length), ENOBUFS);
    EQUAL(irqmux_state_save(mux, device, state, sizeof state, &length), 0);
    FAILS(irqmux_state_load(mux, device, state, length), EBUSY);
    EQUAL(irqmux_messages_do(mux, device, IRQMUX_MSIX, IRQMUX_MESSAGES_RESET), 0);
    EQUAL(read_area(mux, device, IRQMUX_AREA_CONTROL, 0, 2), 3);
    CHECK(drain(mux) >= 0);
    state[20] ^= 0xff;
    FAILS(irqmux_state_load(mux, device, state, length), EINVAL);
    state[20] ^= 0xff;
    FAILS(irqmux_state_load(mux, device, state, length - 1), EINVAL);
    EQUAL(irqmux_state_load(mux, device, state, length), 0);
    EQUAL(read_area(mux, device, IRQMUX_AREA_CONTROL, 0, 2), 0x8003);
    EQUAL(read_area(mux, device, IRQMUX_AREA_PENDING, 0, 8), 2);
    EQUAL(read_area(mux, device, IRQMUX_AREA_TABLE, 16 + 8, 4), 0x41);

    irqmux_messages_report report = {.size = sizeof report, .index = IRQMUX_MSIX};
    EQUAL(irqmux_messages_report_read(mux, device, &report), 0);
    EQUAL(report.enabled, 1);
    EQUAL(report.refusals, 0);
    report.index = IRQMUX_MSI;
    FAILS(irqmux_messages_report_read(mux, device, &report), ENODATA);
    FAILS(irqmux_messages_read(mux, device, IRQMUX_AREA_MSI, 0, 4, &value), ENODATA);
    FAILS(irqmux_messages_read(mux, device, 9, 0, 4, &value), EINVAL);
    FAILS(irqmux_messages_do(mux, device, IRQMUX_MSIX, 9), EINVAL);
    // PCI leaves a misaligned read open: all ones.
    EQUAL(read_area(mux, device, IRQMUX_AREA_TABLE, 3, 4), 0xffffffff);
    irqmux_ledger ledger = {.size = sizeof ledger};
    EQUAL(irqmux_device_detach(mux, device, &ledger), 0);
    EQUAL(ledger.unexplained, 0);
    FAILS(irqmux_messages_read(mux, device, IRQMUX_AREA_TABLE, 0, 4, &value), EBADF);
    EQUAL(irqmux_mux_destroy(mux), 0);
    close(machine);
}

static void msi(void) {
    irqmux_mux mux = mux_of(0, NULL, NULL);
    struct board board;
    irqmux_device device;
    connect_board(mux, &board, &device, 0, NULL);
    int machine = make_machine(true);
    EQUAL(irqmux_guest_attach(mux, machine, IRQMUX_TABLE_IRQCHIP), 0);
    irqmux_messages_config served = {
        .size = sizeof served, .index = IRQMUX_MSI, .vectors = 4, .flags = IRQMUX_MSI_64BIT | IRQMUX_MSI_MASKABLE};
    served.vectors = 3;
    FAILS(irqmux_messages_serve(mux, device, &served), EINVAL);
    served.vectors = 4;
    EQUAL(irqmux_messages_serve(mux, device, &served), 0);
    EQUAL(read_area(mux, device, IRQMUX_AREA_MSI, 0, 1), 5);
    EQUAL(irqmux_messages_write(mux, device, IRQMUX_AREA_MSI, 4, 4, 0xfee00000), 0);
    EQUAL(irqmux_messages_write(mux, device, IRQMUX_AREA_MSI, 12, 2, 0x40), 0);
    // Two vectors, enabled.
    EQUAL(irqmux_messages_write(mux, device, IRQMUX_AREA_MSI, 2, 2, 1 | 1 << 4), 0);
    CHECK(board.eventfds[IRQMUX_MSI][0] >= 0 && board.eventfds[IRQMUX_MSI][1] >= 0);
    EQUAL(board.eventfds[IRQMUX_MSI][2], -1);
    EQUAL(irqmux_messages_do(mux, device, IRQMUX_MSI, IRQMUX_MESSAGES_RESET), 0);
    EQUAL(board.eventfds[IRQMUX_MSI][0], -1);
    EQUAL(irqmux_mux_destroy(mux), 0);
    close(machine);
}

// A guest of whom both MSI-X and MSI are served.
struct both {
    irqmux_mux mux;
    struct board board;
    irqmux_device device;
    int machine;
};

static void make_both(struct both *both, uint32_t next) {
    both->mux = mux_of(0, NULL, NULL);
    connect_board(both->mux, &both->board, &both->device, 0, NULL);
    both->machine = make_machine(true);
    EQUAL(irqmux_guest_attach(both->mux, both->machine, IRQMUX_TABLE_IRQCHIP), 0);
    irqmux_messages_config served = {.size = sizeof served, .index = IRQMUX_MSIX, .vectors = 4};
    EQUAL(irqmux_messages_serve(both->mux, both->device, &served), 0);
    served = (irqmux_messages_config){
        .size = sizeof served, .index = IRQMUX_MSI, .vectors = 4, .flags = IRQMUX_MSI_64BIT, .next = next};
    EQUAL(irqmux_messages_serve(both->mux, both->device, &served), 0);
}

static void end_both(struct both *both) {
    EQUAL(irqmux_mux_destroy(both->mux), 0);
    close(both->machine);
}

static uint64_t control_of(struct both *both, uint64_t offset, uint32_t width) {
    return read_area(both->mux, both->device, IRQMUX_AREA_CONTROL, offset, width);
}

static void write_control(struct both *both, uint64_t offset, uint32_t width, uint64_t value) {
    EQUAL(irqmux_messages_write(both->mux, both->device, IRQMUX_AREA_CONTROL, offset, width, value), 0);
}

static void control(void) {
    struct both both;
    make_both(&both, 0);
    // A byte to the upper half: enable. Then the function mask with it, and the lower half, which is read-only.
    write_control(&both, 1, 1, 0x80);
    EQUAL(control_of(&both, 0, 2), 0x8003);
    EQUAL(control_of(&both, 0, 1), 0x03);
    EQUAL(control_of(&both, 1, 1), 0x80);
    write_control(&both, 1, 1, 0xc0);
    EQUAL(control_of(&both, 1, 1), 0xc0);
    write_control(&both, 0, 1, 0xff);
    EQUAL(control_of(&both, 0, 2), 0xc003);
    write_control(&both, 0, 2, 0x8000);
    // What PCI does not have, four bytes from the register's first among it, reads ones and is ignored, as what is
    // behind the register.
    const struct { uint64_t offset; uint32_t width; uint64_t ones; } odd[] = {
        {0, 4, 0xffffffff}, {2, 2, 0xffff}, {2, 4, 0xffffffff}, {2, 1, 0xff}, {1, 2, 0xffff}, {0, 3, 0xffffff},
        {0, 8, UINT64_MAX}, {0, 0, 0}, {0, 9, UINT64_MAX}, {0, UINT32_MAX, UINT64_MAX}, {UINT64_MAX, 1, 0xff},
        {UINT64_MAX - 1, 2, 0xffff}, {INT64_MAX, 1, 0xff}, {INT64_MAX - 1, 4, 0xffffffff}};
    for (size_t at = 0; at < sizeof odd / sizeof *odd; at++) {
        write_control(&both, odd[at].offset, odd[at].width, 0);
        EQUAL(control_of(&both, odd[at].offset, odd[at].width), odd[at].ones);
        EQUAL(control_of(&both, 0, 2), 0x8003);
    }
    write_control(&both, 1, 1, 0);
    EQUAL(control_of(&both, 0, 2), 3);
    end_both(&both);
}

static uint64_t save(struct both *both, uint8_t *state) {
    uint64_t length = 0;
    EQUAL(irqmux_state_save(both->mux, both->device, state, 4096, &length), 0);
    return length;
}

static void whole_states(void) {
    struct both both, other;
    uint8_t state[4096], fresh[4096];
    make_both(&both, 0);
    make_both(&other, 0x50);
    // The guest uses MSI-X, and has programmed MSI before.
    EQUAL(irqmux_messages_write(both.mux, both.device, IRQMUX_AREA_MSI, 4, 4, 0xfee00000), 0);
    write_control(&both, 0, 2, 0x8000);
    write_entry(both.mux, both.device, 2, 0x42, 0);
    uint64_t length = save(&both, state);
    // A device that differs in MSI alone takes nothing of it, MSI-X neither.
    FAILS(irqmux_state_load(other.mux, other.device, state, length), EINVAL);
    EQUAL(control_of(&other, 0, 2), 3);
    EQUAL(other.board.sets, 0);
    uint64_t fresh_length = save(&other, fresh);
    EQUAL(irqmux_state_load(other.mux, other.device, fresh, fresh_length), 0);

    // Nor does one whose MSI is in use.
    struct both third;
    make_both(&third, 0);
    EQUAL(irqmux_messages_write(third.mux, third.device, IRQMUX_AREA_MSI, 2, 2, 1), 0);
    uint32_t sets = third.board.sets;
    FAILS(irqmux_state_load(third.mux, third.device, state, length), EBUSY);
    EQUAL(control_of(&third, 0, 2), 3);
    EQUAL(third.board.sets, sets);
    EQUAL(irqmux_messages_do(third.mux, third.device, IRQMUX_MSI, IRQMUX_MESSAGES_RESET), 0);
    EQUAL(irqmux_state_load(third.mux, third.device, state, length), 0);
    EQUAL(control_of(&third, 0, 2), 0x8003);
    EQUAL(read_area(third.mux, third.device, IRQMUX_AREA_TABLE, 2 * 16 + 8, 4), 0x42);
    EQUAL(read_area(third.mux, third.device, IRQMUX_AREA_MSI, 4, 4), 0xfee00000);
    end_both(&third);
    end_both(&other);
    end_both(&both);
}

static void put(uint8_t *bytes, uint64_t value, int count) {
    for (int at = 0; at < count; at++) bytes[at] = (uint8_t)(value >> 8 * at);
}

// Adds INTx to a state, as docs/guest-interrupts.md has it: version 2, a section of kind 5, length and checksum anew.
static uint64_t with_line(uint8_t *state, uint64_t length) {
    // The last section is an account, and the line's is as long.
    uint64_t account = 0;
    for (uint64_t at = 32, step; at < length; at += step) {
        step = 8 + (state[at + 4] | (uint64_t)state[at + 5] << 8);
        account = step - 8;
    }
    uint8_t *section = state + length;
    memset(section, 0, 16 + account);
    put(section, 5, 4);
    put(section + 4, 8 + account, 4);
    section[8] = 1; // pin INTA, not served by anybody
    length += 16 + account;
    put(state + 8, 2, 2);
    put(state + 12, length, 4);
    uint64_t hash = 0xcbf29ce484222325;
    for (uint64_t at = 0; at < length; at++)
        hash = (hash ^ (at >= 24 && at < 32 ? 0 : state[at])) * 0x100000001b3;
    put(state + 24, hash, 8);
    return length;
}

static void line_state(void) {
    struct both both;
    uint8_t state[4096];
    make_both(&both, 0);
    uint64_t length = with_line(state, save(&both, state));
    FAILS(irqmux_state_load(both.mux, both.device, state, length), EINVAL);
    irqmux_error error = {.size = sizeof error};
    irqmux_error_read(&error);
    // It was understood, and is refused for its line.
    CHECK(strstr(error.remedy, "INTx") && !strstr(error.remedy, "contradict"));
    // A damaged line is told as that.
    state[length - 1] ^= 1;
    FAILS(irqmux_state_load(both.mux, both.device, state, length), EINVAL);
    irqmux_error_read(&error);
    CHECK(strstr(error.remedy, "checksum"));
    end_both(&both);
}

static irqmux_messages_report report_of(irqmux_mux mux, irqmux_device device, uint32_t index) {
    irqmux_messages_report report = {.size = sizeof report, .index = index};
    EQUAL(irqmux_messages_report_read(mux, device, &report), 0);
    return report;
}

static void retried_and_repaired(void) {
    struct both both;
    make_both(&both, 0);
    // The host has no vector left for what the guest opens; then it has.
    both.board.refuse = -ENOSPC;
    both.board.refuses = true;
    write_control(&both, 0, 2, 0x8000);
    write_entry(both.mux, both.device, 1, 0x41, 0);
    irqmux_messages_report report = report_of(both.mux, both.device, IRQMUX_MSIX);
    CHECK(report.refusals > 0);
    EQUAL(report.last_error, -ENOSPC);
    irqmux_vector vector;
    FAILS(irqmux_messages_vector(both.mux, both.device, IRQMUX_MSIX, 1, &vector), ENOENT);
    both.board.refuse = 0;
    EQUAL(irqmux_messages_do(both.mux, both.device, IRQMUX_MSIX, IRQMUX_MESSAGES_RETRY), 0);
    EQUAL(irqmux_messages_vector(both.mux, both.device, IRQMUX_MSIX, 1, &vector), 0);
    uint64_t refusals = report.refusals;
    report = report_of(both.mux, both.device, IRQMUX_MSIX);
    EQUAL(report.refusals, refusals);
    // What the refusal may have cost is told by kicks of its own.
    uint64_t kicks = report.kicks;
    int32_t eventfd = both.board.eventfds[IRQMUX_MSIX][1];
    CHECK(eventfd >= 0);

    // Its table was wiped behind VFIO's back: assigned again, and the open vector told once.
    both.board.eventfds[IRQMUX_MSIX][1] = -1;
    EQUAL(irqmux_messages_do(both.mux, both.device, IRQMUX_MSIX, IRQMUX_MESSAGES_REPAIR), 0);
    EQUAL(both.board.eventfds[IRQMUX_MSIX][1], eventfd);
    report = report_of(both.mux, both.device, IRQMUX_MSIX);
    EQUAL(report.repairs, 1);
    EQUAL(report.kicks, kicks + 1);
    // What the device says of a repair is told.
    both.board.refuse = -EIO;
    FAILS(irqmux_messages_do(both.mux, both.device, IRQMUX_MSIX, IRQMUX_MESSAGES_REPAIR), EIO);
    both.board.refuse = 0;
    EQUAL(irqmux_messages_do(both.mux, both.device, IRQMUX_MSIX, IRQMUX_MESSAGES_RESET), 0);
    end_both(&both);
}

// A requester goes with each message where the machine wants one. On x86 KVM takes it with a route, and with an
// injection it does not: the vector's signals go by its route, from its commit on.
static void requester(void) {
    irqmux_mux mux = mux_of(0, NULL, NULL);
    struct board board;
    irqmux_device device;
    connect_board(mux, &board, &device, 0, NULL);
    int machine = make_machine(true);
    EQUAL(irqmux_guest_attach(mux, machine, IRQMUX_TABLE_IRQCHIP), 0);
    irqmux_messages_config served = {
        .size = sizeof served, .index = IRQMUX_MSIX, .vectors = 4, .flags = IRQMUX_MESSAGES_REQUESTER,
        .requester = 0x0108};
    EQUAL(irqmux_messages_serve(mux, device, &served), 0);
    EQUAL(irqmux_messages_write(mux, device, IRQMUX_AREA_CONTROL, 0, 2, 0x8000), 0);
    write_entry(mux, device, 1, 0x41, 0);
    irqmux_vector vector;
    EQUAL(irqmux_messages_vector(mux, device, IRQMUX_MSIX, 1, &vector), 0);
    irqmux_event event = {.size = sizeof event};
    EQUAL(irqmux_mux_wait(mux, 1000000), 0);
    EQUAL(irqmux_mux_next(mux, &event), 0);
    board_raise(&board, IRQMUX_MSIX, 1);
    EQUAL(irqmux_mux_wait(mux, 1000000), 0);
    EQUAL(irqmux_mux_next(mux, &event), 0);
    EQUAL(report_of(mux, device, IRQMUX_MSIX).refusals, 0);
    irqmux_ledger ledger = {.size = sizeof ledger};
    EQUAL(irqmux_ledger_read_vector(mux, vector, &ledger), 0);
    EQUAL(ledger.raised, 1);
    EQUAL(ledger.delivered, 1);
    EQUAL(irqmux_mux_destroy(mux), 0);
    close(machine);
}

const struct test message_tests[] = {
    {"a guest's MSI-X is served by its registers, saved, reset and loaded", messages, false},
    {"a guest's MSI is served by its capability", msi, false},
    {"message control is read and written byte by byte, and odd accesses are ones and ignored", control, false},
    {"a state is loaded as a whole: MSI-X and MSI, or neither", whole_states, false},
    {"what was refused is asked for again, and a table that was wiped is written anew", retried_and_repaired, false},
    {"a device's requester goes with its messages", requester, false},
    {"a state that has INTx is refused, as nobody here would serve it", line_state, false},
    {NULL, NULL, false},
};
