// irqmux: an interrupt router and eventfd multiplexer for Linux, as a C library.
//
// One archive (libirqmux.a: needs libc and liburing) or one shared library (libirqmux.so) behind this one header;
// pkg-config knows both as "irqmux". docs/c-abi.md has the rules at length, and the system calls of each feature.
//
// RULES THAT HOLD FOR EVERY CALL
// - Result: 0, or a count where that is said, or a negated errno. After a negative result irqmux_error_read tells the
//   operation and a remedy, for the calling thread.
// - Every handle is a number with a generation. A null handle (bits 0) is -EINVAL, one that was destroyed is -EBADF.
//   A null pointer where one is needed is -EINVAL.
// - Every struct that has a `size` wants sizeof of it there. Zero everywhere else is the default. A smaller one, of an
//   older header, is completed with zeros; a larger one, of a newer header, is taken when all it has more is zero, and
//   is -E2BIG when not.
// - Threads. "mux": on the mux's thread; on another thread it is carried out by the mux's thread while the caller
//   waits, where the mux was made with IRQMUX_OWN_THREAD or IRQMUX_ANY_THREAD, and is -EPERM elsewhere.
//   "any": on any thread at any time.
// - Blocks: "no" is a few system calls at most that never wait. "mux" waits for the mux's thread where it is another
//   one; then -EAGAIN when that thread is not serving, and -ECANCELED when it has ended.
// - After fork, the child may use none of the parent's handles: they are -EPERM there. It may make its own.
// - Nothing is ever written to stdout or stderr, no signal's disposition or mask is changed, and no thread is started
//   unless IRQMUX_OWN_THREAD asks for it; that one blocks every signal.
// - From inside a function that the mux calls while it is at work (a device's, drive, mappings, carry_out, a tracer,
//   the handler of IRQMUX_EVENT_ENDED), calls of "mux" are -EDEADLK, as is irqmux_mux_bind; calls of "any" go as ever.
//   To destroy the mux is -EBUSY there. From inside any other handler of events every call goes, but to destroy the mux
//   (-EBUSY) and to run it (irqmux_mux_run, _dispatch, _process, _wait, _next: -EDEADLK). On a mux's own thread it is
//   -EDEADLK to destroy it and -EPERM to run it, in all of them. While a mux is destroyed its handle is -EBADF to all.
#ifndef IRQMUX_H
#define IRQMUX_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The version of this header's ABI: a library of the same number has everything that is declared here.
#define IRQMUX_ABI_VERSION 1u

typedef struct irqmux_mux { uint64_t bits; } irqmux_mux;
typedef struct irqmux_device { uint64_t bits; } irqmux_device;
typedef struct irqmux_vector { uint64_t bits; } irqmux_vector;
typedef struct irqmux_pair { uint64_t bits; } irqmux_pair;
typedef struct irqmux_source { uint64_t bits; } irqmux_source;
typedef struct irqmux_timer { uint64_t bits; } irqmux_timer;
typedef struct irqmux_function { uint64_t bits; } irqmux_function;

// ---- The library

enum {
    IRQMUX_FEATURE_RUNTIME = 1,   // built with the Swift runtime (libirqmux.so)
    IRQMUX_FEATURE_GUEST = 2,     // routes into KVM guests
    IRQMUX_FEATURE_VFIO = 4,      // irqmux_device_adopt, irqmux_device_open
    IRQMUX_FEATURE_VFIO_USER = 8, // irqmux_device_open of "vfio-user:PATH" (libirqmux.so)
};

// IRQMUX_ABI_VERSION of the library that is linked. Thread: any. Blocks: no. Errors: none.
uint32_t irqmux_abi_version(void);

// "MAJOR.MINOR.PATCH", static. Thread: any. Blocks: no. Errors: none.
const char *irqmux_version(void);

// The IRQMUX_FEATURE_* bits of this build. Thread: any. Blocks: no. Errors: none.
uint32_t irqmux_features(void);

typedef struct irqmux_error {
    uint32_t size;
    int32_t number;        // the negated errno of the last call that failed on this thread; 0 when none did
    uint32_t available;    // how many vectors could have been had, where a device had too few (-ENOSPC); else 0
    uint32_t reserved;
    const char *name;      // "ENOSPC"
    const char *operation; // "SET_IRQS"
    const char *remedy;    // what to change, in one sentence; "" where there is nothing to add
} irqmux_error;

// Tells why the last call failed on this thread. Nothing is allocated; the texts are static. A call that succeeds
// leaves it as it was. Thread: any. Blocks: no. Errors: -EINVAL for a null pointer or a size of no version.
int32_t irqmux_error_read(irqmux_error *error);

// ---- Events

enum { IRQMUX_INTX = 0, IRQMUX_MSI = 1, IRQMUX_MSIX = 2, IRQMUX_ERR = 3, IRQMUX_REQ = 4 }; // as VFIO numbers them

enum {
    IRQMUX_EVENT_INTERRUPT = 1, // a vector routed to the handler
    IRQMUX_EVENT_TIMER = 2,     // `count` intervals have passed
    IRQMUX_EVENT_SOURCE = 3,    // an eventfd of irqmux_source_add
    IRQMUX_EVENT_DOORBELL = 4,  // the guest rang a pair's doorbell
    IRQMUX_EVENT_WATCHDOG = 5,  // `detail` is an IRQMUX_VERDICT_*
    IRQMUX_EVENT_FAILED = 6,    // `error` says why the vector or source can no longer be served
    IRQMUX_EVENT_ENDED = 7,     // the mux's own thread ends, by `error` or because it was stopped (0)
};

enum {
    IRQMUX_VERDICT_NEVER_ACKNOWLEDGED = 0,
    IRQMUX_VERDICT_ACKNOWLEDGED_AFTER_ALL = 1,
    IRQMUX_VERDICT_STORM = 2,
    IRQMUX_VERDICT_STORM_OVER = 3,
};

typedef struct irqmux_event {
    uint32_t size;        // set by the library; for irqmux_mux_next by the caller
    uint32_t kind;        // IRQMUX_EVENT_*
    irqmux_vector vector; // null for timers, sources and doorbells
    uint64_t tag;         // what the vector, source, timer or pair was added with
    uint64_t count;       // signals that the event stands for, where they are counted (INTx, timers, counted sources)
    uint64_t ticks;       // when it was handed out; irqmux_mux_nanoseconds makes CLOCK_MONOTONIC of it
    uint32_t index;       // IRQMUX_INTX …
    uint32_t number;      // the vector's number within the index
    int32_t error;        // negated errno
    uint32_t detail;
} irqmux_event;

// Called once an event, on the mux's thread. The event is valid during the call.
typedef void (*irqmux_handler)(void *context, irqmux_mux mux, const irqmux_event *event);

// ---- Making and running a mux

enum {
    IRQMUX_OWN_THREAD = 1,   // the library runs the mux on a thread of its own; needs a handler
    IRQMUX_POLLABLE = 2,     // the VMM's loop drives it: irqmux_mux_fd and irqmux_mux_process
    IRQMUX_ANY_THREAD = 4,   // calls of other threads are carried out by the mux's thread
    IRQMUX_EXPLICIT_ACK = 8, // INTx is acknowledged by irqmux_vector_acknowledge, not when the handler returns
    IRQMUX_NO_STAMPS = 16,   // events are not stamped, delays not recorded
    IRQMUX_PINNED = 32,      // the own thread runs on processor `cpu`
};

