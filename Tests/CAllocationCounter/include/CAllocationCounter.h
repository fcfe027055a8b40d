// Counts what one thread allocates, so that a test can say "nothing".
//
// Linked into an executable, this target defines malloc and its kin and hands each call on to glibc's own under its
// second name (__libc_malloc, …). The dynamic linker then binds every library of the process, Swift's runtime among
// them, to these.
#ifndef IRQMUX_CALLOCATIONCOUNTER_H
#define IRQMUX_CALLOCATIONCOUNTER_H

#include <stdbool.h>
#include <stdint.h>

/// How often the calling thread has asked for memory since it began.
uint64_t irqmux_allocations_on_this_thread(void);

/// How often the calling thread has given memory back since it began; `free(NULL)` does not count.
uint64_t irqmux_frees_on_this_thread(void);

/// Bytes that are allocated now, by all threads, with what the allocator itself needs for them.
uint64_t irqmux_heap_bytes_in_use(void);

/// Whether allocations are counted: not under a sanitizer, which stands in for malloc itself.
bool irqmux_allocations_are_counted(void);

#endif
