internal import CKernel
public import InterruptModel

/// Speaking to the other side failed: what was tried, how it failed, and what to do about it.
public struct VFIOUserError: Error, Equatable, Sendable {
    /// Whose doing it was.
    public enum Kind: Equatable, Sendable {
        /// This machine's: `errno` is the system call's.
        case system
        /// The peer refused: `errno` is the peer's, or `EIO` where it gave none.
        case refused
        /// The peer said what cannot be: sizes, offsets, indices or descriptors that contradict each other.
        case protocolViolation
        /// The peer did not answer in time. The connection is closed, since its answer may still come.
        case timedOut
        /// The connection is gone.
        case disconnected
        /// The peer speaks another major version, which it is given.
        case otherVersion(UInt16)
    }

    /// What was tried, for example `"SET_IRQS"`.
    public var operation: StaticString
    /// Whose doing it was.
    public var kind: Kind
    /// A positive errno.
    public var errno: Int32
    /// What to change, in one sentence; empty where there is nothing to add.
    public var remedy: StaticString

    /// Makes an error of its parts.
    public init(_ operation: StaticString, _ kind: Kind, errno: Int32, remedy: StaticString = "") {
        self.operation = operation
        self.kind = kind
        self.errno = errno
        self.remedy = remedy
    }

    static func violation(_ operation: StaticString, _ what: StaticString) -> VFIOUserError {
        VFIOUserError(operation, .protocolViolation, errno: EPROTO, remedy: what)
    }

    static func system(_ operation: StaticString, _ result: Int, _ remedy: StaticString = "") -> VFIOUserError {
        VFIOUserError(operation, .system, errno: Int32(truncatingIfNeeded: -result), remedy: remedy)
    }

    /// Whether operation, kind and errno agree; the remedy is prose.
    public static func == (left: VFIOUserError, right: VFIOUserError) -> Bool {
        left.kind == right.kind && DeviceError(left) == DeviceError(right)
    }
}

extension DeviceError {
    /// The error in the terms of a device.
    public init(_ error: VFIOUserError) {
        self.init(error.operation, errno: error.errno, remedy: error.remedy)
    }
}

extension VFIOUserError: CustomStringConvertible {
    /// `operation: ERRNO: remedy`.
    public var description: String {
        // SAFETY: irqmux_errno_name returns a static NUL-terminated text for every number.
        let name = unsafe String(cString: irqmux_errno_name(errno))
        return remedy.utf8CodeUnitCount == 0 ? "\(operation): \(name)" : "\(operation): \(name): \(remedy)"
    }
}
