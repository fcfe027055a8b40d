internal import CKernel
internal import EventRing

/// Holds one KVM virtual machine by its file descriptor; closes that when it goes out of scope.
///
/// As cheap as the number it holds. Every call may be made from any thread at any time, also while virtual CPUs run:
/// KVM serialises what must be serialised (irqfds under a spinlock, routing and ioeventfds under mutexes).
///
/// The machine itself lives in the kernel until the last descriptor of it and of its virtual CPUs is closed. What was
/// assigned through this owner (``IRQFD``, ``IOEventFD``) should end before it does; afterwards their removal finds
/// no machine to remove from, which is harmless, and the kernel takes them away with the machine.
@frozen public struct VirtualMachine: ~Copyable, Sendable {
    /// The file descriptor's number, for APIs that take one. Valid as long as this owner lives.
    public let number: Int32

    /// Makes a virtual machine of its own, on the `/dev/kvm` of this system.
    ///
    /// - Throws: As ``KVMDevice`` and its `createVirtualMachine()`.
    public init() throws(KVMError) { self = try KVMDevice().createVirtualMachine() }

    /// Takes over the file descriptor of a machine that a VMM has made. The caller must not close it afterwards.
    ///
    /// - Throws: `EBADF` for a number that is not open, `ENOTTY` for one that is not a virtual machine. The number is
    ///   then still the caller's.
    public init(owning number: Int32) throws(KVMError) {
        try VirtualMachine.check(number)
        self.number = number
    }

    /// Adopts a machine that a VMM goes on using: duplicates its file descriptor. Either may be closed first; the
    /// machine lives until both are.
    ///
    /// - Throws: `EBADF`, `ENOTTY` as `init(owning:)`; `EMFILE`.
    public init(sharing number: Int32) throws(KVMError) {
        try VirtualMachine.check(number)
        let copy = irqmux_duplicate(number)
        guard copy >= 0 else { throw KVMError(.adopt, errno: -copy, .plain(-copy)) }
        self.number = copy
    }

    /// Takes over a number that KVM_CREATE_VM has just returned.
    init(trusting number: Int32) { self.number = number }

    deinit { _ = irqmux_close(number) }

    /// What KVM can do for this machine; a capability may be there for one machine and not for another.
    public func capabilities() -> KVMCapabilities { KVMCapabilities(asking: number) }

    /// Gives up ownership without closing; returns the number.
    public consuming func release() -> Int32 {
        let number = number
        discard self
        return number
    }

    /// Tells a machine from other files: it answers capability questions, and is not `/dev/kvm`, which does too.
    private static func check(_ number: Int32) throws(KVMError) {
        let extensions = irqmux_ioctl_value(number, irqmux_KVM_CHECK_EXTENSION, UInt(KVM_CAP_IRQFD))
        let version = irqmux_ioctl_value(number, irqmux_KVM_GET_API_VERSION, 0)
        guard extensions != -EBADF else { throw KVMError(.adopt, errno: EBADF, .notAVirtualMachine) }
        guard extensions >= 0, version < 0 else { throw KVMError(.adopt, errno: ENOTTY, .notAVirtualMachine) }
    }
}

/// Which interrupt controllers of a machine live in the kernel.
public enum IRQChip: Equatable, Sendable {
    /// None: no irqfd, no routing.
    case none
    /// Local APICs only; PIC and IOAPIC are the VMM's. `pins` routes are reserved for the VMM's IOAPIC, 24 as a rule.
    case split(pins: UInt32)
    /// PIC, IOAPIC and local APICs, with default routes for GSIs 0 to 23 (``GSIRoutes/irqChipDefaults``).
    case full
}

extension VirtualMachine {
    /// Puts interrupt controllers into the kernel. Once a machine, and before the first virtual CPU.
    ///
    /// With ``IRQChip/full`` KVM installs its default routes; with a split one the table starts empty.
    /// - Throws: `EEXIST` when there is one already, `EINVAL` (full) or `EEXIST` (split) when a virtual CPU was made
    ///   before it, `EINVAL` for more than 4096 pins, `EBADF`.
    public func createIRQChip(_ chip: IRQChip) throws(KVMError) {
        let result: Int32
        switch chip {
        case .none: return
        case .full: result = irqmux_ioctl_value(number, irqmux_KVM_CREATE_IRQCHIP, 0)
        case .split(let pins):
            var request = kvm_enable_cap()
            request.cap = UInt32(KVM_CAP_SPLIT_IRQCHIP)
            request.args.0 = UInt64(pins)
            // SAFETY: the request is a whole struct kvm_enable_cap that outlives the call.
            result = unsafe irqmux_ioctl(number, irqmux_KVM_ENABLE_CAP, &request)
        }
        guard result < 0 else { return }
        throw KVMError(.createIRQChip, errno: -result, whyNoIRQChip(chip, -result))
    }

