internal import CKernel

/// An operation of the hot core failed: what it was, the errno, and what to do about it.
public struct RingError: Error, Sendable {
    /// The operation that failed, for example `"io_uring_setup"`.
    public var operation: StaticString
    /// The positive errno, for example `EMFILE`.
    public var errno: Int32
    /// What to change, in one sentence; empty where there is nothing to add.
    public var remedy: StaticString

    /// Makes an error of its three parts.
    public init(_ operation: StaticString, errno: Int32, remedy: StaticString = "") {
        self.operation = operation
        self.errno = errno
        self.remedy = remedy
    }
}

#if !hasFeature(Embedded)
    extension RingError: CustomStringConvertible {
        /// `operation: ERRNO: remedy`.
        public var description: String {
            // SAFETY: irqmux_errno_name returns a static NUL-terminated text for every number.
            let name = unsafe String(cString: irqmux_errno_name(errno))
            return remedy.utf8CodeUnitCount == 0 ? "\(operation): \(name)" : "\(operation): \(name): \(remedy)"
        }
    }
#endif
