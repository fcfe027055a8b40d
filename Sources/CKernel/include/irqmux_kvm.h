// The KVM user-space API (<linux/kvm.h>): the ioctl numbers and flags that Swift cannot import because they are macros
// over other macros, the sizes the KVM room relies on, and helpers for what Swift cannot spell (flexible array members,
// variadic open, mmap's failure value, a signal mask of the kernel's size).
#ifndef IRQMUX_KVM_H
#define IRQMUX_KVM_H

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

_Static_assert(sizeof(struct kvm_irqfd) == 32, "KVM_IRQFD");
_Static_assert(sizeof(struct kvm_ioeventfd) == 64, "KVM_IOEVENTFD");
_Static_assert(sizeof(struct kvm_msi) == 32, "KVM_SIGNAL_MSI");
_Static_assert(sizeof(struct kvm_irq_level) == 8, "KVM_IRQ_LINE");
_Static_assert(sizeof(struct kvm_enable_cap) == 104, "KVM_ENABLE_CAP");
_Static_assert(sizeof(struct kvm_userspace_memory_region) == 32, "KVM_SET_USER_MEMORY_REGION");
_Static_assert(sizeof(struct kvm_irq_routing) == 8, "KVM_SET_GSI_ROUTING header");
_Static_assert(sizeof(struct kvm_irq_routing_entry) == 48, "KVM_SET_GSI_ROUTING entry");
_Static_assert(offsetof(struct kvm_irq_routing, entries) == 8, "entries follow the header");

// ioctls of /dev/kvm.
static const unsigned long irqmux_KVM_GET_API_VERSION = KVM_GET_API_VERSION;
static const unsigned long irqmux_KVM_CREATE_VM = KVM_CREATE_VM;
static const unsigned long irqmux_KVM_CHECK_EXTENSION = KVM_CHECK_EXTENSION;
static const unsigned long irqmux_KVM_GET_VCPU_MMAP_SIZE = KVM_GET_VCPU_MMAP_SIZE;

// ioctls of a virtual machine.
static const unsigned long irqmux_KVM_ENABLE_CAP = KVM_ENABLE_CAP;
static const unsigned long irqmux_KVM_CREATE_IRQCHIP = KVM_CREATE_IRQCHIP;
static const unsigned long irqmux_KVM_GET_IRQCHIP = KVM_GET_IRQCHIP;
static const unsigned long irqmux_KVM_IRQ_LINE = KVM_IRQ_LINE;
static const unsigned long irqmux_KVM_IRQFD = KVM_IRQFD;
static const unsigned long irqmux_KVM_IOEVENTFD = KVM_IOEVENTFD;
static const unsigned long irqmux_KVM_SET_GSI_ROUTING = KVM_SET_GSI_ROUTING;
static const unsigned long irqmux_KVM_SIGNAL_MSI = KVM_SIGNAL_MSI;
static const unsigned long irqmux_KVM_SET_USER_MEMORY_REGION = KVM_SET_USER_MEMORY_REGION;
static const unsigned long irqmux_KVM_CREATE_VCPU = KVM_CREATE_VCPU;
static const unsigned long irqmux_KVM_SET_TSS_ADDR = KVM_SET_TSS_ADDR;

// ioctls of a virtual CPU.
static const unsigned long irqmux_KVM_RUN = KVM_RUN;

// Flags that are shifts of enumerators.
enum {
    irqmux_KVM_IOEVENTFD_DATAMATCH = KVM_IOEVENTFD_FLAG_DATAMATCH,
    irqmux_KVM_IOEVENTFD_PIO = KVM_IOEVENTFD_FLAG_PIO,
    irqmux_KVM_IOEVENTFD_DEASSIGN = KVM_IOEVENTFD_FLAG_DEASSIGN,
};

// The x86 interrupt controllers as KVM_IRQ_ROUTING_IRQCHIP numbers them. Written out, because other architectures'
// headers have no such names; the values are ABI.
enum { irqmux_PIC_MASTER = 0, irqmux_PIC_SLAVE = 1, irqmux_IOAPIC = 2 };

#if defined(__x86_64__)
_Static_assert(irqmux_PIC_MASTER == KVM_IRQCHIP_PIC_MASTER, "PIC master");
_Static_assert(irqmux_PIC_SLAVE == KVM_IRQCHIP_PIC_SLAVE, "PIC slave");
_Static_assert(irqmux_IOAPIC == KVM_IRQCHIP_IOAPIC, "IOAPIC");
_Static_assert(KVM_IOAPIC_NUM_PINS == 24, "the IOAPIC's pins are GSIs 0 to 23");
#endif

