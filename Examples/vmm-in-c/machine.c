#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"

extern const uint8_t guest_begin[], guest_end[];
extern const uint16_t guest_vectors[];

enum { memory_size = 0x10000, cpuid_entries = 256 };

static void put32(uint8_t *memory, uint32_t address, uint32_t value) { memcpy(memory + address, &value, 4); }

// Real mode at the guest's first instruction; local APIC in x2APIC mode, open for the PIC's interrupts.
static int set_up(int kvm, int vcpu) {
    static union {
        struct kvm_cpuid2 table;
        uint8_t bytes[sizeof(struct kvm_cpuid2) + cpuid_entries * sizeof(struct kvm_cpuid_entry2)];
    } cpuid;
    cpuid.table.nent = cpuid_entries;
    if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) < 0 || ioctl(vcpu, KVM_SET_CPUID2, &cpuid) < 0) return -errno;
    struct kvm_sregs system;
    if (ioctl(vcpu, KVM_GET_SREGS, &system) < 0) return -errno;
    system.cs.base = 0;
    system.cs.selector = 0;
    system.apic_base |= 3u << 10;
    if (ioctl(vcpu, KVM_SET_SREGS, &system) < 0) return -errno;
    struct kvm_regs general = {.rip = GUEST_ORIGIN, .rsp = 0xf000, .rflags = 2};
    if (ioctl(vcpu, KVM_SET_REGS, &general) < 0) return -errno;
    struct kvm_lapic_state apic;
    if (ioctl(vcpu, KVM_GET_LAPIC, &apic) < 0) return -errno;
    put32((uint8_t *)apic.regs, 0xf0, 0x1ff);  // enabled, spurious vector 0xff
    put32((uint8_t *)apic.regs, 0x350, 0x700); // LINT0: ExtINT
    return ioctl(vcpu, KVM_SET_LAPIC, &apic) < 0 ? -errno : 0;
}

static void load(uint8_t *memory, uint32_t rounds) {
    memcpy(memory + GUEST_ORIGIN, guest_begin, (size_t)(guest_end - guest_begin));
    for (const uint16_t *entry = guest_vectors; *entry; entry += 2) put32(memory, entry[0] * 4u, entry[1]);
    put32(memory, COUNT_ROUNDS, rounds);
}

int machine_make(struct machine *machine, uint32_t rounds, const char **what) {
    *machine = (struct machine){.vm = -1, .vcpu = -1};
    *what = "opening /dev/kvm";
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0) return -errno;
    *what = "making a virtual machine";
    int result = -1;
    machine->vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (machine->vm < 0 || ioctl(machine->vm, KVM_SET_TSS_ADDR, 0xfffbd000) < 0 ||
        ioctl(machine->vm, KVM_CREATE_IRQCHIP, 0) < 0)
        goto failed;
    *what = "giving it memory";
    void *memory = mmap(NULL, memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) goto failed;
    machine->memory = memory;
    load(machine->memory, rounds);
    struct kvm_userspace_memory_region region = {
        .memory_size = memory_size, .userspace_addr = (uint64_t)(uintptr_t)memory};
    if (ioctl(machine->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0) goto failed;
    *what = "making a virtual processor";
    int run_size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    machine->vcpu = ioctl(machine->vm, KVM_CREATE_VCPU, 0);
    if (machine->vcpu < 0 || run_size < 0) goto failed;
    void *run = mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, machine->vcpu, 0);
    if (run == MAP_FAILED) goto failed;
    machine->run = run;
    result = set_up(kvm, machine->vcpu);
    if (result == 0) close(kvm);
    if (result == 0) return 0;
    errno = -result;
failed:
    result = -errno;
    close(kvm);
    machine_free(machine);
    return result;
}

int machine_run(struct machine *machine, struct access *access) {
    struct kvm_run *run = machine->run;
    if (ioctl(machine->vcpu, KVM_RUN, 0) < 0) return errno == EINTR || errno == EAGAIN ? 0 : -errno;
    machine->exits++;
    *access = (struct access){.is_port = run->exit_reason == KVM_EXIT_IO};
    if (access->is_port) {
        access->is_write = run->io.direction == KVM_EXIT_IO_OUT;
        access->address = run->io.port;
        access->width = run->io.size;
        access->data = (uint8_t *)run + run->io.data_offset;
    } else if (run->exit_reason == KVM_EXIT_MMIO) {
        access->is_write = run->mmio.is_write;
        access->address = run->mmio.phys_addr;
        access->width = run->mmio.len;
        access->data = run->mmio.data;
    } else {
        return -ENOTSUP;
    }
    if (access->is_write) memcpy(&access->value, access->data, access->width);
    return 1;
}

void machine_answer(const struct access *access, uint64_t value) { memcpy(access->data, &value, access->width); }

uint32_t machine_count(const struct machine *machine, uint16_t address) {
    uint32_t value;
    memcpy(&value, machine->memory + address, sizeof value);
    return value;
}

// The kernel frees mappings of a process that ends; only descriptors are worth the trouble.
void machine_free(struct machine *machine) {
    if (machine->vcpu >= 0) close(machine->vcpu);
    if (machine->vm >= 0) close(machine->vm);
    machine->vm = machine->vcpu = -1;
}
