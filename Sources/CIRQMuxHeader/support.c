#define _GNU_SOURCE
#include "irqmux.h"
#include "irqmux_support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// The words that `InterruptRecord` in Sources/IRQMux has, in its order: interrupts are written by the mux itself.
_Static_assert(offsetof(irqmux_event, vector) == 8 && offsetof(irqmux_event, tag) == 16, "as InterruptRecord");
_Static_assert(offsetof(irqmux_event, count) == 24 && offsetof(irqmux_event, ticks) == 32, "as InterruptRecord");
_Static_assert(offsetof(irqmux_event, index) == 40 && offsetof(irqmux_event, number) == 44, "as InterruptRecord");

// Initial-exec, because the general model calls __tls_get_addr, which may allocate.
static _Thread_local __attribute__((tls_model("initial-exec"))) struct irqmux_last_error last = {0, 0, "", ""};

int32_t irqmux_fail(int32_t number, uint32_t available, const char *operation, const char *remedy) {
    last = (struct irqmux_last_error){number, available, operation, remedy};
    return number;
}

struct irqmux_last_error irqmux_failed(void) { return last; }

// ---- Structs of other versions

// Nobody's struct is longer than a page; a size beyond it is a word that was never set.
enum { longest_struct = 4096 };

static uint32_t size_of(const void *caller) {
    uint32_t size;
    memcpy(&size, caller, sizeof size);
    return size;
}

int irqmux_take_struct(void *to, size_t known, size_t least, const void *from) {
    memset(to, 0, known);
    if (!from) return -EINVAL;
    uint32_t size = size_of(from);
    if (size < least) return -EINVAL;
    if (size > longest_struct) return -E2BIG;
    for (size_t at = known; at < size; at++)
        if (((const unsigned char *)from)[at]) return -E2BIG;
    memcpy(to, from, size < known ? size : known);
    return 0;
}

int irqmux_give_struct(void *to, size_t known, size_t least, const void *from) {
    if (!to) return -EINVAL;
    uint32_t size = size_of(to);
    if (size < least) return -EINVAL;
    if (size > longest_struct) return -E2BIG;
    size_t copied = size < known ? size : known;
    memcpy((char *)to + sizeof size, (const char *)from + sizeof size, copied - sizeof size);
    if (size > known) memset((char *)to + known, 0, size - known);
    return 0;
}

// ---- Fork

// A word that the kernel zeroes in a forked child (MADV_WIPEONFORK, Linux 4.14), by whatever call it was forked. Where
// the kernel cannot, the child is not recognised, and its use of its parent's handles is not refused.
static _Atomic(_Atomic uint64_t *) parent_mark;
static _Atomic uint64_t process_epoch = 1;

static _Atomic uint64_t *mark(void) {
    _Atomic uint64_t *page = atomic_load_explicit(&parent_mark, memory_order_acquire);
    if (page) return page;
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return NULL;
    madvise(page, 4096, MADV_WIPEONFORK);
    atomic_store_explicit(page, 1, memory_order_relaxed);
    _Atomic uint64_t *before = NULL;
    if (atomic_compare_exchange_strong(&parent_mark, &before, page)) return page;
    munmap(page, 4096);
    return before;
}

// The epoch of this process. A child has one thread when it comes here first.
static uint64_t epoch(void) {
    _Atomic uint64_t *page = mark();
    if (page && atomic_load_explicit(page, memory_order_relaxed) == 0) {
        atomic_fetch_add(&process_epoch, 1);
        atomic_store(page, 1);
    }
    return atomic_load_explicit(&process_epoch, memory_order_relaxed);
}

// ---- Handles

static struct irqmux_slot mux_slots[256];
static struct irqmux_table muxes = {256, mux_slots};

struct irqmux_table *irqmux_muxes(void) { return &muxes; }

struct irqmux_table *irqmux_table_make(uint32_t count) {
    size_t size = sizeof(struct irqmux_table) + count * sizeof(struct irqmux_slot);
    struct irqmux_table *table = malloc(size);
    if (!table) return NULL;
    memset(table, 0, size);
    table->count = count;
    table->slots = (struct irqmux_slot *)(table + 1);
    return table;
}

void irqmux_table_free(struct irqmux_table *table) { free(table); }

static const uint64_t open_bit = 1, user = 2, users_mask = 0xfffffffe;

void *irqmux_table_object(struct irqmux_table *table, uint32_t index) {
    struct irqmux_slot *slot = &table->slots[index];
    return atomic_load_explicit(&slot->state, memory_order_acquire) & open_bit ? slot->object : NULL;
}