enum { IRQMUX_WAIT_BLOCK = 0, IRQMUX_WAIT_SPIN = 1, IRQMUX_WAIT_ADAPTIVE = 2 };

// How the mux listens, best first. Every tier behaves alike.
enum { IRQMUX_TIER_DEFERRED = 0, IRQMUX_TIER_COOPERATIVE = 1, IRQMUX_TIER_PLAIN = 2, IRQMUX_TIER_EPOLL = 3 };

typedef struct irqmux_mux_config {
    uint32_t size;
    uint32_t flags;              // IRQMUX_OWN_THREAD …
    uint32_t capacity;           // vectors, pairs and sources together, 1 to 32768; 0: 1024
    uint32_t timers;             // 0: 64
    uint32_t devices;            // 1 to 255; 0: 16
    uint32_t pairs;              // 1 to 4096; 0: 16
    uint32_t fan_out_targets;    // 1 to 65536; 0: 256
    uint32_t silence_after;      // notifications on a masked vector before the loop stops listening to it; 0: 64
    uint32_t wait;               // IRQMUX_WAIT_*
    uint32_t best_tier;          // IRQMUX_TIER_*; a lower one than the best is for tests
    uint64_t adaptive_limit_ns;  // 0: 50000
    uint32_t cpu;                // with IRQMUX_PINNED
    uint32_t reserved;
    irqmux_handler handler;      // may be null for muxes that are only asked by irqmux_mux_next
    void *context;               // handed to the handler
} irqmux_mux_config;

typedef struct irqmux_budget {
    uint32_t size;
    uint32_t vectors;       // in: vectors that will be connected
    uint32_t guest_vectors; // in: how many of them may be routed into a guest
    uint32_t intx_lines;    // in: how many of them are INTx; counted as if served to a guest past the process
    uint32_t targets;       // in: targets of all fan-outs
    uint32_t needed;        // out: descriptors that the mux will hold at most; see docs/c-abi.md
    uint32_t limit;         // out: RLIMIT_NOFILE
    uint32_t open;          // out: descriptors that this process has open
    uint32_t registers;     // in: watched registers that are taken past the VMM at a time
    uint32_t reserved;
} irqmux_budget;

// How many descriptors a mux of this configuration will need, and how many this process may still open. Opens, and
// closes at once, /proc/self/fd and a ring to see whether there is io_uring: epoll needs more. Thread: any. Blocks: no.
// Errors: -EINVAL, -E2BIG; -EMFILE when it will not fit (the figures are told all the same); -ENOENT, -EACCES without
// /proc.
int32_t irqmux_budget_read(const irqmux_mux_config *config, irqmux_budget *budget);

// Makes a mux with everything it will ever need. It belongs to the calling thread, or to the thread that it starts
// (IRQMUX_OWN_THREAD), which runs it from now on. Thread: any. Blocks: no.
// Errors: -EINVAL (out of range, or a flag that is unknown or needs a handler), -E2BIG, -EMFILE, -ENFILE, -ENOMEM,
// -EAGAIN (no thread), -ENOSPC (256 muxes). That io_uring is missing or forbidden is none: then it is epoll.
int32_t irqmux_mux_create(const irqmux_mux_config *config, irqmux_mux *mux);

// Makes the calling thread the mux's. Once, before anything has waited on it; the caller sees to it that no other call
// on this mux is under way. Not for IRQMUX_OWN_THREAD. Thread: the one that is to be the mux's. Blocks: no.
// Errors: -EINVAL, -EBADF, -EPERM (it has waited already, or has its own thread), -EDEADLK (inside a function that it
// calls).
int32_t irqmux_mux_bind(irqmux_mux mux);

// Disables and lets go every device, and releases everything. Waits until calls of other threads have returned.
// Thread: mux, or any but its own for IRQMUX_OWN_THREAD. Blocks: until its thread has ended.
// Errors: -EINVAL, -EBADF, -EPERM, -EBUSY (inside a function that it calls), -EDEADLK (on its own thread).
int32_t irqmux_mux_destroy(irqmux_mux mux);

// Hands events to the handler until irqmux_mux_stop. Thread: mux, and nowhere else. Blocks: until then.
// Errors: -EINVAL (no handler), -EBADF, -EPERM, -EDEADLK (inside a handler), what io_uring_enter or epoll_wait says.
int32_t irqmux_mux_run(irqmux_mux mux);

// Waits for at most timeout_ns (UINT64_MAX: for ever) and hands what is ready to the handler. The count of events.
// Thread: mux, and nowhere else. Blocks: for that time. Errors: as irqmux_mux_run.
int32_t irqmux_mux_dispatch(irqmux_mux mux, uint64_t timeout_ns);

// Waits until irqmux_mux_next may have something, time is up, a signal came or somebody stopped the mux.
// Thread: mux, and nowhere else. Blocks: for that time. Errors: as irqmux_mux_run.
int32_t irqmux_mux_wait(irqmux_mux mux, uint64_t timeout_ns);

// The next event: 1 with the event, 0 when irqmux_mux_wait is due. Asking says that the last event was dealt with.
// Thread: mux, and nowhere else. Blocks: no. Errors: -EINVAL, -EBADF, -EPERM, -EDEADLK.
int32_t irqmux_mux_next(irqmux_mux mux, irqmux_event *event);

// Ends irqmux_mux_run before the next event; remembered when the mux is not running. Also from a signal's handler.
// Thread: any. Blocks: no. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_mux_stop(irqmux_mux mux);

// The descriptor that is readable (level-triggered) when irqmux_mux_process has work; it stays the mux's. With
// IRQMUX_POLLABLE only. Thread: any. Blocks: no. Errors: -EINVAL, -EBADF, -EPERM, -ENOTSUP (not pollable).
int32_t irqmux_mux_fd(irqmux_mux mux);

// Hands what is ready to the handler, without waiting, and leaves irqmux_mux_fd so that it tells of what comes. The
// count of events. Thread: mux, and nowhere else. Blocks: no. Errors: as irqmux_mux_run, -ENOTSUP (not pollable).
int32_t irqmux_mux_process(irqmux_mux mux);

// Nanoseconds until a timer is due: the time limit for the wait on irqmux_mux_fd. UINT64_MAX without one.
// Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_mux_until_timer(irqmux_mux mux, uint64_t *nanoseconds);

// Changes how the mux waits: IRQMUX_WAIT_*, and the limit of adaptive spinning (0: 50000).
// Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_mux_set_wait(irqmux_mux mux, uint32_t wait, uint64_t adaptive_limit_ns);

// CLOCK_MONOTONIC in nanoseconds of an event's ticks. Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_mux_nanoseconds(irqmux_mux mux, uint64_t ticks, uint64_t *nanoseconds);

typedef struct irqmux_ring {
    uint32_t size;
    uint32_t tier;         // IRQMUX_TIER_*
    int32_t obstacle;      // negated errno that stood in the way of a better tier; 0 for none
    uint32_t reserved;
    const char *name;      // "deferred"
    const char *operation; // what failed; "" without an obstacle
    const char *remedy;
} irqmux_ring;

