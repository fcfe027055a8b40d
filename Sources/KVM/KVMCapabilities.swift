internal import CKernel

/// What a KVM, or one virtual machine of it, can do for interrupts.
///
/// Source: `KVM_CHECK_EXTENSION`, Documentation/virt/kvm/api.rst section 4.4. An unknown capability reads as absent, so
/// an old kernel answers without an error.
public struct KVMCapabilities: Equatable, Sendable {
    /// `KVM_CAP_IRQCHIP`: interrupt controllers in the kernel. Since Linux 2.6.20.
    public let irqChip: Bool
    /// `KVM_CAP_SPLIT_IRQCHIP`: local APICs in the kernel, PIC and IOAPIC in user space. Since Linux 4.4, x86.
    public let splitIRQChip: Bool
    /// `KVM_CAP_IRQFD`: an eventfd that raises a guest interrupt. Since Linux 2.6.32.
    public let irqfd: Bool
    /// `KVM_CAP_IRQFD_RESAMPLE`: level-triggered irqfds whose end of interrupt is told. Since Linux 3.8.
    public let irqfdResample: Bool
    /// `KVM_CAP_IOEVENTFD`: an eventfd signalled by a guest's write. Since Linux 2.6.32.
    public let ioEventFD: Bool
    /// `KVM_CAP_IOEVENTFD_NO_LENGTH`: width 0 on ports. Since Linux 3.17.
    public let ioEventFDNoLength: Bool
    /// `KVM_CAP_IOEVENTFD_ANY_LENGTH`: width 0 on memory too. Since Linux 4.4.
    public let ioEventFDAnyLength: Bool
    /// `KVM_CAP_IRQ_ROUTING`: how many entries a routing table holds; 4096 on x86 since Linux 4.18, 0 without routing.
    public let routes: UInt32
    /// `KVM_CAP_SIGNAL_MSI`: an MSI by one system call, without irqfd or route. Since Linux 3.5.
    public let signalMSI: Bool
    /// `KVM_CAP_MSI_DEVID`: MSIs carry a device id (arm64's ITS). Since Linux 4.8.
    public let messageDeviceID: Bool
    /// `KVM_CAP_X2APIC_API`: MSI addresses with 32-bit destinations. Since Linux 4.8, x86.
    public let x2APICFormat: Bool
    /// `KVM_CAP_IMMEDIATE_EXIT`: a virtual CPU can be told to return at once. Since Linux 4.12.
    public let immediateExit: Bool
    /// `KVM_CAP_READONLY_MEM`: memory slots that the guest may only read. Since Linux 3.7.
    public let readOnlyMemory: Bool
    /// `KVM_CAP_MAX_VCPUS`: virtual CPUs a machine may have at most.
    public let maximumVirtualCPUs: UInt32

    /// Asks the file descriptor of `/dev/kvm` or, for answers about one machine, of a virtual machine.
    init(asking number: Int32) {
        func answer(_ capability: Int32) -> UInt32 {
            let result = irqmux_ioctl_value(number, irqmux_KVM_CHECK_EXTENSION, UInt(capability))
            return result > 0 ? UInt32(result) : 0
        }
        irqChip = answer(KVM_CAP_IRQCHIP) != 0
        splitIRQChip = answer(KVM_CAP_SPLIT_IRQCHIP) != 0
        irqfd = answer(KVM_CAP_IRQFD) != 0
        irqfdResample = answer(KVM_CAP_IRQFD_RESAMPLE) != 0
        ioEventFD = answer(KVM_CAP_IOEVENTFD) != 0
        ioEventFDNoLength = answer(KVM_CAP_IOEVENTFD_NO_LENGTH) != 0
        ioEventFDAnyLength = answer(KVM_CAP_IOEVENTFD_ANY_LENGTH) != 0
        routes = answer(KVM_CAP_IRQ_ROUTING)
        signalMSI = answer(KVM_CAP_SIGNAL_MSI) != 0
        messageDeviceID = answer(KVM_CAP_MSI_DEVID) != 0
        x2APICFormat = answer(KVM_CAP_X2APIC_API) != 0
        immediateExit = answer(KVM_CAP_IMMEDIATE_EXIT) != 0
        readOnlyMemory = answer(KVM_CAP_READONLY_MEM) != 0
        maximumVirtualCPUs = answer(KVM_CAP_MAX_VCPUS)
    }

    /// Whether everything is there that bypassing a vector into a guest needs.
    public var canBypass: Bool { irqChip && irqfd && routes > 0 }
    /// Whether a pair (doorbell and completion) can be served.
    public var canPair: Bool { canBypass && ioEventFD }
}
