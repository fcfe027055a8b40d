internal import CKernel
public import KVM

/// A read or write of the guest's that KVM leaves to the VMM: no doorbell and no memory is there (an exit).
public struct GuestAccess: Equatable, Sendable {
    /// The port or the guest-physical address.
    public var place: DoorbellAddress.Place
    /// How many bytes.
    public var width: Int
    /// What the guest wrote; `nil` when it reads.
    public var written: UInt64?

    /// Describes an access.
    public init(_ place: DoorbellAddress.Place, width: Int, written: UInt64? = nil) {
        self.place = place
        self.width = width
        self.written = written
    }

    /// Reads what KVM_RUN left behind; `nil` for another kind of exit, and for string instructions on ports, whose
    /// single transfers could not be told apart.
    init?(_ exit: irqmux_kvm_exit) {
        switch Int32(exit.reason) {
        case KVM_EXIT_IO where exit.is_string == 0: place = .port(UInt16(truncatingIfNeeded: exit.address))
        case KVM_EXIT_MMIO: place = .memory(exit.address)
        default: return nil
        }
        width = Int(exit.width)
        written = exit.is_write != 0 ? exit.value : nil
    }
}

/// What the VMM says to an access of the guest's.
public enum GuestAnswer: Equatable, Sendable {
    /// A write that is done.
    case done
    /// What the guest reads there.
    case value(UInt64)
    /// The guest's wish to end: ``GuestExit/poweredOff``.
    case powerOff
    /// Nothing is there: the guest ends, and its exit says where.
    case unclaimed
}

/// Answers the guest's accesses, on its virtual CPU's thread, which waits for the answer: it must not stop the guest.
public typealias GuestAccessHandler = @Sendable (GuestAccess) -> GuestAnswer