// How the mux listens, and why not better. Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_ring_read(irqmux_mux mux, irqmux_ring *ring);

enum { IRQMUX_EDGE = 0, IRQMUX_COUNTED = 1, IRQMUX_ACKNOWLEDGED = 2 };

// Listens to an eventfd of the caller's as well. `tag` has its highest bit clear. IRQMUX_EDGE: one event for one or
// more signals, counter left alone; IRQMUX_COUNTED: counter taken; IRQMUX_ACKNOWLEDGED: likewise, and then nothing
// until irqmux_source_arm. Thread: mux. Blocks: mux.
// Errors: -EINVAL, -EBADF (handle, or descriptor not open), -EPERM, -ENOSPC, -EMFILE (but for IRQMUX_EDGE).
int32_t irqmux_source_add(irqmux_mux mux, int32_t fd, uint64_t tag, uint32_t delivery, irqmux_source *source);

// Listens again to a source of IRQMUX_ACKNOWLEDGED whose event was dealt with; what came meanwhile is one event. No
// effect on one that is listened to. Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_source_arm(irqmux_mux mux, irqmux_source source);

// Stops listening; no event of it is handed out any more. Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_source_remove(irqmux_mux mux, irqmux_source source);

// A timer: after `after_ns`, then every `every_ns` (0: once). `tag` has its highest bit clear.
// Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM, -ENOSPC.
int32_t irqmux_timer_add(irqmux_mux mux, uint64_t after_ns, uint64_t every_ns, uint64_t tag, irqmux_timer *timer);

// Removes a timer. Thread: mux. Blocks: mux.
// Errors: -EINVAL, -EBADF (also when it has fired for the last time), -EPERM.
int32_t irqmux_timer_remove(irqmux_mux mux, irqmux_timer timer);

// ---- Devices

enum { IRQMUX_IRQ_EVENTFD = 1, IRQMUX_IRQ_MASKABLE = 2, IRQMUX_IRQ_AUTOMASKED = 4, IRQMUX_IRQ_NORESIZE = 8 };

typedef struct irqmux_irq_info {
    uint32_t size;
    uint32_t index;
    uint32_t flags; // IRQMUX_IRQ_*, the values of VFIO_IRQ_INFO_*
    uint32_t count; // vectors of the index; 0 when the device lacks it
} irqmux_irq_info;

enum { IRQMUX_ACTION_MASK = 0x08, IRQMUX_ACTION_UNMASK = 0x10, IRQMUX_ACTION_TRIGGER = 0x20 };
enum { IRQMUX_DATA_NONE = 1, IRQMUX_DATA_BOOL = 2, IRQMUX_DATA_EVENTFD = 4 };

// One SET_IRQS, as VFIO_DEVICE_SET_IRQS has it (<linux/vfio.h>).
typedef struct irqmux_irq_set {
    uint32_t size;
    uint32_t index;
    uint32_t action;         // IRQMUX_ACTION_*
    uint32_t data;           // IRQMUX_DATA_*
    uint32_t start;
    uint32_t count;
    const int32_t *eventfds; // with IRQMUX_DATA_EVENTFD: `count` numbers, -1 to take one away; they stay the mux's
    const uint8_t *bytes;    // with IRQMUX_DATA_BOOL: `count` bytes
} irqmux_irq_set;

// A device of the VMM's own. Functions return 0 or a negated errno, and are called on the mux's thread, where its calls
// are -EDEADLK meanwhile. A null one that is not needed is as if the device had nothing to say.
typedef struct irqmux_device_ops {
    uint32_t size;
    uint32_t reserved;
    // Needed. What the device says of an index.
    int32_t (*info)(void *context, uint32_t index, irqmux_irq_info *info);
    // Needed. Carries a request out; a positive result says how many vectors could have been had, and none was enabled.
    int32_t (*set_irqs)(void *context, const irqmux_irq_set *set);
    // How often the device has raised a vector since it was opened: 1 with *count set, 0 where it does not count.
    int32_t (*raised)(void *context, uint32_t index, uint32_t number, uint64_t *count);
    // When it signalled a vector last, CLOCK_MONOTONIC in nanoseconds; 0 where it does not stamp.
    uint64_t (*last_signal)(void *context, uint32_t index, uint32_t number);
    int32_t (*reset)(void *context);
    // `width` is 1, 2, 4 or 8; little-endian.
    int32_t (*read_region)(void *context, uint32_t region, uint64_t offset, uint32_t width, uint64_t *value);
    int32_t (*write_region)(void *context, uint32_t region, uint64_t offset, uint32_t width, uint64_t value);
    // The mux has let the device go: the last call with this context.
    void (*released)(void *context);
    // How many bytes a region has; 0 for one that is not there. irqmux_function_serve needs it.
    int32_t (*region_size)(void *context, uint32_t region, uint64_t *bytes);
} irqmux_device_ops;

// Attaches a device that the VMM emulates. The table is copied; nothing is called before irqmux_vectors_connect.
// Thread: mux. Blocks: mux. Errors: -EINVAL, -E2BIG, -EBADF, -EPERM, -ENOSPC (more than `devices`).
int32_t irqmux_device_attach(irqmux_mux mux, const irqmux_device_ops *ops, void *context, irqmux_device *device);

enum { IRQMUX_ADOPT_TAKE = 1 };

// Attaches a VFIO device that the VMM has opened, by its descriptor, which stays the VMM's; with IRQMUX_ADOPT_TAKE it
// is closed when the device is detached. From now on the mux alone assigns its interrupts. Thread: mux. Blocks: mux.
// Errors: -EINVAL, -EBADF (handle, or descriptor not open), -EPERM, -ENOTTY (no VFIO device), -ENOSPC.
int32_t irqmux_device_adopt(irqmux_mux mux, int32_t device_fd, uint32_t flags, irqmux_device *device);

// Opens a device and attaches it: "0000:01:00.0", a PCI function that is bound to vfio-pci; "mdev:UUID"; or
// "vfio-user:PATH", a device that another process serves at that socket (a path of 1 to 107 bytes). Container and
// group, or iommufd, or the connection, open and close with it. Thread: mux. Blocks: mux, and as long as the kernel
// takes to reset it; a server has ten seconds for each answer, here and wherever the device is asked for something
// later.
// Errors: -EINVAL (no such name), -EBADF, -EPERM (handle; no interrupt remapping), -ENOSPC; what stands in the way:
// -ENODEV, -ENOENT, -EBUSY, -EACCES, with a remedy each; of vfio-user also -EOPNOTSUPP (this library has no
// IRQMUX_FEATURE_VFIO_USER: libirqmux.a), -ECONNREFUSED, -ENOTSOCK, -EPROTO, -ETIMEDOUT, and what the server says.
int32_t irqmux_device_open(irqmux_mux mux, const char *name, irqmux_device *device);

typedef struct irqmux_ledger {
    uint32_t size;
    uint32_t reserved;
    uint64_t raised;      // = delivered + coalesced + pending + dropped + unexplained
    uint64_t delivered;
    uint64_t coalesced;
    uint64_t pending;
    uint64_t dropped;
    int64_t unexplained;  // not 0: interrupts were lost (above) or invented (below), a bug
} irqmux_ledger;

// Disconnects what is connected and lets the device go. `account`, if not null, is told the account of all its vectors
// since it was attached. Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_device_detach(irqmux_mux mux, irqmux_device device, irqmux_ledger *account);