    /// For a virtual CPU that came first, KVM answers EINVAL to the full irqchip and EEXIST to the split one.
    private func whyNoIRQChip(_ chip: IRQChip, _ errno: Int32) -> KVMError.Reason {
        switch (chip, errno) {
        case (.full, EEXIST): return .irqChipExists
        case (.full, EINVAL): return .virtualCPUFirst
        case (.split, EEXIST): return (try? probeIRQChip()) == IRQChip.none ? .virtualCPUFirst : .irqChipExists
        case (.split, EINVAL): return capabilities().splitIRQChip ? .tooManyPins : .unsupported
        default: return failure(errno)
        }
    }

    /// Finds out which irqchip the machine has, where somebody else made it. The pins of a split one cannot be asked
    /// for and read as 24. Tries an irqfd on an eventfd of its own, so it takes some hundred microseconds.
    ///
    /// - Throws: `EBADF`, `ENOTTY`, `EMFILE`.
    public func probeIRQChip() throws(KVMError) -> IRQChip {
        if irqmux_kvm_has_full_irqchip(number) != 0 { return .full }
        let probe: EventFD
        do { probe = try EventFD() } catch { throw KVMError(.assignIRQFD, errno: error.errno, .plain(error.errno)) }
        var request = kvm_irqfd()
        request.fd = UInt32(bitPattern: probe.number)
        // SAFETY: the request is a whole struct kvm_irqfd that outlives the call.
        let result = unsafe irqmux_ioctl(number, irqmux_KVM_IRQFD, &request)
        if result == -EINVAL { return .none }
        guard result == 0 else { throw KVMError(.assignIRQFD, errno: -result, failure(-result)) }
        request.flags = UInt32(KVM_IRQFD_FLAG_DEASSIGN)
        // SAFETY: as above.
        _ = unsafe irqmux_ioctl(number, irqmux_KVM_IRQFD, &request)
        return .split(pins: 24)
    }

    /// Injects one MSI now, without irqfd or route.
    ///
    /// - Parameters:
    ///   - address: The message's address, 0xFEExxxxx on x86.
    ///   - data: The message's data; on x86 its low byte is the vector.
    ///   - deviceID: The requester, where ``KVMCapabilities/messageDeviceID`` says that it counts.
    /// - Returns: Whether a virtual CPU took it; `false` when the guest blocks it (local APIC disabled, or nobody
    ///   there).
    /// - Throws: `EINVAL` without an irqchip, `EBADF`, `ENOTTY`. Since Linux 3.5 (`KVM_CAP_SIGNAL_MSI`).
    @discardableResult
    public func signalMSI(address: UInt64, data: UInt32, deviceID: UInt32? = nil) throws(KVMError) -> Bool {
        var request = kvm_msi()
        request.address_lo = UInt32(truncatingIfNeeded: address)
        request.address_hi = UInt32(truncatingIfNeeded: address >> 32)
        request.data = data
        if let deviceID {
            request.flags = UInt32(KVM_MSI_VALID_DEVID)
            request.devid = deviceID
        }
        // SAFETY: the request is a whole struct kvm_msi that outlives the call.
        let result = unsafe irqmux_ioctl(number, irqmux_KVM_SIGNAL_MSI, &request)
        guard result < 0 else { return result > 0 }
        // KVM gives "nobody took it" as a plain -1 from the interrupt path in some kernels, which reads as EPERM.
        if result == -EPERM { return false }
        throw KVMError(.signalMSI, errno: -result, result == -EINVAL ? .noIRQChip : failure(-result))
    }

    /// Drives the line of `gsi` to a level, as a device model in user space does.
    ///
    /// - Throws: `ENXIO` without an in-kernel irqchip, `EBADF`, `ENOTTY`.
    public func setLine(gsi: UInt32, asserted: Bool) throws(KVMError) {
        var request = kvm_irq_level()
        request.irq = gsi
        request.level = asserted ? 1 : 0
        // SAFETY: the request is a whole struct kvm_irq_level that outlives the call.
        let result = unsafe irqmux_ioctl(number, irqmux_KVM_IRQ_LINE, &request)
        guard result < 0 else { return }
        throw KVMError(.setLine, errno: -result, result == -ENXIO ? .noIRQChip : failure(-result))
    }

    /// The reason for an errno that the machine itself, and not what was asked of it, gave.
    func failure(_ errno: Int32) -> KVMError.Reason {
        errno == EBADF ? .virtualMachineClosed : .plain(errno)
    }
}
