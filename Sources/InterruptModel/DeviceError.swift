internal import CKernel

/// A device refused a request: what was asked, the errno, and what to do about it.
///
/// Three words, so that it is returned in registers: with the texts' lengths every `try` would copy eight.
@safe public struct DeviceError: Error, Equatable, @unchecked Sendable {
    // Literals, which live for ever and end with a NUL; so the struct is as good as Sendable.
    package let operationText: UnsafePointer<UInt8>
    package let remedyText: UnsafePointer<UInt8>
    /// The positive errno, for example `EINVAL`.
    public let errno: Int32

    /// Makes an error of its three parts.
    public init(_ operation: StaticString, errno: Int32, remedy: StaticString = "") {
        // SAFETY: the texts are literals of several characters or none, which have an address.
        unsafe self.init(operation.utf8Start, errno: errno, remedy.utf8Start)
    }

    /// Makes an error of texts that are another error's.
    package init(_ operation: UnsafePointer<UInt8>, errno: Int32, _ remedy: UnsafePointer<UInt8>) {
        // SAFETY: kept, and only read as what they are, literals.
        unsafe operationText = operation
        unsafe remedyText = remedy
        self.errno = errno
    }

    /// The operation that failed, for example `"SET_IRQS"`.
    public var operation: StaticString {
        // SAFETY: a literal's address.
        unsafe StaticString(at: operationText)
    }

    /// What to change, in one sentence; empty where there is nothing to add.
    public var remedy: StaticString {
        // SAFETY: a literal's address.
        unsafe StaticString(at: remedyText)
    }

    /// Whether operation and errno agree; the remedy is prose.
    public static func == (left: DeviceError, right: DeviceError) -> Bool {
        // SAFETY: literals, which end with a NUL.
        unsafe left.errno == right.errno
            && strcmp(
                UnsafeRawPointer(left.operationText).assumingMemoryBound(to: CChar.self),
                UnsafeRawPointer(right.operationText).assumingMemoryBound(to: CChar.self)) == 0
    }
}

extension StaticString {
    /// The literal that begins there.
    fileprivate init(at start: UnsafePointer<UInt8>) {
        // SAFETY: a literal ends with a NUL; StaticString is frozen as address, length and flags, none set.
        let length = unsafe strlen(UnsafeRawPointer(start).assumingMemoryBound(to: CChar.self))
        self = unsafe unsafeBitCast((start, length, UInt8(0)), to: StaticString.self)
    }
}

#if !hasFeature(Embedded)
    extension DeviceError: CustomStringConvertible {
        /// `operation: ERRNO: remedy`.
        public var description: String {
            // SAFETY: irqmux_errno_name returns a static NUL-terminated text for every number.
            let name = unsafe String(cString: irqmux_errno_name(errno))
            return remedy.utf8CodeUnitCount == 0 ? "\(operation): \(name)" : "\(operation): \(name): \(remedy)"
        }
    }
#endif