// What the device says of an index. Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM, what the device says.
int32_t irqmux_device_info(irqmux_mux mux, irqmux_device device, uint32_t index, irqmux_irq_info *info);

// Resets the device's function; what is connected stays connected. Thread: mux. Blocks: mux, and for the device.
// Errors: -EINVAL (also where it has no reset), -EBADF, -EPERM, what the device says.
int32_t irqmux_device_reset(irqmux_mux mux, irqmux_device device);

// Reads a region, numbered as VFIO does (0 to 5 the BARs, 7 configuration space); `width` is 1, 2, 4 or 8.
// Thread: mux. Blocks: mux, and for the device. Errors: -EINVAL (also a width or place the device has not), -EBADF,
// -EPERM, what the device says.
int32_t irqmux_region_read(
    irqmux_mux mux, irqmux_device device, uint32_t region, uint64_t offset, uint32_t width, uint64_t *value);

// Writes a region. Thread: mux. Blocks: mux, and for the device. Errors: as irqmux_region_read.
int32_t irqmux_region_write(
    irqmux_mux mux, irqmux_device device, uint32_t region, uint64_t offset, uint32_t width, uint64_t value);

// ---- Vectors and routes

enum {
    IRQMUX_ROUTE_HANDLER = 0, // to this process: an event for each notification
    IRQMUX_ROUTE_GUEST = 1,   // into the guest, past this process: the device signals the irqfd of `gsi`
    IRQMUX_ROUTE_DETOUR = 2,  // into the guest by way of the loop, which stamps and forwards
    IRQMUX_ROUTE_FAN_OUT = 3, // to other eventfds, each once a notification; the mux keeps duplicates
    IRQMUX_ROUTE_PARKED = 4,  // kept, and delivered when the vector gets another route
};

typedef struct irqmux_route {
    uint32_t size;
    uint32_t kind;          // IRQMUX_ROUTE_*
    uint32_t gsi;           // GUEST, DETOUR
    uint32_t target_count;  // FAN_OUT: 1 at least
    const int32_t *targets; // FAN_OUT: eventfds, O_NONBLOCK
} irqmux_route;

typedef struct irqmux_connection {
    uint32_t size;
    uint32_t index;              // IRQMUX_MSIX …
    uint32_t first;
    uint32_t count;              // 1 at least
    uint32_t route_count;        // 0: every vector goes to the handler; 1: all go by routes[0]; or `count`
    uint32_t reserved;
    const irqmux_route *routes;
    const uint64_t *tags;        // `count` numbers for the vectors' events; null: the vector's number
} irqmux_connection;

// Assigns an eventfd to each vector of a range with one SET_IRQS, listens to all of them and routes them: all, or
// nothing is changed. vectors[0 … count - 1] are set. Thread: mux. Blocks: mux, and as long as the device takes.
// Errors: -EINVAL (vectors the device lacks, or another type is active), -E2BIG, -EBADF, -EPERM, -EBUSY (connected),
// -ENOSPC (the mux is full, or the host has too few: irqmux_error.available), -EMFILE, as irqmux_vector_route, what
// SET_IRQS says.
int32_t irqmux_vectors_connect(
    irqmux_mux mux, irqmux_device device, const irqmux_connection *connection, irqmux_vector *vectors);

// Takes a vector's eventfd away from the device and forgets it. Thread: mux. Blocks: mux.
// Errors: -EINVAL, -EBADF, -EPERM; what SET_IRQS says, and then it is forgotten all the same.
int32_t irqmux_vector_disconnect(irqmux_mux mux, irqmux_vector vector);

// Disables an index of a device and forgets its vectors. Thread: mux. Blocks: mux. Errors: as for one vector.
int32_t irqmux_vectors_disconnect(irqmux_mux mux, irqmux_device device, uint32_t index);

// Sends a vector's signals somewhere else from now on; none is lost by it, and what was held goes the new way.
// Thread: mux. Blocks: mux.
// Errors: -EINVAL (the route; INTx into a guest), -EBADF (handle, or target not open), -EPERM, -EBUSY (INTx served past
// the mux), -EMFILE, -ENOSPC (targets), -ENODEV (no guest), -EEXIST (the GSI is another's), -ENXIO (the GSI has no
// route), what KVM and SET_IRQS say. Then the old route stays.
int32_t irqmux_vector_route(irqmux_mux mux, irqmux_vector vector, const irqmux_route *route);

// Stops delivery; signals are kept. Twice is once. Allocates nothing on the mux's thread. Thread: mux. Blocks: mux.
// Errors: -EINVAL, -EBADF, -EPERM, what SET_IRQS says (INTx, and vectors past the process).
int32_t irqmux_vector_mask(irqmux_mux mux, irqmux_vector vector);

// Resumes delivery; what came meanwhile is one event. Otherwise as irqmux_vector_mask.
// Thread: mux. Blocks: mux. Errors: as irqmux_vector_mask.
int32_t irqmux_vector_unmask(irqmux_mux mux, irqmux_vector vector);

// Says that the device behind an INTx has been quieted (IRQMUX_EXPLICIT_ACK, fan-out): the line is unmasked.
// Allocates nothing on the mux's thread. Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM, what SET_IRQS says.
int32_t irqmux_vector_acknowledge(irqmux_mux mux, irqmux_vector vector);

typedef struct irqmux_vector_state {
    uint32_t size;
    uint32_t route;     // IRQMUX_ROUTE_*
    uint32_t gsi;
    uint32_t masked;    // 0 or 1
    uint32_t pending;   // 0 or 1: something waits for it to be unmasked or routed
    uint32_t counted;   // 0 or 1: the ledger knows every signal that goes this way
    const char *path;   // "bypass-atomic", "bypass-worker", "user", "detour", "parked", "unrouted"
    const char *why;    // in one sentence
} irqmux_vector_state;

// How a vector stands. Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_vector_read(irqmux_mux mux, irqmux_vector vector, irqmux_vector_state *state);

// ---- Into a guest

enum {
    IRQMUX_TABLE_EMPTY = 0,   // after a split irqchip was made
    IRQMUX_TABLE_IRQCHIP = 1, // after KVM_CREATE_IRQCHIP: GSIs 0 to 23 on PIC and IOAPIC
    IRQMUX_TABLE_OWNER = 2,   // the VMM goes on committing the table itself
};

// Attaches the virtual machine that vectors are routed into: one at a time. A duplicate of the descriptor is kept.
// But for IRQMUX_TABLE_OWNER, the mux alone commits GSI routes from now on. Thread: mux. Blocks: mux.
// Errors: -EINVAL, -EBADF (handle, or machine not open), -EPERM, -ENOTTY (no virtual machine), -EBUSY (there is one),
// -EMFILE.
int32_t irqmux_guest_attach(irqmux_mux mux, int32_t machine_fd, uint32_t table);

// Lets it go; its routes stay in the kernel's table. Thread: mux. Blocks: mux.
// Errors: -EINVAL, -EBADF, -EPERM, -ENODEV, -EBUSY (a vector or pair still goes there).
int32_t irqmux_guest_detach(irqmux_mux mux);

// 1: a guest is attached. 0: none. -ENODEV, or what KVM said: it was closed behind the mux's back.
// Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_guest_read(irqmux_mux mux);

