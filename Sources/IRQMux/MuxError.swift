internal import CKernel
public import EventRing
public import InterruptModel

/// An operation of the mux failed: what it was, the errno, and what to do about it.
public struct MuxError: Error, Sendable {
    /// The operation that failed, for example `"SET_IRQS"` or `"routing a vector"`.
    public var operation: StaticString
    /// The positive errno, for example `ENOSPC`.
    public var errno: Int32
    /// What to change, in one sentence; empty where there is nothing to add.
    public var remedy: StaticString
    /// How many vectors the device could have given, where it had too few (`ENOSPC`); otherwise 0.
    public var available: UInt32 = 0

    /// Makes an error of its parts.
    public init(_ operation: StaticString, errno: Int32, remedy: StaticString = "", available: UInt32 = 0) {
        self.operation = operation
        self.errno = errno
        self.remedy = remedy
        self.available = available
    }

    /// The loop's error, as it is.
    public init(_ error: RingError) { self.init(error.operation, errno: error.errno, remedy: error.remedy) }

    /// What became of a change of many vectors.
    init(_ error: IRQChangeError) {
        self.init(
            error.cause.operation, errno: error.cause.errno,
            remedy: error.available > 0 ? "the host has fewer vectors left: connect fewer" : error.cause.remedy,
            available: error.available)
    }

    /// The device's error, as it is.
    public init(_ error: DeviceError) { self.init(error.operation, errno: error.errno, remedy: error.remedy) }
}

#if !hasFeature(Embedded)
    extension MuxError: CustomStringConvertible {
        /// `operation: ERRNO: remedy`.
        public var description: String {
            // SAFETY: irqmux_errno_name returns a static NUL-terminated text for every number.
            let name = unsafe String(cString: irqmux_errno_name(errno))
            let room = available > 0 ? " (\(available) vectors can be had)" : ""
            return remedy.utf8CodeUnitCount == 0
                ? "\(operation): \(name)\(room)" : "\(operation): \(name)\(room): \(remedy)"
        }
    }
#endif
