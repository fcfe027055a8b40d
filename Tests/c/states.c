// A function's saved state: messages and INTx in one. On a real /dev/kvm.
#include "card.h"

static uint64_t save(struct carded *at, uint8_t *state, uint64_t capacity) {
    uint64_t length = 0;
    EQUAL(irqmux_state_save(at->mux, at->device, NULL, 0, &length), 0);
    CHECK(length > 64 && length <= capacity);
    EQUAL(irqmux_state_save(at->mux, at->device, state, capacity, &length), 0);
    return length;
}

static void of_messages(void) {
    struct carded at, other;
    uint8_t state[4096];
    make_carded(&at, true);
    make_carded(&other, true);
    irqmux_intx_service line = user_eoi(&at), other_line = user_eoi(&other);
    irqmux_function function = serve_card(&at, &line), theirs = serve_card(&other, &other_line);
    EQUAL(irqmux_function_config_write(at.mux, function, CARD_MSIX + 2, 2, 0x8000), 0);
    open_entry(at.mux, function, 2, 0x42, 1);
    // In use once, so that what is raised under its mask is known.
    open_entry(at.mux, function, 2, 0x42, 0);
    open_entry(at.mux, function, 2, 0x42, 1);
    board_raise(&at.card.board, IRQMUX_MSIX, 2);
    CHECK(drain(at.mux) >= 0);
    uint64_t length = save(&at, state, sizeof state);
    EQUAL(irqmux_state_load(other.mux, other.device, state, length), 0);
    EQUAL(other.card.board.eventfds[IRQMUX_INTX][0], -1);
    EQUAL(config_of_function(other.mux, theirs, CARD_MSIX + 2, 2), 0x8003);
    EQUAL(region_of_function(other.mux, theirs, 4, 32 + 8, 4), 0x42);
    EQUAL(region_of_function(other.mux, theirs, 4, CARD_PENDING, 8), 4);
    FAILS(irqmux_state_load(other.mux, other.device, state, length), EBUSY);
    EQUAL(irqmux_functions_reset(other.mux, &theirs, 1, NULL, NULL), 0);
    state[40] ^= 1;
    FAILS(irqmux_state_load(other.mux, other.device, state, length), EINVAL);
    CHECK(other.card.board.eventfds[IRQMUX_INTX][0] >= 0);
    end_carded(&other);
    end_carded(&at);
}

static void of_a_line(void) {
    struct carded at, other, messages;
    uint8_t state[4096];
    make_carded(&at, true);
    make_carded(&other, true);
    make_carded(&messages, true);
    irqmux_intx_service line = user_eoi(&at), other_line = user_eoi(&other);
    irqmux_function function = serve_card(&at, &line), theirs = serve_card(&other, &other_line);
    EQUAL(irqmux_function_config_write(at.mux, function, 0x3c, 1, 11), 0);
    card_assert(&at.card, true);
    CHECK(drain(at.mux) >= 0);
    CHECK(at.high);
    uint64_t length = save(&at, state, sizeof state);
    // The level is the device's; what was in service is so here, and the pin is high.
    EQUAL(irqmux_state_load(other.mux, other.device, state, length), 0);
    CHECK(drain(other.mux) >= 0);
    CHECK(other.high);
    EQUAL(config_of_function(other.mux, theirs, 0x3c, 1), 11);
    // Where messages alone are served, nobody would serve the line.
    irqmux_messages_config served = {.size = sizeof served, .index = IRQMUX_MSIX, .vectors = CARD_VECTORS};
    EQUAL(irqmux_messages_serve(messages.mux, messages.device, &served), 0);
    served = (irqmux_messages_config){
        .size = sizeof served, .index = IRQMUX_MSI, .vectors = 4, .next = CARD_EXPRESS,
        .flags = IRQMUX_MSI_64BIT | IRQMUX_MSI_MASKABLE};
    EQUAL(irqmux_messages_serve(messages.mux, messages.device, &served), 0);
    FAILS(irqmux_state_load(messages.mux, messages.device, state, length), EINVAL);
    irqmux_error error = {.size = sizeof error};
    irqmux_error_read(&error);
    CHECK(strstr(error.remedy, "irqmux_function_serve"));
    end_carded(&messages);
    end_carded(&other);
    end_carded(&at);
}

const struct test function_state_tests[] = {
    {"a function's state is saved and loaded: its table, its pending bits, and no line while messages are on",
     of_messages, false},
    {"a function's INTx is saved and loaded, and refused where messages alone are served", of_a_line, false},
    {NULL, NULL, false},
};