enum { IRQMUX_GSI_MESSAGE = 0, IRQMUX_GSI_PINS = 1 };
enum { IRQMUX_GSI_HAS_DEVICE_ID = 1, IRQMUX_GSI_PIC1 = 2, IRQMUX_GSI_PIC2 = 4, IRQMUX_GSI_IOAPIC = 8 };

typedef struct irqmux_gsi_route {
    uint32_t size;
    uint32_t kind;      // IRQMUX_GSI_MESSAGE, IRQMUX_GSI_PINS
    uint64_t address;   // MESSAGE: what the guest wrote into the device's registers
    uint32_t data;      // MESSAGE
    uint32_t device_id; // MESSAGE, with IRQMUX_GSI_HAS_DEVICE_ID
    uint32_t flags;     // which of the fields above and below count
    uint8_t pic1, pic2; // PINS: 0 to 7
    uint8_t ioapic;     // PINS: 0 to 23
    uint8_t reserved;
} irqmux_gsi_route;

// Takes a GSI and wants this route for it; committed with irqmux_gsi_commit, or when a vector is first routed to it.
// Thread: mux. Blocks: mux. Errors: -EINVAL, -E2BIG, -EBADF, -EPERM (handle; IRQMUX_TABLE_OWNER), -ENODEV, -ENOSPC.
int32_t irqmux_gsi_allocate(irqmux_mux mux, const irqmux_gsi_route *route, uint32_t *gsi);

// Wants another route for a GSI, as when the guest rewrote a message. Thread: mux. Blocks: mux.
// Errors: as irqmux_gsi_allocate.
int32_t irqmux_gsi_set(irqmux_mux mux, uint32_t gsi, const irqmux_gsi_route *route);

// Gives a GSI back. Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM, -ENODEV, -ENOENT, -EBUSY (in use).
int32_t irqmux_gsi_free(irqmux_mux mux, uint32_t gsi);

// Commits every change since the last commit by one KVM_SET_GSI_ROUTING: 1, or 0 when there was nothing to commit.
// Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM, -ENODEV, what KVM says.
int32_t irqmux_gsi_commit(irqmux_mux mux);

// How many GSIs with a message each can still be had. Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_gsi_room(irqmux_mux mux);

enum { IRQMUX_PAIR_PORT = 1, IRQMUX_PAIR_MATCH = 2, IRQMUX_PAIR_EVENTFD = 4, IRQMUX_PAIR_MEASURED = 8 };

typedef struct irqmux_pair_config {
    uint32_t size;
    uint32_t flags;    // IRQMUX_PAIR_*
    uint64_t address;  // guest-physical, or with IRQMUX_PAIR_PORT a port
    uint64_t match;    // with IRQMUX_PAIR_MATCH: only writes of this value ring
    uint64_t tag;      // of its events; highest bit clear
    uint32_t width;    // bytes that the guest writes: 1, 2, 4, 8; 0: any
    uint32_t gsi;      // the completion
    int32_t eventfd;   // with IRQMUX_PAIR_EVENTFD: a back-end's own eventfd completes; a duplicate is kept
    uint32_t reserved;
} irqmux_pair_config;

// Lets writes of the guest ring a doorbell (ioeventfd), and an eventfd of the host complete it (irqfd).
// Thread: mux. Blocks: mux.
// Errors: -EINVAL, -E2BIG, -EBADF, -EPERM, -ENODEV, -ENOSPC, -EEXIST (GSI or doorbell taken), -ENXIO (the GSI has no
// route), -EBUSY (the eventfd is an irqfd already), -EMFILE.
int32_t irqmux_pair_add(irqmux_mux mux, const irqmux_pair_config *config, irqmux_pair *pair);

// Interrupts the guest: one write. Allocates nothing. Where the pair is measured, from one thread at a time.
// Thread: any. Blocks: no. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_pair_complete(irqmux_mux mux, irqmux_pair pair);

// Removes a pair: doorbell first. The GSI keeps its route. Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_pair_remove(irqmux_mux mux, irqmux_pair pair);

enum {
    IRQMUX_WAY_KERNEL_RESAMPLE = 0,  // in the kernel; needs the full irqchip
    IRQMUX_WAY_IOAPIC_BROADCAST = 1, // split irqchip: the run loop calls irqmux_intx_ioapic_eoi
    IRQMUX_WAY_USER_EOI = 2,         // the VMM calls irqmux_intx_end or irqmux_vector_acknowledge
    IRQMUX_WAY_MAPPING_TOGGLE = 3,   // nobody tells: trapped accesses and a quiet period stand for the end
};

enum { IRQMUX_INTX_HAS_PIN = 1 };

typedef struct irqmux_intx_service {
    uint32_t size;
    uint32_t way;           // IRQMUX_WAY_*
    uint32_t flags;
    uint32_t gsi;           // the guest's pin
    int32_t machine;        // KERNEL_RESAMPLE, IOAPIC_BROADCAST: the machine's descriptor, of which a duplicate is kept
    uint32_t apic_vector;   // IOAPIC_BROADCAST
    uint64_t quiet_ns;      // MAPPING_TOGGLE; 0: 1 ms
    // USER_EOI, MAPPING_TOGGLE with IRQMUX_INTX_HAS_PIN: sets the pin, once for each change; on the mux's thread.
    void (*drive)(void *context, uint32_t gsi, uint32_t high);
    // MAPPING_TOGGLE: lets the guest reach the device's BARs without a trap, or not; on the mux's thread.
    void (*mappings)(void *context, uint32_t enabled);
    void *context;
} irqmux_intx_service;

// Serves a connected INTx to a guest. Thread: mux. Blocks: mux.
// Errors: -EINVAL (not INTx; a way without what it needs), -E2BIG, -EBADF, -EPERM, -EBUSY (served already), what
// KVM_IRQFD and SET_IRQS say.
int32_t irqmux_intx_serve(irqmux_mux mux, irqmux_vector vector, const irqmux_intx_service *service);

// Ends the service; signals go to `route` from now on, null: to the handler. Thread: mux. Blocks: mux.
// Errors: -EINVAL, -EBADF, -EPERM, as irqmux_vector_route.
int32_t irqmux_intx_stop(irqmux_mux mux, irqmux_vector vector, const irqmux_route *route);

// The guest has ended the interrupt of a pin: every line on it that is in service is unmasked (USER_EOI).
// Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM, what SET_IRQS says.
int32_t irqmux_intx_end(irqmux_mux mux, uint32_t gsi);

// The guest has ended the interrupt with this vector (KVM_EXIT_IOAPIC_EOI): the count of devices that were told.
// Thread: any. Blocks: no. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_intx_ioapic_eoi(irqmux_mux mux, uint32_t apic_vector);

// The guest has programmed another vector for a pin of the IOAPIC: ends of interrupt come with that one from now on
// (IOAPIC_BROADCAST). The count of lines on the pin. Thread: any. Blocks: no.
// Errors: -EINVAL (also a vector beyond 255), -EBADF, -EPERM.
int32_t irqmux_intx_set_apic_vector(irqmux_mux mux, uint32_t gsi, uint32_t apic_vector);

// The guest has reached a BAR of the device while its mappings were off (MAPPING_TOGGLE). Thread: mux. Blocks: mux.
// Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_intx_trapped(irqmux_mux mux, irqmux_vector vector);

