internal import CKernel

/// A device refused a request: what was asked, the errno, and what to do about it.
public struct DeviceError: Error, Equatable, Sendable {
    /// The operation that failed, for example `"SET_IRQS"`.
    public var operation: StaticString
    /// The positive errno, for example `EINVAL`.
    public var errno: Int32
    /// What to change, in one sentence; empty where there is nothing to add.
    public var remedy: StaticString

    /// Makes an error of its three parts.
    public init(_ operation: StaticString, errno: Int32, remedy: StaticString = "") {
        self.operation = operation
        self.errno = errno
        self.remedy = remedy
    }

    /// Whether operation and errno agree; the remedy is prose.
    public static func == (left: DeviceError, right: DeviceError) -> Bool {
        let length = left.operation.utf8CodeUnitCount
        guard left.errno == right.errno, length == right.operation.utf8CodeUnitCount else { return false }
        // SAFETY: every operation is a text of several characters, so it has an address and `length` bytes there.
        return unsafe memcmp(left.operation.utf8Start, right.operation.utf8Start, length) == 0
    }
}