// Opens a KVM device node. The descriptor, or -errno.
static inline int irqmux_kvm_open(const char *path) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

// Whether the VM has the full in-kernel irqchip (PIC, IOAPIC and local APICs).
static inline int irqmux_kvm_has_full_irqchip(int vm) {
#if defined(__x86_64__)
    struct kvm_irqchip chip;
    memset(&chip, 0, sizeof chip);
    chip.chip_id = irqmux_IOAPIC;
    return ioctl(vm, KVM_GET_IRQCHIP, &chip) == 0;
#else
    (void)vm;
    return 0;
#endif
}

// One pin of the in-kernel PIC and IOAPIC, under its default route; see PinState.
struct irqmux_kvm_pin {
    uint8_t high;
    uint8_t ioapic_masked, ioapic_level, ioapic_in_service;
    uint8_t pic_masked, pic_level, pic_in_service;
};

// 0, or -errno; -EINVAL for a GSI that is no pin, -ENXIO without the full irqchip.
static inline int irqmux_kvm_read_pin(int vm, uint32_t gsi, struct irqmux_kvm_pin *pin) {
    memset(pin, 0, sizeof *pin);
#if defined(__x86_64__)
    struct kvm_irqchip chip;
    if (gsi >= KVM_IOAPIC_NUM_PINS) return -EINVAL;
    memset(&chip, 0, sizeof chip);
    chip.chip_id = KVM_IRQCHIP_IOAPIC;
    if (ioctl(vm, KVM_GET_IRQCHIP, &chip) < 0) return -errno;
    pin->high = chip.chip.ioapic.irr >> gsi & 1;
    pin->ioapic_masked = chip.chip.ioapic.redirtbl[gsi].fields.mask;
    pin->ioapic_level = chip.chip.ioapic.redirtbl[gsi].fields.trig_mode;
    pin->ioapic_in_service = chip.chip.ioapic.redirtbl[gsi].fields.remote_irr;
    if (gsi >= 16) return 0;
    memset(&chip, 0, sizeof chip);
    chip.chip_id = gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
    if (ioctl(vm, KVM_GET_IRQCHIP, &chip) < 0) return -errno;
    // last_irr follows the line, whatever the trigger mode; irr forgets an edge once it is taken.
    pin->high |= chip.chip.pic.last_irr >> (gsi & 7) & 1;
    pin->pic_masked = chip.chip.pic.imr >> (gsi & 7) & 1;
    pin->pic_level = chip.chip.pic.elcr >> (gsi & 7) & 1;
    pin->pic_in_service = chip.chip.pic.isr >> (gsi & 7) & 1;
    return 0;
#else
    (void)vm, (void)gsi;
    return -ENXIO;
#endif
}

// Fills routing entry `index` of a KVM_SET_GSI_ROUTING request with an MSI; a negative device means "no device id".
static inline void irqmux_routing_put_msi(
    struct kvm_irq_routing *table, uint32_t index, uint32_t gsi, uint64_t address, uint32_t data, int64_t device) {
    struct kvm_irq_routing_entry *entry = &table->entries[index];
    memset(entry, 0, sizeof *entry);
    entry->gsi = gsi;
    entry->type = KVM_IRQ_ROUTING_MSI;
    entry->u.msi.address_lo = (uint32_t)address;
    entry->u.msi.address_hi = (uint32_t)(address >> 32);
    entry->u.msi.data = data;
    if (device >= 0) {
        entry->flags = KVM_MSI_VALID_DEVID;
        entry->u.msi.devid = (uint32_t)device;
    }
}

// Fills routing entry `index` with a pin of an in-kernel interrupt controller.
static inline void irqmux_routing_put_pin(
    struct kvm_irq_routing *table, uint32_t index, uint32_t gsi, uint32_t chip, uint32_t pin) {
    struct kvm_irq_routing_entry *entry = &table->entries[index];
    memset(entry, 0, sizeof *entry);
    entry->gsi = gsi;
    entry->type = KVM_IRQ_ROUTING_IRQCHIP;
    entry->u.irqchip.irqchip = chip;
    entry->u.irqchip.pin = pin;
}

