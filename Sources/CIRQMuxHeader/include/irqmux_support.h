// What the C library's Swift side needs and Swift cannot spell: a thread's last error, handles that several threads
// look up while one destroys, structs of other versions, the guard against fork. Not installed.
#ifndef IRQMUX_SUPPORT_H
#define IRQMUX_SUPPORT_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

// ---- The calling thread's last error

struct irqmux_last_error {
    int32_t number; // negated
    uint32_t available;
    const char *operation, *remedy; // static texts
};

// Notes an error; returns its number.
int32_t irqmux_fail(int32_t number, uint32_t available, const char *operation, const char *remedy);
struct irqmux_last_error irqmux_failed(void);

// ---- Structs of other versions

// Copies a caller's struct, whose first word is its size, into one of `known` bytes that is zeroed first. `least` is
// the shortest that is taken. -EINVAL when it is shorter, -E2BIG when what it has beyond `known` is not all zero.
int irqmux_take_struct(void *to, size_t known, size_t least, const void *from);
// Gives a struct back: as much as the caller has room for, and zeros beyond what is known; its size word stays.
int irqmux_give_struct(void *to, size_t known, size_t least, const void *from);

// ---- Handles

// `bits` of a handle: generation in the upper half, place + 1 in the lower. A place's generation changes when what it
// held is closed, so that a late handle is recognised.
struct irqmux_slot {
    _Atomic uint64_t state;  // generation << 32 | users << 1 | open
    _Atomic uint64_t owner;  // the thread (irqmux_this_thread) that needs no pin; 0 for none
    _Atomic uint64_t epoch;  // of the process that made it
    void *object;
};

struct irqmux_table {
    uint32_t count;
    struct irqmux_slot *slots;
};

// The table of all muxes of the process.
struct irqmux_table *irqmux_muxes(void);
// A table of a mux's own; NULL when there is no memory.
struct irqmux_table *irqmux_table_make(uint32_t count);
void irqmux_table_free(struct irqmux_table *table);
// What an open place holds; NULL for a place that is not open.
void *irqmux_table_object(struct irqmux_table *table, uint32_t index);

// A handle for an object; 0 when the table is full.
uint64_t irqmux_handle_open(struct irqmux_table *table, void *object, uint64_t owner);
void irqmux_handle_own(struct irqmux_table *table, uint64_t bits, uint64_t owner);
// 0 with the object when `thread` owns it; 1 when it does not, and then the object is kept until irqmux_handle_leave.
// -EINVAL null, -EBADF closed or nonsense, -EPERM made before a fork.
int irqmux_handle_enter(struct irqmux_table *table, uint64_t bits, uint64_t thread, void **object);
void irqmux_handle_leave(struct irqmux_table *table, uint64_t bits);
// Nobody enters any more. 0, or -EBADF when somebody else has closed it.
int irqmux_handle_close(struct irqmux_table *table, uint64_t bits);
// Waits until everybody has left, and makes the place free.
void irqmux_handle_retire(struct irqmux_table *table, uint64_t bits);

// ---- Surroundings

// Blocks every signal in the calling thread, so that a thread started now takes none; then puts the mask back.
void irqmux_signals_block(sigset_t *before);
void irqmux_signals_restore(const sigset_t *before);

// Descriptors that this process has open, by /proc/self/fd, its own look not counted; or -errno.
int64_t irqmux_count_descriptors(void);
uint64_t irqmux_descriptor_limit(void);

// CLOCK_MONOTONIC.
uint64_t irqmux_now_ns(void);

// A text that outlives everything.
const char *irqmux_version_text(void);

#endif
