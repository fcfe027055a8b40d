internal import CKernel
public import EventRing

/// Which of the guest's writes ring a doorbell.
public struct DoorbellAddress: Hashable, Sendable {
    /// Where the guest writes.
    public enum Place: Hashable, Sendable {
        /// An I/O port (x86).
        case port(UInt16)
        /// A guest-physical address that no memory slot covers.
        case memory(UInt64)
    }

    /// How many bytes the guest writes.
    public enum Width: UInt32, CaseIterable, Sendable {
        /// Any number of bytes. On memory KVM need not decode the instruction (fast MMIO). Since Linux 3.17 for ports,
        /// 4.4 for memory.
        case any = 0
        /// One byte.
        case one = 1
        /// Two bytes.
        case two = 2
        /// Four bytes.
        case four = 4
        /// Eight bytes.
        case eight = 8
    }

    /// Where.
    public var place: Place
    /// How wide. A write of another width goes to another doorbell at the same address, or to the VMM.
    public var width: Width
    /// Only writes of this value ring; `nil` for every value. The value itself is not told to anyone.
    public var match: UInt64?

    /// Describes a doorbell; whether KVM takes it is seen on assignment.
    public init(_ place: Place, width: Width, match: UInt64? = nil) {
        self.place = place
        self.width = width
        self.match = match
    }
}

/// An assigned ioeventfd (doorbell): certain writes of the guest signal an eventfd inside the kernel, and KVM_RUN does
/// not return. Deassigns when it goes out of scope.
///
/// Remembers exactly what was assigned, because KVM removes only what agrees in address, width, match and eventfd.
/// The eventfd must stay open until then. Each doorbell more makes the next assignment dearer (the kernel copies its
/// table), not the ringing.
///
/// Source: `KVM_IOEVENTFD`, Documentation/virt/kvm/api.rst section 4.59; since Linux 2.6.32.
@frozen public struct IOEventFD: ~Copyable, Sendable {
    private let machine: Int32
    /// The eventfd that is signalled.
    public let eventFD: Int32
    /// The writes that signal it.
    public let address: DoorbellAddress

    fileprivate init(machine: Int32, eventFD: Int32, address: DoorbellAddress) {
        self.machine = machine
        self.eventFD = eventFD
        self.address = address
    }

    deinit { _ = IOEventFD.call(machine, eventFD, address, deassign: true) }

    /// Takes the doorbell away: later writes go to the VMM. May be called from any thread.
    ///
    /// - Throws: `ENOENT` when it is not there any more, `EBADF` when the machine or the eventfd has been closed.
    public consuming func deassign() throws(KVMError) {
        let (machine, eventFD, address) = (machine, eventFD, address)
        discard self
        let result = IOEventFD.call(machine, eventFD, address, deassign: true)
        guard result < 0 else { return }
        throw KVMError(.deassignIOEventFD, errno: -result, IOEventFD.reason(-result, machine, eventFD, address))
    }

    fileprivate static func call(
        _ machine: Int32, _ eventFD: Int32, _ address: DoorbellAddress, deassign: Bool
    ) -> Int32 {
        var request = kvm_ioeventfd()
        request.fd = eventFD
        request.len = address.width.rawValue
        if deassign { request.flags |= UInt32(irqmux_KVM_IOEVENTFD_DEASSIGN) }
        switch address.place {
        case .port(let port):
            request.addr = UInt64(port)
            request.flags |= UInt32(irqmux_KVM_IOEVENTFD_PIO)
        case .memory(let place): request.addr = place
        }
        if let match = address.match {
            request.datamatch = match
            request.flags |= UInt32(irqmux_KVM_IOEVENTFD_DATAMATCH)
        }
        // SAFETY: the request is a whole struct kvm_ioeventfd that outlives the call.
        return unsafe irqmux_ioctl(machine, irqmux_KVM_IOEVENTFD, &request)
    }

    /// Tells apart what KVM's errno leaves together, by looking at the request and the descriptors.
    static func reason(
        _ errno: Int32, _ machine: Int32, _ eventFD: Int32, _ address: DoorbellAddress
    ) -> KVMError.Reason {
        switch errno {
        case EEXIST: return .doorbellTaken
        case ENOENT: return .noSuchDoorbell
        case EBADF, EINVAL: break
        default: return .plain(errno)
        }
        if irqmux_fd_flags(machine) < 0 { return .virtualMachineClosed }
        if irqmux_fd_flags(eventFD) < 0 { return .eventFDClosed }
        if address.match != nil, address.width == .any { return .matchNeedsWidth }
        if case .memory(let place) = address.place, place > .max - UInt64(address.width.rawValue) {
            return .addressWraps
        }
        if isEventFD(eventFD) == false { return .notAnEventFD }
        return address.width == .any ? .unsupported : .unknown
    }
}

extension VirtualMachine {
    /// Lets writes of the guest to `address` signal `eventFD` in the kernel.
    ///
    /// Two doorbells at one address do not collide when they differ in width (neither being
    /// ``DoorbellAddress/Width/any``), or both match, and different values.
    ///
    /// - Parameters:
    ///   - eventFD: An eventfd's number, from ``EventFD`` or elsewhere. Borrowed: it stays the caller's.
    ///   - address: The writes that ring.
    /// - Throws: `EBADF` (closed eventfd or machine), `EINVAL` (not an eventfd; a match without a width, or wider than
    ///   it; an address that wraps), `EEXIST` (collision), `ENOMEM`.
    public func assignIOEventFD(_ eventFD: Int32, at address: DoorbellAddress) throws(KVMError) -> IOEventFD {
        // KVM takes a match that no write of this width can equal, and the doorbell never rings.
        if let match = address.match, address.width != .any, address.width != .eight,
            match >> (UInt64(address.width.rawValue) * 8) != 0
        {
            throw KVMError(.assignIOEventFD, errno: EINVAL, .matchTooWide)
        }
        let result = IOEventFD.call(number, eventFD, address, deassign: false)
        guard result == 0 else {
            throw KVMError(.assignIOEventFD, errno: -result, IOEventFD.reason(-result, number, eventFD, address))
        }
        return IOEventFD(machine: number, eventFD: eventFD, address: address)
    }

    /// Lets writes of the guest signal an owned eventfd; as the form that takes a number.
    public func assignIOEventFD(
        _ eventFD: borrowing EventFD, at address: DoorbellAddress
    ) throws(KVMError) -> IOEventFD {
        try assignIOEventFD(eventFD.number, at: address)
    }
}
