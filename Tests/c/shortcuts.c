// Registers that a guest keeps writing the same way, with a guest that does: a processor in real mode, whose program
// writes a register of BAR 0 so many times and leaves by a port.
#include "card.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum { bar = 0xd0000, elsewhere = 0xd1000, ring = 0x10, leaving_port = 0x80, code = 0x1000, memory_size = 0x10000 };

struct processor {
    int number;
    struct kvm_run *run;
    size_t run_size;
    uint8_t *memory;
    uint32_t traps;
};

static void make_processor(struct processor *processor, int machine) {
    processor->memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(processor->memory != MAP_FAILED);
    struct kvm_userspace_memory_region region = {
        .memory_size = memory_size, .userspace_addr = (uint64_t)(uintptr_t)processor->memory};
    EQUAL(ioctl(machine, KVM_SET_USER_MEMORY_REGION, &region), 0);
    processor->number = ioctl(machine, KVM_CREATE_VCPU, 0);
    CHECK(processor->number >= 0);
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    processor->run_size = (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    close(kvm);
    processor->run =
        mmap(NULL, processor->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, processor->number, 0);
    CHECK(processor->run != MAP_FAILED);
}

static void end_processor(struct processor *processor) {
    munmap(processor->run, processor->run_size);
    munmap(processor->memory, memory_size);
    close(processor->number);
}

static int32_t region_write(struct carded *at, irqmux_function function, uint64_t offset, const struct kvm_run *run) {
    uint32_t value;
    memcpy(&value, run->mmio.data, 4);
    return irqmux_function_region_write(at->mux, function, 0, offset, run->mmio.len, value);
}

// Writes `value` to the register so many times, by a BAR at `base`; what traps goes to the function, as a VMM does.
static void guest_writes(
    struct carded *at, struct processor *processor, irqmux_function function, uint32_t base, uint16_t times,
    uint8_t value) {
    const uint8_t program[] = {
        0xb8, (uint8_t)(base >> 4), (uint8_t)(base >> 12), // mov ax, base >> 4
        0x8e, 0xd8,                                        // mov ds, ax
        0xb9, (uint8_t)times, (uint8_t)(times >> 8),       // mov cx, times
        0x66, 0xb8, value, 0, 0, 0,                        // mov eax, value
        0x66, 0xa3, ring, 0,                               // again: mov [ring], eax
        0xe2, 0xfa,                                        // loop again
        0xe6, leaving_port, 0xf4};                         // out leaving_port, al; hlt
    memcpy(processor->memory + code, program, sizeof program);
    struct kvm_sregs segments;
    EQUAL(ioctl(processor->number, KVM_GET_SREGS, &segments), 0);
    segments.cs.base = segments.cs.selector = 0;
    EQUAL(ioctl(processor->number, KVM_SET_SREGS, &segments), 0);
    struct kvm_regs registers = {.rip = code, .rflags = 2};
    EQUAL(ioctl(processor->number, KVM_SET_REGS, &registers), 0);
    struct kvm_run *run = processor->run;
    for (processor->traps = 0;;) {
        if (ioctl(processor->number, KVM_RUN, 0) < 0 && errno == EINTR) continue;
        if (run->exit_reason != KVM_EXIT_MMIO || run->mmio.phys_addr != base + ring) break;
        processor->traps++;
        EQUAL(region_write(at, function, ring, run), 0);
    }
    EQUAL(run->exit_reason, KVM_EXIT_IO);
    // The access to the port is complete once the processor has been entered again.
    run->immediate_exit = 1;
    CHECK(ioctl(processor->number, KVM_RUN, 0) < 0 && errno == EINTR);
    run->immediate_exit = 0;
}

static irqmux_function_report report_of(struct carded *at, irqmux_function function) {
    irqmux_function_report report = {.size = sizeof report};
    EQUAL(irqmux_function_report_read(at->mux, function, &report), 0);
    return report;
}

static irqmux_function serve(struct carded *at, uint32_t flags, uint32_t threshold, uint32_t loop_registers) {
    irqmux_function_config config = {
        .size = sizeof config, .flags = flags, .shortcut_threshold = threshold, .loop_registers = loop_registers};
    irqmux_function function = {0};
    EQUAL(irqmux_function_serve(at->mux, at->device, &config, &function), 0);
    EQUAL(irqmux_function_watch(at->mux, function, 0, 0, 0x20), 0);
    EQUAL(irqmux_function_mapped(at->mux, function, 0, IRQMUX_SPACE_MEMORY, bar), 0);
    return function;
}

static uint32_t budget(uint32_t registers) {
    irqmux_mux_config config = config_of(0, NULL, NULL);
    irqmux_budget asked = {.size = sizeof asked, .registers = registers};
    EQUAL(irqmux_budget_read(&config, &asked), 0);
    return asked.needed;
}

static void taken(void) {
    struct carded at;
    struct processor processor;
    make_carded(&at, true);
    make_processor(&processor, at.machine);
    irqmux_function function = serve(&at, 0, 0, 0);
    uint32_t before = open_descriptors();
    guest_writes(&at, &processor, function, bar, 50, 7);
    EQUAL(processor.traps, 10);
    irqmux_function_report report = report_of(&at, function);
    EQUAL(report.loop_registers, 1);
    EQUAL(report.kernel_registers, 0);
    CHECK(open_descriptors() - before <= budget(1) - budget(0));
    // Another value is a trap, and sees what was written before it.
    guest_writes(&at, &processor, function, bar, 1, 9);
    EQUAL(processor.traps, 1);
    EQUAL(at.card.writes, 51);
    EQUAL(at.card.written, 9);
    // The mux's thread makes the writes that nobody asks after; they are no events.
    guest_writes(&at, &processor, function, bar, 20, 7);
    EQUAL(processor.traps, 0);
    for (int turn = 0; turn < 1000 && at.card.writes < 71; turn++) EQUAL(irqmux_mux_dispatch(at.mux, 10000000), 0);
    EQUAL(at.card.writes, 71);
    report = report_of(&at, function);
    EQUAL(report.register_writes, 60);
    EQUAL(report.failed_writes + report.register_refusals, 0);
    // With the function it ends, and what had been written has reached the device.
    guest_writes(&at, &processor, function, bar, 5, 7);
    EQUAL(irqmux_function_end(at.mux, function), 0);
    EQUAL(at.card.writes, 76);
    // The next wait lets go of what it listened to.
    EQUAL(irqmux_mux_dispatch(at.mux, 0), 0);
    EQUAL(open_descriptors(), before);
    end_processor(&processor);
    end_carded(&at);
}

static void follows(void) {
    struct carded at;
    struct processor processor;
    make_carded(&at, true);
    make_processor(&processor, at.machine);
    irqmux_function function = serve(&at, 0, 3, 0);
    guest_writes(&at, &processor, function, bar, 10, 7);
    EQUAL(processor.traps, 3);
    EQUAL(irqmux_function_mapped(at.mux, function, 0, IRQMUX_SPACE_MEMORY, elsewhere), 0);
    EQUAL(at.card.writes, 10);
    guest_writes(&at, &processor, function, elsewhere, 10, 7);
    EQUAL(processor.traps, 0);
    // At the old place there is nobody but the VMM.
    guest_writes(&at, &processor, function, bar, 2, 7);
    EQUAL(processor.traps, 2);
    EQUAL(irqmux_function_mapped(at.mux, function, 0, IRQMUX_SPACE_NOWHERE, 0), 0);
    guest_writes(&at, &processor, function, elsewhere, 4, 7);
    EQUAL(processor.traps, 4);
    EQUAL(at.card.writes, 26);
    EQUAL(irqmux_function_mapped(at.mux, function, 0, IRQMUX_SPACE_PORTS, 0xc000), 0);
    FAILS(irqmux_function_mapped(at.mux, function, 0, IRQMUX_SPACE_PORTS, 0x10000), EINVAL);
    FAILS(irqmux_function_mapped(at.mux, function, 0, 3, 0), EINVAL);
    FAILS(irqmux_function_mapped(at.mux, function, 6, IRQMUX_SPACE_MEMORY, bar), EINVAL);
    // A reset forgets what was learnt.
    EQUAL(irqmux_function_mapped(at.mux, function, 0, IRQMUX_SPACE_MEMORY, bar), 0);
    EQUAL(irqmux_functions_reset(at.mux, &function, 1, NULL, NULL), 0);
    EQUAL(report_of(&at, function).loop_registers, 0);
    guest_writes(&at, &processor, function, bar, 10, 7);
    EQUAL(processor.traps, 3);
    end_processor(&processor);
    end_carded(&at);
}

static void refused(void) {
    struct carded at;
    struct processor processor;
    make_carded(&at, true);
    make_processor(&processor, at.machine);
    // Nobody may write it.
    irqmux_function function = serve(&at, 0, 3, UINT32_MAX);
    guest_writes(&at, &processor, function, bar, 10, 7);
    EQUAL(processor.traps, 10);
    irqmux_function_report report = report_of(&at, function);
    EQUAL(report.register_refusals, 1);
    CHECK(report.register_error < 0);
    EQUAL(report.loop_registers + report.kernel_registers, 0);
    EQUAL(irqmux_function_end(at.mux, function), 0);
    // The VMM wants every write.
    function = serve(&at, IRQMUX_FUNCTION_ALWAYS_TRAPS, 3, 0);
    guest_writes(&at, &processor, function, bar, 30, 7);
    EQUAL(processor.traps, 30);
    EQUAL(irqmux_function_end(at.mux, function), 0);
    // The device refuses what the mux's thread writes.
    function = serve(&at, 0, 3, 0);
    guest_writes(&at, &processor, function, bar, 3, 7);
    at.card.refuses_writes = true;
    guest_writes(&at, &processor, function, bar, 5, 7);
    EQUAL(irqmux_function_mapped(at.mux, function, 0, IRQMUX_SPACE_NOWHERE, 0), 0);
    report = report_of(&at, function);
    EQUAL(report.failed_writes, 5);
    EQUAL(report.register_error, -EIO);
    // What cannot be watched.
    FAILS(irqmux_function_watch(at.mux, function, 0, 0x1c, 8), EEXIST);
    FAILS(irqmux_function_watch(at.mux, function, 4, 0, 4), EEXIST);
    FAILS(irqmux_function_watch(at.mux, function, 0, 0xfc, 8), EINVAL);
    FAILS(irqmux_function_watch(at.mux, function, 0, 0x40, 0), EINVAL);
    FAILS(irqmux_function_watch(at.mux, function, 1, 0, 4), EINVAL);
    FAILS(irqmux_function_watch(at.mux, function, 7, 0, 4), EINVAL);
    EQUAL(irqmux_function_watch(at.mux, function, 0, 0x40, 8), 0);
    end_processor(&processor);
    end_carded(&at);
}

const struct test shortcut_tests[] = {
    {"a register that the guest keeps writing is taken past the VMM, and every write reaches the device", taken, false},
    {"it follows its BAR, and a reset forgets it", follows, false},
    {"what may not be taken traps and is told; what cannot be watched is refused", refused, false},
    {NULL, NULL, false}};
