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
        left.errno == right.errno && left.operation.utf8CodeUnitCount == right.operation.utf8CodeUnitCount
    }
}