// Watches every vector: lines that nobody acknowledges within `within_ns` (0: 1 s), storms of more than `storm_rate`
// signals a second (0: 200000). Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM, -EBUSY (it runs), -ENOSPC.
int32_t irqmux_watchdog_start(irqmux_mux mux, uint64_t within_ns, uint64_t storm_rate);

// Stops watching. Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_watchdog_stop(irqmux_mux mux);

// ---- What a guest sees: MSI-X and MSI

// The VMM traps the guest's accesses and hands them on; the device's vectors are connected, routed and masked as the
// guest's registers say (docs/guest-interrupts.md). The mux needs a guest, attached with its table.

enum { IRQMUX_MESSAGES_REQUESTER = 1, IRQMUX_MSI_64BIT = 2, IRQMUX_MSI_MASKABLE = 4 };

typedef struct irqmux_messages_config {
    uint32_t size;
    uint32_t flags;     // IRQMUX_MESSAGES_*, IRQMUX_MSI_*
    uint32_t index;     // IRQMUX_MSIX or IRQMUX_MSI
    uint32_t vectors;   // to offer; MSI: a power of two up to 32; MSI-X: 0 for all
    uint32_t requester; // with IRQMUX_MESSAGES_REQUESTER: the device's requester ID
    uint32_t next;      // MSI: the next capability's offset, as the guest reads it
} irqmux_messages_config;

// Serves a device's MSI-X or MSI to the guest, as after a reset. One of each a device. Thread: mux. Blocks: mux.
// Errors: -EINVAL, -E2BIG, -EBADF, -EPERM, -ENODEV (the device has none), -EBUSY (connected, or served already).
int32_t irqmux_messages_serve(irqmux_mux mux, irqmux_device device, const irqmux_messages_config *config);

enum {
    IRQMUX_AREA_TABLE = 0,   // MSI-X: the table in its BAR
    IRQMUX_AREA_PENDING = 1, // MSI-X: the pending bits; read-only
    IRQMUX_AREA_CONTROL = 2, // MSI-X: the message control register, offsets 0 and 1: two bytes, or one of them
    IRQMUX_AREA_MSI = 3,     // MSI: the capability, from its first byte
};

// The guest read: what it gets, all ones where PCI leaves it open, in as many bytes as `width` says.
// Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM, -ENODATA (it is not served).
int32_t irqmux_messages_read(
    irqmux_mux mux, irqmux_device device, uint32_t area, uint64_t offset, uint32_t width, uint64_t *value);

// The guest wrote; what it asks for is carried out before this returns, and what PCI leaves open is ignored. What was
// refused is told by irqmux_messages_report_read, and asked for again when the guest touches the vector. Thread: mux.
// Blocks: mux. Errors: as irqmux_messages_read.
int32_t irqmux_messages_write(
    irqmux_mux mux, irqmux_device device, uint32_t area, uint64_t offset, uint32_t width, uint64_t value);

enum { IRQMUX_MESSAGES_RESET = 0, IRQMUX_MESSAGES_RETRY = 1, IRQMUX_MESSAGES_REPAIR = 2 };

// RESET: the function is about to be reset: registers as after power-on, every vector let go. RETRY: asks again for
// what was refused. REPAIR: the device's own table was wiped behind VFIO's back: every vector is assigned again.
// Thread: mux. Blocks: mux. Errors: as irqmux_messages_read, what SET_IRQS says (REPAIR).
int32_t irqmux_messages_do(irqmux_mux mux, irqmux_device device, uint32_t index, uint32_t what);

typedef struct irqmux_messages_report {
    uint32_t size;
    uint32_t index;         // in: IRQMUX_MSIX or IRQMUX_MSI
    uint32_t enabled;       // 0 or 1
    int32_t last_error;     // negated errno of the last refusal; 0 for none
    uint64_t refusals, regrowths, short_answers, kicks, repairs;
} irqmux_messages_report;

// What serving came to so far. Thread: mux. Blocks: mux. Errors: as irqmux_messages_read.
int32_t irqmux_messages_report_read(irqmux_mux mux, irqmux_device device, irqmux_messages_report *report);

// The vector that stands for one of the guest's, for irqmux_vector_read and the ledger. Thread: mux. Blocks: mux.
// Errors: as irqmux_messages_read, -ENOENT (the guest does not use it).
int32_t irqmux_messages_vector(
    irqmux_mux mux, irqmux_device device, uint32_t index, uint32_t number, irqmux_vector *vector);

enum {
    IRQMUX_HAS_MSI = 1,
    IRQMUX_HAS_MSIX = 2,
    IRQMUX_HAS_EXPRESS = 4,
    IRQMUX_HAS_RESET = 8,               // Device Control resets the function (FLR)
    IRQMUX_HAS_ERROR_REPORTING = 16,
    IRQMUX_HAS_VIRTUAL_FUNCTIONS = 32,
};

// What configuration space says of interrupts. Offsets and lengths are in bytes; those of what is not there are 0.
typedef struct irqmux_capabilities {
    uint32_t size;
    uint32_t found;                     // IRQMUX_HAS_*
    uint32_t vendor, device;            // a vendor of 0xffff: nobody answers
    uint32_t header_type;
    uint32_t pin;                       // 0 for none, 1 to 4 for INTA# to INTD#
    uint32_t msi_offset, msi_length, msi_vectors;
    uint32_t msi_flags;                 // IRQMUX_MSI_64BIT, IRQMUX_MSI_MASKABLE
    uint32_t msix_offset, msix_vectors;
    uint32_t table_bar, table_offset, table_length;
    uint32_t pending_bar, pending_offset, pending_length;
    uint32_t express_offset, error_reporting_offset, virtual_functions_offset;
    uint32_t fault_offset;
    const char *fault;                  // the first thing that is wrong with a chain, at `fault_offset`; "" for nothing
} irqmux_capabilities;

// Reads both chains of capabilities from a copy of configuration space: 256 bytes, or up to 4096. Nothing is believed
// unseen: what is found counts, and what is wrong is told as the fault. Thread: any. Blocks: no.
// Errors: -EINVAL, -E2BIG.
int32_t irqmux_capabilities_parse(const void *bytes, uint64_t length, irqmux_capabilities *capabilities);

// The same of a device, whose configuration space is read byte by byte. Thread: mux. Blocks: mux, and for the device.
// Errors: -EINVAL, -E2BIG, -EBADF, -EPERM, what the device says.
int32_t irqmux_capabilities_read(irqmux_mux mux, irqmux_device device, irqmux_capabilities *capabilities);

// INTx in the configuration space of a device that the VMM emulates: pin, DisINTx, the status bit, Interrupt Line.
// Plain numbers of the caller's: zero but for `pin` and `line` (0xff) is a function after reset.
typedef struct irqmux_intx_registers {
    uint32_t size;
    uint32_t pin;      // 1 to 4 for INTA# to INTD#; 0: nothing is ever driven
    uint32_t disabled; // 0 or 1: DisINTx, by which the guest keeps the function from its pin
    uint32_t asserted; // 0 or 1: the device's level, which the status bit tells
    uint32_t line;     // Interrupt Line, which only software reads and writes
    uint32_t reserved;
} irqmux_intx_registers;

