internal import CKernel
public import EventRing
public import KVM

/// The small guest could not be made, started or waited for.
public enum MicroGuestError: Error, Sendable {
    /// KVM refused an interrupt operation.
    case kvm(KVMError)
    /// An eventfd could not be made or used.
    case eventFD(RingError)
    /// Another system call failed; `errno` is positive.
    case system(operation: StaticString, errno: Int32)
    /// The processor is not an x86-64.
    case needsX86
    /// More message vectors were asked for than the guest has room for.
    case tooManyMessages(most: Int)
    /// A pin was asked for, and the irqchip has none.
    case pinNeedsFullIRQChip
    /// The guest ended by itself.
    case died(GuestExit)
    /// The guest lives and did not do it in time.
    case timedOut(waitingFor: StaticString)
    /// `start()` was called on a guest that has run already.
    case startedTwice
}

extension MicroGuestError: CustomStringConvertible {
    /// One line: what failed and why.
    public var description: String {
        switch self {
        case .kvm(let error): return "\(error)"
        case .eventFD(let error): return "\(error)"
        case .system(let operation, let errno):
            // SAFETY: irqmux_errno_name returns a static NUL-terminated text for every number.
            return unsafe "\(operation): \(String(cString: irqmux_errno_name(errno)))"
        case .needsX86: return "the small guest is x86 code, and this processor is not an x86-64"
        case .tooManyMessages(let most): return "the guest takes at most \(most) message vectors"
        case .pinNeedsFullIRQChip: return "a pin needs the full irqchip: with a split one the PIC is in user space"
        case .died(let exit): return "the guest died: \(exit)"
        case .timedOut(let what): return "the guest is alive, but gave no \(what) in time"
        case .startedTwice: return "a guest starts once; make another"
        }
    }
}
