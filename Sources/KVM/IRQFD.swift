internal import CKernel
public import EventRing

/// An assigned irqfd: signals of one eventfd raise a guest interrupt inside the kernel. Deassigns when it goes out of
/// scope.
///
/// Remembers exactly what was assigned, so that the deassign matches (KVM matches eventfd and GSI, and answers success
/// when nothing matched). While it lives:
/// - KVM consumes every signal before anyone who polls or reads: the eventfd cannot be observed.
/// - A signal whose GSI has no committed route is consumed **and lost**. So: route first, then assign; deassign first,
///   then remove the route.
/// - The eventfd must stay open. Closing its last descriptor also takes the irqfd away, asynchronously.
///
/// Assigning an eventfd that has been signalled already injects once, whatever its count.
/// Deassigning waits for a host-wide queue to drain (some 170 µs, milliseconds at times): it is not a masking
/// primitive. A signal that comes later stays on the eventfd as its count and is injected, as one, on the next assign.
///
/// Source: `KVM_IRQFD`, Documentation/virt/kvm/api.rst section 4.75; since Linux 2.6.32, resampling since 3.8.
@frozen public struct IRQFD: ~Copyable, Sendable {
    /// The machine's file descriptor; closing it first makes the deassign a no-op.
    private let machine: Int32
    /// The eventfd that is bound.
    public let eventFD: Int32
    /// The interrupt that it raises.
    public let gsi: UInt32
    /// The eventfd that KVM signals when the guest acknowledges (a level-triggered irqfd), where there is one.
    public let resampleFD: Int32?

    fileprivate init(machine: Int32, eventFD: Int32, gsi: UInt32, resampleFD: Int32?) {
        self.machine = machine
        self.eventFD = eventFD
        self.gsi = gsi
        self.resampleFD = resampleFD
    }

    deinit { _ = IRQFD.deassign(machine, eventFD, gsi) }

    /// Takes the irqfd away and waits until no injection of it is under way. May be called from any thread.
    ///
    /// - Throws: `EBADF` when the machine's or the eventfd's number has been closed. The kernel takes the irqfd away
    ///   with the last descriptor of either.
    public consuming func deassign() throws(KVMError) {
        let (machine, eventFD, gsi) = (machine, eventFD, gsi)
        discard self
        let result = IRQFD.deassign(machine, eventFD, gsi)
        guard result < 0 else { return }
        throw KVMError(.deassignIRQFD, errno: -result, IRQFD.reason(-result, machine, eventFD, resampleFD: nil))
    }

    /// Gives up ownership without deassigning: ``VirtualMachine/adoptIRQFD(_:gsi:)`` takes it again. For whoever keeps
    /// thousands of them in a table of numbers. No system call.
    public consuming func release() { discard self }

    private static func deassign(_ machine: Int32, _ eventFD: Int32, _ gsi: UInt32) -> Int32 {
        var request = kvm_irqfd()
        request.fd = UInt32(bitPattern: eventFD)
        request.gsi = gsi
        request.flags = UInt32(KVM_IRQFD_FLAG_DEASSIGN)
        // SAFETY: the request is a whole struct kvm_irqfd that outlives the call.
        return unsafe irqmux_ioctl(machine, irqmux_KVM_IRQFD, &request)
    }

    /// Tells apart what KVM's errno leaves together, by looking at the three descriptors. Only after a failure.
    static func reason(_ errno: Int32, _ machine: Int32, _ eventFD: Int32, resampleFD: Int32?) -> KVMError.Reason {
        switch errno {
        case EBUSY: return .alreadyBound
        case EAGAIN: return .irqChipNotReady
        case EBADF, EINVAL: break
        default: return .plain(errno)
        }
        if irqmux_fd_flags(machine) < 0 { return .virtualMachineClosed }
        if irqmux_fd_flags(eventFD) < 0 { return .eventFDClosed }
        if isEventFD(eventFD) == false { return .notAnEventFD }
        guard let resampleFD else { return errno == EINVAL ? .noIRQChip : .unknown }
        if resampleFD == eventFD || isEventFD(resampleFD) != true { return .badResampleFD }
        return irqmux_kvm_has_full_irqchip(machine) == 0 ? .resampleNeedsFullIRQChip : .unsupported
    }
}

extension VirtualMachine {
    /// Binds `eventFD` to `gsi`: from now on its signals raise that interrupt in the guest, inside the kernel.
    ///
    /// Through an MSI route the interrupt is injected in the signaller's context; through PIC or IOAPIC pins by a
    /// kernel worker, later. The GSI's route should be committed already: KVM does not check, and swallows signals
    /// without one.
    ///
    /// - Parameters:
    ///   - eventFD: An eventfd's number, from ``EventFD`` or elsewhere. Borrowed: it stays the caller's.
    ///   - gsi: The interrupt, as the routing table knows it.
    ///   - resampleFD: For a level-triggered line: the line stays up until the guest acknowledges (end of interrupt);
    ///     then KVM lowers it and signals this eventfd. Needs the full irqchip.
    /// - Throws: `EBADF` (closed eventfd or machine), `EINVAL` (not an eventfd, bad resample eventfd, no irqchip,
    ///   resampling with a split irqchip), `EBUSY` (the eventfd is an irqfd already: of this machine, or since Linux
    ///   6.17 of any), `EAGAIN` (arm64: vGIC not ready), `ENOMEM`.
    public func assignIRQFD(_ eventFD: Int32, gsi: UInt32, resampleFD: Int32? = nil) throws(KVMError) -> IRQFD {
        var request = kvm_irqfd()
        request.fd = UInt32(bitPattern: eventFD)
        request.gsi = gsi
        if let resampleFD {
            request.flags = UInt32(KVM_IRQFD_FLAG_RESAMPLE)
            request.resamplefd = UInt32(bitPattern: resampleFD)
        }
        // SAFETY: the request is a whole struct kvm_irqfd that outlives the call.
        let result = unsafe irqmux_ioctl(number, irqmux_KVM_IRQFD, &request)
        guard result == 0 else {
            throw KVMError(
                .assignIRQFD, errno: -result, IRQFD.reason(-result, number, eventFD, resampleFD: resampleFD))
        }
        return IRQFD(machine: number, eventFD: eventFD, gsi: gsi, resampleFD: resampleFD)
    }

    /// Owns an irqfd of this machine again that was released, or assigned by somebody else who leaves it to the caller.
    /// Asks the kernel nothing: what was never assigned is deassigned to no effect.
    ///
    /// - Parameters:
    ///   - eventFD: The eventfd that is bound, without a resample eventfd. Borrowed.
    ///   - gsi: The interrupt that it is bound to; deassigning matches both.
    public func adoptIRQFD(_ eventFD: Int32, gsi: UInt32) -> IRQFD {
        IRQFD(machine: number, eventFD: eventFD, gsi: gsi, resampleFD: nil)
    }

    /// Binds an owned eventfd; as the form that takes numbers.
    public func assignIRQFD(_ eventFD: borrowing EventFD, gsi: UInt32) throws(KVMError) -> IRQFD {
        try assignIRQFD(eventFD.number, gsi: gsi)
    }

    /// Binds an owned eventfd to a level-triggered line; as the form that takes numbers.
    public func assignIRQFD(
        _ eventFD: borrowing EventFD, gsi: UInt32, resample: borrowing EventFD
    ) throws(KVMError) -> IRQFD {
        try assignIRQFD(eventFD.number, gsi: gsi, resampleFD: resample.number)
    }
}
