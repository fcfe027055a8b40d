internal import CKernel

/// Why a guest is not running any more.
public enum GuestExit: Equatable, Sendable {
    /// `stop()` was called: a good end.
    case stopped
    /// The VMM answered an access of the guest with ``GuestAnswer/powerOff``: the other good end.
    case poweredOff
    /// The guest wrote to, or read from, a port that no doorbell answers for.
    case unclaimedPort(UInt16, value: UInt64, width: Int, isWrite: Bool)
    /// The guest wrote to, or read from, an address outside its memory that no doorbell answers for.
    case unclaimedMemory(UInt64, value: UInt64, width: Int, isWrite: Bool)
    /// The guest took an interrupt or exception that it has no handler for.
    case unexpectedVector(UInt8)
    /// A triple fault (`KVM_EXIT_SHUTDOWN`).
    case shutdown
    /// KVM could not go on (`KVM_EXIT_INTERNAL_ERROR`); 1 is an instruction that it cannot emulate.
    case internalError(suberror: UInt32)
    /// The processor refused the guest's state (`KVM_EXIT_FAIL_ENTRY`, `KVM_EXIT_UNKNOWN`).
    case refused(hardwareReason: UInt64)
    /// `hlt` without an in-kernel local APIC that could wake it.
    case halted
    /// `KVM_RUN` itself failed.
    case failed(errno: Int32)
    /// Another exit, by its KVM number.
    case other(reason: UInt32)

    /// Reads what KVM_RUN left behind.
    init(_ exit: irqmux_kvm_exit) {
        self =
            switch Int32(exit.reason) {
            case KVM_EXIT_IO where exit.address == UInt64(ClosedLoop.faultPort) && exit.is_write != 0:
                .unexpectedVector(UInt8(truncatingIfNeeded: exit.value))
            case KVM_EXIT_IO:
                .unclaimedPort(
                    UInt16(truncatingIfNeeded: exit.address), value: exit.value, width: Int(exit.width),
                    isWrite: exit.is_write != 0)
            case KVM_EXIT_MMIO:
                .unclaimedMemory(
                    exit.address, value: exit.value, width: Int(exit.width), isWrite: exit.is_write != 0)
            case KVM_EXIT_SHUTDOWN: .shutdown
            case KVM_EXIT_INTERNAL_ERROR: .internalError(suberror: exit.suberror)
            case KVM_EXIT_FAIL_ENTRY, KVM_EXIT_UNKNOWN: .refused(hardwareReason: exit.hardware_reason)
            case KVM_EXIT_HLT: .halted
            default: .other(reason: exit.reason)
            }
    }
}

extension GuestExit: CustomStringConvertible {
    /// What happened, in a few words.
    public var description: String {
        switch self {
        case .stopped: "stopped"
        case .poweredOff: "powered off"
        case .unclaimedPort(let port, let value, let width, let isWrite):
            "\(isWrite ? "wrote \(value)" : "read") (\(width) bytes) at port \(port), unanswered"
        case .unclaimedMemory(let address, let value, let width, let isWrite):
            "\(isWrite ? "wrote \(value)" : "read") (\(width) bytes) at 0x\(String(address, radix: 16)), unanswered"
        case .unexpectedVector(let vector): "took interrupt or exception \(vector), which it has no handler for"
        case .shutdown: "shut down by a triple fault"
        case .internalError(let suberror): "KVM internal error, suberror \(suberror)"
        case .refused(let reason): "refused by the processor, reason 0x\(String(reason, radix: 16))"
        case .halted: "halted without a local APIC"
        case .failed(let errno):
            // SAFETY: irqmux_errno_name returns a static NUL-terminated text for every number.
            unsafe "KVM_RUN failed: \(String(cString: irqmux_errno_name(errno)))"
        case .other(let reason): "KVM exit \(reason)"
        }
    }
}