// Maps `length` bytes read-write: of fd, or zeroed anonymous memory when fd is -1. 0 or -errno.
static inline int irqmux_kvm_map(int fd, size_t length, void **address) {
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    void *result = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (result == MAP_FAILED) return -errno;
    *address = result;
    return 0;
}

// Waits until one of two descriptors can be read. Bit 0: the first; bit 1: the second; 0: the time is over; or -errno.
static inline int irqmux_kvm_wait_for_either(int first, int second, int milliseconds) {
    struct pollfd wanted[2] = {{.fd = first, .events = POLLIN}, {.fd = second, .events = POLLIN}};
    int result = poll(wanted, 2, milliseconds);
    if (result < 0) return -errno;
    return (wanted[0].revents ? 1 : 0) | (wanted[1].revents ? 2 : 0);
}

static inline void irqmux_kvm_unmap(void *address, size_t length) { (void)munmap(address, length); }

// The signal that ends KVM_RUN. It has no handler and is never taken: the vCPU's thread blocks it, and only inside
// KVM_RUN it is let through, as far as making that answer EINTR (KVM_SET_SIGNAL_MASK). Whether it comes before, during
// or between calls of KVM_RUN makes no difference, so no stop can be missed, and the process's own use of signals is
// not touched.
static inline int irqmux_kvm_stop_signal(void) { return SIGRTMAX - 3; }

// Starts the thread of a vCPU with every signal blocked, so that the process's signals go to its other threads, and
// lets the stop signal interrupt KVM_RUN. 0 with *thread set, or -errno.
static inline int irqmux_kvm_start_thread(
    int vcpu, unsigned long *thread, void *(*body)(void *), void *context) {
    _Static_assert(sizeof(pthread_t) == sizeof(unsigned long), "pthread_t");
    sigset_t before, all, running;
    sigfillset(&all);
    running = all;
    sigdelset(&running, irqmux_kvm_stop_signal());
    // The kernel's sigset_t has 64 bits; the C library's is longer and begins with the same words.
    union {
        struct kvm_signal_mask request;
        unsigned char bytes[sizeof(struct kvm_signal_mask) + 8];
    } mask;
    mask.request.len = 8;
    memcpy(mask.bytes + offsetof(struct kvm_signal_mask, sigset), &running, 8);
    if (ioctl(vcpu, KVM_SET_SIGNAL_MASK, &mask) < 0) return -errno;
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t made;
    int result = pthread_create(&made, NULL, body, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result == 0) *thread = (unsigned long)made;
    return -result;
}

// Makes KVM_RUN on `thread` answer EINTR, now or as soon as it is called. The thread must not have been joined.
static inline void irqmux_kvm_interrupt_thread(unsigned long thread) {
    (void)pthread_kill((pthread_t)thread, irqmux_kvm_stop_signal());
}

static inline void irqmux_kvm_join_thread(unsigned long thread) { (void)pthread_join((pthread_t)thread, NULL); }

#if defined(__x86_64__)
// Gives the vCPU the CPUID that this host supports, x2APIC included. 0 or -errno.
static inline int irqmux_kvm_use_supported_cpuid(int kvm, int vcpu) {
    enum { capacity = 256 };
    union {
        struct kvm_cpuid2 table;
        unsigned char bytes[sizeof(struct kvm_cpuid2) + capacity * sizeof(struct kvm_cpuid_entry2)];
    } cpuid;
    memset(&cpuid, 0, sizeof cpuid);
    cpuid.table.nent = capacity;
    if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) < 0) return -errno;
    return ioctl(vcpu, KVM_SET_CPUID2, &cpuid) < 0 ? -errno : 0;
}

// Real mode at address `entry` with a flat, zero-based code segment and the stack below `stack`; interrupts off. With
// an in-kernel local APIC (`apic`), it is put in x2APIC mode. 0 or -errno.
static inline int irqmux_kvm_enter_real_mode(int vcpu, uint16_t entry, uint16_t stack, int apic) {
    struct kvm_sregs system;
    if (ioctl(vcpu, KVM_GET_SREGS, &system) < 0) return -errno;
    system.cs.base = 0;
    system.cs.selector = 0;
    if (apic) system.apic_base |= (1u << 10) | (1u << 11); // x2APIC, enabled
    if (ioctl(vcpu, KVM_SET_SREGS, &system) < 0) return -errno;
    struct kvm_regs general;
    memset(&general, 0, sizeof general);
    general.rip = entry;
    general.rsp = stack;
    general.rflags = 2; // the bit that is always set; IF clear
    return ioctl(vcpu, KVM_SET_REGS, &general) < 0 ? -errno : 0;
}