enum { IRQMUX_PIN_STAYS = 0, IRQMUX_PIN_RISES = 1, IRQMUX_PIN_FALLS = 2 };

// The guest read configuration space, of any offset, 1 to 8 bytes: puts the registers over *value, which is what the
// rest of the device answers. Thread: any, one at a time. Blocks: no. Errors: -EINVAL, -E2BIG.
int32_t irqmux_intx_registers_read(
    const irqmux_intx_registers *registers, uint64_t offset, uint32_t width, uint64_t *value);

// The guest wrote configuration space: what became of the pin, IRQMUX_PIN_*. Thread: any, one at a time. Blocks: no.
// Errors: -EINVAL, -E2BIG.
int32_t irqmux_intx_registers_write(
    irqmux_intx_registers *registers, uint64_t offset, uint32_t width, uint64_t value);

// The device's level is high (1) or low (0) from now on: what became of the pin, IRQMUX_PIN_*.
// Thread: any, one at a time. Blocks: no. Errors: -EINVAL, -E2BIG.
int32_t irqmux_intx_registers_assert(irqmux_intx_registers *registers, uint32_t asserted);

// ---- What a guest sees: a whole PCI function

// The VMM hands on every access of the guest to configuration space, and those to BARs that hit the MSI-X table or the
// pending bits; what is no interrupt's goes on to the device. INTx is connected and served while neither MSI-X nor MSI
// is enabled, because a function interrupts in one way at a time (docs/guest-interrupts.md). The mux needs a guest,
// attached with its table.

enum {
    IRQMUX_FUNCTION_REQUESTER = 1,
    IRQMUX_FUNCTION_ALWAYS_TRAPS = 2, // watched registers stay the VMM's to hand on
};

typedef struct irqmux_function_config {
    uint32_t size;
    uint32_t flags;                  // IRQMUX_FUNCTION_*
    uint32_t requester;              // with IRQMUX_FUNCTION_REQUESTER: the device's requester ID
    uint32_t shortcut_threshold;     // equal writes in a row, and a watched register's are KVM's to take; 0: 10
    const irqmux_intx_service *line; // how INTx is served; null: its guest has no INTx. Read during the call.
    uint32_t loop_registers;         // the most registers that the mux's thread writes; 0: 1, UINT32_MAX: none
    uint32_t reserved;
} irqmux_function_config;

// Serves a device's interrupts to the guest, as after a reset. What the device has is read from its configuration
// space (region 7) and the sizes of its regions. One a device, with nothing connected but ERR and REQ; it ends with
// the device. Thread: mux. Blocks: mux, and for the device.
// Errors: -EINVAL (its capabilities contradict themselves or its regions), -E2BIG, -EBADF, -EPERM, -ENODEV (no guest),
// -EBUSY (connected, or served already), as irqmux_vectors_connect and irqmux_intx_serve, what the device says.
int32_t irqmux_function_serve(
    irqmux_mux mux, irqmux_device device, const irqmux_function_config *config, irqmux_function *function);

// Ends it: every vector is let go. The device is neither reset nor written. Thread: mux. Blocks: mux.
// Errors: -EINVAL, -EBADF, -EPERM; what SET_IRQS says, and then it has ended all the same.
int32_t irqmux_function_end(irqmux_mux mux, irqmux_function function);

// The guest read configuration space: 1, 2 or 4 bytes, aligned; anything else reads ones. Thread: mux. Blocks: mux,
// and for the device. Errors: -EINVAL, -EBADF, -EPERM, what the device says.
int32_t irqmux_function_config_read(
    irqmux_mux mux, irqmux_function function, uint64_t offset, uint32_t width, uint64_t *value);

// The guest wrote configuration space: 1, 2 or 4 bytes, aligned; anything else is ignored. Carried out when this
// returns, a reset of the function (FLR) included. What the host refuses of interrupts the guest cannot be told:
// irqmux_function_report_read tells it. Thread: mux. Blocks: mux, and for the device.
// Errors: as irqmux_function_config_read.
int32_t irqmux_function_config_write(
    irqmux_mux mux, irqmux_function function, uint64_t offset, uint32_t width, uint64_t value);

// The guest read a BAR, 0 to 5: 1 to 8 bytes. Outside of it there are ones. An access that hits neither table nor
// pending bits (irqmux_capabilities says where they are) a VMM may serve past this, on any thread. Thread: mux.
// Blocks: mux, and for the device. Errors: as irqmux_function_config_read.
int32_t irqmux_function_region_read(
    irqmux_mux mux, irqmux_function function, uint32_t region, uint64_t offset, uint32_t width, uint64_t *value);

// The guest wrote a BAR. Carried out when this returns. Thread: mux. Blocks: mux, and for the device.
// Errors: as irqmux_function_config_read.
int32_t irqmux_function_region_write(
    irqmux_mux mux, irqmux_function function, uint32_t region, uint64_t offset, uint32_t width, uint64_t value);

// A range of a BAR is watched from now on: a register in it that the guest keeps writing the same way, one value and
// width, is taken past the VMM (an ioeventfd of KVM). Then the device's driver in the kernel writes it
// (VFIO_DEVICE_IOEVENTFD), or else the mux's thread, one such register unless the configuration says more; other values
// and reads still trap. From now on every access to the range is to be handed on. Nothing of it may be the table's or
// the pending bits'. It is forgotten with the function, not by a reset. Thread: mux. Blocks: mux.
// Errors: -EINVAL (outside of its BAR, no such BAR, or no bytes), -EEXIST (watched, table or pending bits), -EBADF,
// -EPERM.
int32_t irqmux_function_watch(
    irqmux_mux mux, irqmux_function function, uint32_t region, uint64_t offset, uint64_t length);

enum { IRQMUX_SPACE_NOWHERE = 0, IRQMUX_SPACE_MEMORY = 1, IRQMUX_SPACE_PORTS = 2 };

// The guest has a BAR at an address now, or nowhere: the VMM's word, as bridges have windows. Without it nothing is
// taken past the VMM. When this returns, registers are taken at the new place and no longer at the old one; call it
// before anybody else is put there. While the command register lets the device decode nothing the BAR is nowhere by
// itself. What KVM refuses there is a trap again, and the report tells of it. Thread: mux. Blocks: mux.
// Errors: -EINVAL (a region beyond 5, a space of no name, a port beyond 65535), -EBADF, -EPERM.
int32_t irqmux_function_mapped(
    irqmux_mux mux, irqmux_function function, uint32_t region, uint32_t space, uint64_t address);

// Resets functions, each with its device's own reset: registers as after power-on, every vector let go, INTx connected
// again. With `carry_out` the devices are reset by that instead, once, on the mux's thread, when nothing of any of the
// functions is connected: for a bus, or the machine. Its calls of "mux" are -EDEADLK. Thread: mux. Blocks: mux, and for
// the devices.
// Errors: -EINVAL (no function, or one of them twice), -EBADF, -EPERM; what a device or carry_out says, and then the
// registers of that function are reset all the same.
int32_t irqmux_functions_reset(
    irqmux_mux mux, const irqmux_function *functions, uint32_t count, int32_t (*carry_out)(void *context),
    void *context);

// The device's own table was wiped behind VFIO's back, by a reset that nobody trapped: what is assigned is assigned
// again, and every open vector told once. Thread: mux. Blocks: mux.
// Errors: -EINVAL, -EBADF, -EPERM, what SET_IRQS says.
int32_t irqmux_function_repair(irqmux_mux mux, irqmux_function function);

