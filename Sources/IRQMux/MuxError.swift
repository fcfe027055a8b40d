internal import CKernel
public import EventRing
public import InterruptModel

/// An operation of the mux failed: what it was, the errno, and what to do about it.
public struct MuxError: Error, Sendable {
    // The loop's error has the same parts.
    private let cause: RingError
    /// How many vectors the device could have given, where it had too few (`ENOSPC`); otherwise 0.
    public let available: UInt32

    /// Makes an error of its parts.
    public init(_ operation: StaticString, errno: Int32, remedy: StaticString = "", available: UInt32 = 0) {
        cause = RingError(operation, errno: errno, remedy: remedy)
        self.available = available
    }

    /// The loop's error, as it is.
    public init(_ error: RingError) {
        cause = error
        available = 0
    }

    /// What became of a change of many vectors.
    init(_ error: IRQChangeError) {
        let few: StaticString = "the host has fewer vectors left: connect fewer"
        available = error.available
        // SAFETY: texts of an error, and a literal of several characters.
        cause = unsafe RingError(
            error.cause.operationText, errno: error.cause.errno,
            error.available > 0 ? few.utf8Start : error.cause.remedyText)
    }

    /// The device's error, as it is.
    public init(_ error: DeviceError) {
        // SAFETY: texts of an error.
        cause = unsafe RingError(error.operationText, errno: error.errno, error.remedyText)
        available = 0
    }

    /// The operation that failed, for example `"SET_IRQS"` or `"routing a vector"`.
    public var operation: StaticString { cause.operation }

    /// The positive errno, for example `ENOSPC`.
    public var errno: Int32 { cause.errno }

    /// What to change, in one sentence; empty where there is nothing to add.
    public var remedy: StaticString { cause.remedy }
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
