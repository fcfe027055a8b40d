#include "CAllocationCounter.h"

#include <errno.h>
#include <malloc.h>
#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

// Initial-exec, because the first access to any other thread-local may itself allocate.
#define THREAD_LOCAL static _Thread_local __attribute__((tls_model("initial-exec")))
THREAD_LOCAL uint64_t allocations;
THREAD_LOCAL uint64_t frees;

uint64_t irqmux_allocations_on_this_thread(void) { return allocations; }
uint64_t irqmux_frees_on_this_thread(void) { return frees; }

uint64_t irqmux_heap_bytes_in_use(void) {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

#ifdef SANITIZED

bool irqmux_allocations_are_counted(void) { return false; }

#else

bool irqmux_allocations_are_counted(void) { return true; }

// glibc's second names: no dlsym, which may allocate before the real malloc is known.
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

void *malloc(size_t size) {
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    allocations++;
    return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
    allocations++;
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    allocations++;
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0) return EINVAL;
    int before = errno;
    allocations++;
    void *block = __libc_memalign(alignment, size);
    errno = before;
    if (block == NULL) return ENOMEM;
    *memory = block;
    return 0;
}

void free(void *memory) {
    if (memory != NULL) frees++;
    __libc_free(memory);
}

#endif