// Asks again for what was refused: after a limit was raised, or another device gave vectors back. Thread: mux.
// Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_function_retry(irqmux_mux mux, irqmux_function function);

// The vector that stands for one of the guest's, INTx among them. Thread: mux. Blocks: mux.
// Errors: -EINVAL, -EBADF, -EPERM, -ENOENT (the guest does not use it).
int32_t irqmux_function_vector(
    irqmux_mux mux, irqmux_function function, uint32_t index, uint32_t number, irqmux_vector *vector);

typedef struct irqmux_function_report {
    uint32_t size;
    uint32_t messaging;     // 0 or 1: MSI-X or MSI is enabled
    uint32_t pin;           // 0 for none, 1 to 4
    uint32_t disabled;      // 0 or 1: DisINTx
    int32_t last_error;     // negated errno of the last refusal of a message; 0 for none
    int32_t line_error;     // the same of INTx
    uint64_t refusals, regrowths, short_answers, kicks, repairs; // of MSI-X and MSI together
    uint64_t mask_changes;       // how often the guest masked or unmasked a vector
    uint64_t illegal_accesses;   // to the table, of a width or at a place that PCI has none for
    uint32_t kernel_registers;   // watched registers that the device's driver writes, now
    uint32_t loop_registers;     // and that the mux's thread writes
    uint64_t register_refusals;  // of either; such a register traps until irqmux_function_retry or a reset
    uint64_t register_writes;    // that the mux's thread has made
    uint64_t failed_writes;      // of those, that the device refused
    int32_t register_error;      // negated errno of the last refusal of either sort; 0 for none
    uint32_t reserved;
} irqmux_function_report;

// What serving came to so far. Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_function_report_read(irqmux_mux mux, irqmux_function function, irqmux_function_report *report);

// ---- Saved states

// Saves what is served of a device, its function or its messages: registers, pending bits, accounts. `length` is set;
// with too small a `capacity`, or a null `state`, only that. Changes nothing else. Thread: mux. Blocks: mux, and for
// the device.
// Errors: -EINVAL, -EBADF, -EPERM, -ENODATA (nothing is served), -ENOBUFS (`capacity` is too small).
int32_t irqmux_state_save(
    irqmux_mux mux, irqmux_device device, void *state, uint64_t capacity, uint64_t *length);

// Loads a state into what is served of a device, which must be as after a reset. Everything is checked before anything
// is touched: all of it is loaded, or nothing. A state with INTx in it, as a function saves, goes into a function only
// (irqmux_function_serve): where messages alone are served, nobody would serve its line. Load when the guest's local
// APICs have their state, before its processors run. Thread: mux. Blocks: mux, and for the device.
// Errors: -EINVAL (not a state, damaged, another device's, or with INTx), -EBADF, -EPERM, -ENODATA, -EBUSY (not reset),
// what the device says of DisINTx.
int32_t irqmux_state_load(irqmux_mux mux, irqmux_device device, const void *state, uint64_t length);

// ---- What happened

// The account of a vector, or of all vectors of a device. Some microseconds a vector. Thread: mux. Blocks: mux.
// Errors: -EINVAL, -EBADF, -EPERM; -ENOENT or -EACCES without /proc.
int32_t irqmux_ledger_read_vector(irqmux_mux mux, irqmux_vector vector, irqmux_ledger *ledger);

// The account of a device. Thread: mux. Blocks: mux. Errors: as for a vector.
int32_t irqmux_ledger_read_device(irqmux_mux mux, irqmux_device device, irqmux_ledger *ledger);

typedef struct irqmux_statistics {
    uint32_t size;
    uint32_t reserved;
    uint64_t notifications, batches, system_calls, sleeps, spin_hits, spin_misses, rearms, overflows;
    uint64_t stale, commands, signal_batches, timers, kernel_ns, handler_ns, idle_ns;
} irqmux_statistics;

// What the loop has done so far; published once a batch. Never stops the loop. Thread: any. Blocks: no.
// Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_statistics_read(irqmux_mux mux, irqmux_statistics *statistics);

enum {
    IRQMUX_HISTOGRAM_DISPATCH = 0, // from a batch's arrival to each event's turn; `vector` and `pair` are null
    IRQMUX_HISTOGRAM_WAKE = 1,     // of a measured vector: from the signal, where the device stamps, to the wake-up
    IRQMUX_HISTOGRAM_TURN = 2,     // of a measured vector or pair: from the wake-up to its turn
    IRQMUX_HISTOGRAM_FORWARD = 3,  // from there until the irqfd was written
    IRQMUX_HISTOGRAM_ACKNOWLEDGED = 4, // from there until the guest acknowledged
};

// Values of bucket b: docs/c-abi.md. A percentile is off by less than 0.8 %.
enum { IRQMUX_HISTOGRAM_BUCKETS = 2240 };

typedef struct irqmux_histogram {
    uint32_t size;
    uint32_t which;            // in: IRQMUX_HISTOGRAM_*
    irqmux_vector vector;      // in
    irqmux_pair pair;          // in
    uint64_t count;            // out, as all that follows; in nanoseconds
    uint64_t min, max, mean, p50, p90, p99, p99_9;
    uint64_t *buckets;         // in: null, or room for IRQMUX_HISTOGRAM_BUCKETS counts
} irqmux_histogram;

// Reads a histogram without stopping its writer. Allocates for the duration of the call. Thread: mux for measured
// vectors and pairs, any for IRQMUX_HISTOGRAM_DISPATCH. Blocks: likewise.
// Errors: -EINVAL, -EBADF, -EPERM, -ENODATA (it is not measured).
int32_t irqmux_histogram_read(irqmux_mux mux, irqmux_histogram *histogram);

// Records the stages of a vector's detours from now on. `acknowledged_fd`: an eventfd that the guest's acknowledgement
// signals, or -1. Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM, -EBUSY (it is), -ENOSPC.
int32_t irqmux_vector_measure(irqmux_mux mux, irqmux_vector vector, int32_t acknowledged_fd);

enum { IRQMUX_TRACE_CHANGES = 1, IRQMUX_TRACE_EVENTS = 2 };

typedef struct irqmux_trace {
    uint32_t size;
    uint32_t kind;           // IRQMUX_TRACE_CHANGES or IRQMUX_TRACE_EVENTS
    const char *operation;   // the function's name without "irqmux_", or "event"
    uint64_t handle;         // the bits of the vector, device or pair it was about; 0 for none
    uint64_t time_ns;        // CLOCK_MONOTONIC
    int64_t result;          // what the call returned; for an event its IRQMUX_EVENT_*
} irqmux_trace;

typedef void (*irqmux_tracer)(void *context, irqmux_mux mux, const irqmux_trace *trace);

// Tells `tracer` of each change (and, with IRQMUX_TRACE_EVENTS, of each event) after it was carried out, on the mux's
// thread. A null tracer ends it. Thread: mux. Blocks: mux. Errors: -EINVAL, -EBADF, -EPERM.
int32_t irqmux_trace_set(irqmux_mux mux, uint32_t what, irqmux_tracer tracer, void *context);

#ifdef __cplusplus
}
#endif
#endif
