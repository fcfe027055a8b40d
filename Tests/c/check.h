// What the C tests share: counting, a name for each test, and a device of the tests' own.
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "irqmux.h"

#if IRQMUX_ABI_VERSION != 1u
#error "these tests are for version 1 of the ABI"
#endif

extern int failures;

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))
#define EQUAL(got, wanted) check_equal(__FILE__, __LINE__, #got, (int64_t)(got), (int64_t)(wanted))
// A call fails with this errno, and irqmux_error_read tells it with a text.
#define FAILS(call, number) check_fails(__FILE__, __LINE__, #call, (call), (number))

void check_failed(const char *file, int line, const char *text);
void check_equal(const char *file, int line, const char *text, int64_t got, int64_t wanted);
void check_fails(const char *file, int line, const char *text, int32_t result, int number);

// A test's name says what holds.
struct test {
    const char *name;
    void (*run)(void);
    bool has_company; // another thread or process is at work beside it
};

extern const struct test library_tests[], running_tests[], vector_tests[], device_tests[], guest_tests[];
extern const struct test message_tests[], misuse_tests[], error_tests[];
extern const struct test guest_error_tests[], budget_tests[], kind_tests[], guest_kind_tests[];
extern const struct test space_tests[], function_tests[], function_state_tests[], shortcut_tests[];

// Whether /dev/kvm opens; the tests that need it are skipped, loudly, where not.
bool has_kvm(void);

// A virtual machine without processors; with the kernel's PIC and IOAPIC, or split.
int make_machine(bool has_irqchip);

// How many descriptors this process has open.
uint32_t open_descriptors(void);

// A route of a message to the first processor.
irqmux_gsi_route message(uint32_t data);

// The tier that muxes of this run are made with at best: 0, or what --tier says.
extern uint32_t best_tier;

// A config with its size and tier set and everything else zero.
irqmux_mux_config config_of(uint32_t flags, irqmux_handler handler, void *context);

// A mux of such a config.
irqmux_mux mux_of(uint32_t flags, irqmux_handler handler, void *context);

// Every call that takes a mux, with arguments that are fine otherwise; the first `mux_thread_calls` are for its thread.
enum { all_calls = 80, mux_thread_calls = 73 };
int32_t call(int which, irqmux_mux mux, irqmux_device device, irqmux_vector vector);

// Counts what a handler was given, by kind.
struct tally {
    uint32_t kinds[8];
    uint64_t count;
    irqmux_event last;
    irqmux_mux mux;
    // Called from within the handler, if set.
    void (*within)(struct tally *tally);
    void *context;
    int32_t results[8];
};

void tally_handler(void *context, irqmux_mux mux, const irqmux_event *event);

enum { BOARD_VECTORS = 64 };

// A device whose vectors are raised by writing the eventfds that it was assigned.
struct board {
    int32_t eventfds[5][BOARD_VECTORS];
    uint64_t raised[5][BOARD_VECTORS];
    uint32_t sets, released;
    int32_t refuse;      // what set_irqs answers next,
    bool refuses;        // or to all until it is taken back
    bool line, masked;   // INTx: asserted, masked by itself or by request
    int32_t unmask;      // INTx: the eventfd that unmasks
    uint64_t signalled;  // when it signalled last, CLOCK_MONOTONIC
    void (*within)(void *context); // called from within the next set_irqs
    void *context;
};

irqmux_device_ops board_ops(void);
void board_init(struct board *board);
void board_raise(struct board *board, uint32_t index, uint32_t number);
void board_assert(struct board *board, bool high);

// Makes a mux and attaches a board, connects the first `count` MSI-X vectors.
void connect_board(irqmux_mux mux, struct board *board, irqmux_device *device, uint32_t count, irqmux_vector *vectors);

// Hands out until nothing comes any more; how many events.
int32_t drain(irqmux_mux mux);

#endif