// Writes one 32-bit register of the local APIC, by its offset in the register page. 0 or -errno.
static inline int irqmux_kvm_set_apic_register(int vcpu, unsigned int offset, uint32_t value) {
    struct kvm_lapic_state state;
    if (ioctl(vcpu, KVM_GET_LAPIC, &state) < 0) return -errno;
    memcpy(state.regs + offset, &value, sizeof value);
    return ioctl(vcpu, KVM_SET_LAPIC, &state) < 0 ? -errno : 0;
}

#else
// The small guest is x86 code; elsewhere these say so, and it is not made.
static inline int irqmux_kvm_use_supported_cpuid(int kvm, int vcpu) {
    (void)kvm, (void)vcpu;
    return -ENOSYS;
}

static inline int irqmux_kvm_enter_real_mode(int vcpu, uint16_t entry, uint16_t stack, int apic) {
    (void)vcpu, (void)entry, (void)stack, (void)apic;
    return -ENOSYS;
}

static inline int irqmux_kvm_set_apic_register(int vcpu, unsigned int offset, uint32_t value) {
    (void)vcpu, (void)offset, (void)value;
    return -ENOSYS;
}
#endif

// What KVM_RUN said, with the fields that its exit reason fills; the rest are zero.
struct irqmux_kvm_exit {
    uint32_t reason;
    uint32_t suberror;        // KVM_EXIT_INTERNAL_ERROR
    uint64_t hardware_reason; // KVM_EXIT_FAIL_ENTRY, KVM_EXIT_UNKNOWN
    uint64_t address;         // KVM_EXIT_IO: the port; KVM_EXIT_MMIO: the guest-physical address
    uint64_t value;           // what the guest wrote, zero for a read; KVM_EXIT_IOAPIC_EOI: the vector
    uint8_t width;
    uint8_t is_write;
    uint8_t is_string; // KVM_EXIT_IO: several transfers at once (rep outs, rep ins); only the first is told
};

_Static_assert(sizeof(struct irqmux_kvm_exit) == 40, "irqmux_kvm_exit");

static inline struct irqmux_kvm_exit irqmux_kvm_read_exit(const void *mapping) {
    const struct kvm_run *run = (const struct kvm_run *)mapping;
    struct irqmux_kvm_exit exit;
    memset(&exit, 0, sizeof exit);
    exit.reason = run->exit_reason;
    switch (run->exit_reason) {
    case KVM_EXIT_INTERNAL_ERROR: exit.suberror = run->internal.suberror; break;
    case KVM_EXIT_FAIL_ENTRY: exit.hardware_reason = run->fail_entry.hardware_entry_failure_reason; break;
    case KVM_EXIT_UNKNOWN: exit.hardware_reason = run->hw.hardware_exit_reason; break;
#if defined(__x86_64__)
    case KVM_EXIT_IOAPIC_EOI: exit.value = run->eoi.vector; break;
#endif
    case KVM_EXIT_IO:
        exit.address = run->io.port;
        exit.width = run->io.size;
        exit.is_write = run->io.direction == KVM_EXIT_IO_OUT;
        exit.is_string = run->io.count != 1;
        if (exit.is_write && exit.width <= 8)
            memcpy(&exit.value, (const char *)mapping + run->io.data_offset, exit.width);
        break;
    case KVM_EXIT_MMIO:
        exit.address = run->mmio.phys_addr;
        exit.width = (uint8_t)run->mmio.len;
        exit.is_write = run->mmio.is_write;
        if (exit.is_write && exit.width <= 8) memcpy(&exit.value, run->mmio.data, exit.width);
        break;
    default: break;
    }
    return exit;
}

// Gives the guest what it reads, after an exit by KVM_EXIT_IO or KVM_EXIT_MMIO; the next KVM_RUN hands it over.
static inline void irqmux_kvm_answer_read(void *mapping, uint64_t value) {
    struct kvm_run *run = (struct kvm_run *)mapping;
    if (run->exit_reason == KVM_EXIT_IO && run->io.size <= 8)
        memcpy((char *)mapping + run->io.data_offset, &value, run->io.size);
    else if (run->exit_reason == KVM_EXIT_MMIO && run->mmio.len <= 8)
        memcpy(run->mmio.data, &value, run->mmio.len);
}

#endif