static struct irqmux_slot *place(struct irqmux_table *table, uint64_t bits) {
    uint32_t index = (uint32_t)bits - 1;
    return index < table->count ? &table->slots[index] : NULL;
}

// A place is taken by giving it a user who has not opened it yet.
uint64_t irqmux_handle_open(struct irqmux_table *table, void *object, uint64_t owner) {
    for (uint32_t index = 0; index < table->count; index++) {
        struct irqmux_slot *slot = &table->slots[index];
        uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);
        if (state & (open_bit | users_mask)) continue;
        uint64_t taken = (state & ~(uint64_t)0xffffffff) + ((uint64_t)1 << 32) + user;
        if (!atomic_compare_exchange_strong(&slot->state, &state, taken)) continue;
        slot->object = object;
        atomic_store(&slot->owner, owner);
        atomic_store(&slot->epoch, epoch());
        atomic_store_explicit(&slot->state, taken - user + open_bit, memory_order_release);
        return (taken & ~(uint64_t)0xffffffff) | (index + 1);
    }
    return 0;
}

void irqmux_handle_own(struct irqmux_table *table, uint64_t bits, uint64_t owner) {
    struct irqmux_slot *slot = place(table, bits);
    if (slot) atomic_store(&slot->owner, owner);
}

int irqmux_handle_enter(struct irqmux_table *table, uint64_t bits, uint64_t thread, void **object) {
    if (bits == 0) return -EINVAL;
    struct irqmux_slot *slot = place(table, bits);
    if (!slot) return -EBADF;
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_acquire);
    if (state >> 32 != bits >> 32 || !(state & open_bit)) return -EBADF;
    if (atomic_load_explicit(&slot->epoch, memory_order_relaxed) != epoch()) return -EPERM;
    if (atomic_load_explicit(&slot->owner, memory_order_relaxed) == thread) {
        *object = slot->object;
        return 0;
    }
    while (!atomic_compare_exchange_weak_explicit(
        &slot->state, &state, state + user, memory_order_acquire, memory_order_relaxed))
        if (state >> 32 != bits >> 32 || !(state & open_bit)) return -EBADF;
    *object = slot->object;
    return 1;
}

void irqmux_handle_leave(struct irqmux_table *table, uint64_t bits) {
    atomic_fetch_sub_explicit(&place(table, bits)->state, user, memory_order_release);
}

int irqmux_handle_close(struct irqmux_table *table, uint64_t bits) {
    struct irqmux_slot *slot = place(table, bits);
    if (!slot) return -EBADF;
    uint64_t state = atomic_load(&slot->state);
    do {
        if (state >> 32 != bits >> 32 || !(state & open_bit)) return -EBADF;
    } while (!atomic_compare_exchange_weak(&slot->state, &state, (state & ~open_bit) + user));
    return 0;
}

void irqmux_handle_retire(struct irqmux_table *table, uint64_t bits) {
    struct irqmux_slot *slot = place(table, bits);
    if (!slot) return;
    // The closer is a user himself, so that nobody takes the place before this.
    while ((atomic_load_explicit(&slot->state, memory_order_acquire) & users_mask) != user) {
        struct timespec moment = {0, 20000};
        nanosleep(&moment, NULL);
    }
    slot->object = NULL;
    atomic_fetch_sub_explicit(&slot->state, user, memory_order_release);
}

// ---- Surroundings

void irqmux_signals_block(sigset_t *before) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, before);
}

void irqmux_signals_restore(const sigset_t *before) { pthread_sigmask(SIG_SETMASK, before, NULL); }

int64_t irqmux_count_descriptors(void) {
    int folder = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return -errno;
    // struct linux_dirent64: inode 8, offset 8, length 2, type 1, name. Read without opendir, which allocates.
    _Alignas(8) char entries[2048];
    int64_t count = 0;
    long length;
    while ((length = syscall(SYS_getdents64, folder, entries, sizeof entries)) > 0)
        for (long at = 0; at < length;) {
            uint16_t step;
            memcpy(&step, entries + at + 16, sizeof step);
            if (entries[at + 19] != '.') count++;
            at += step;
        }
    int error = errno;
    close(folder);
    return length < 0 ? -error : count - 1;
}

uint64_t irqmux_descriptor_limit(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) < 0 ? 0 : (uint64_t)limit.rlim_cur;
}

uint64_t irqmux_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

const char *irqmux_version_text(void) { return "0.1.0"; }
