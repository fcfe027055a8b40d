internal import CKernel

/// Something could not be done to a device of the host.
public struct HostError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Whose the next move is.
    public enum Kind: Sendable {
        /// What was asked for cannot be meant: another UUID, another number.
        case request
        /// The machine lacks something.
        case machine
        /// It should have worked.
        case failure
    }

    /// What was tried.
    public var operation: String
    /// The positive errno; 0 where none was involved.
    public var errno: Int32
    /// What is the matter, in one clause; empty where only the errno tells.
    public var reason: String
    /// What to do, in one clause; empty where there is nothing to add.
    public var remedy: String
    /// Whose the next move is.
    public var kind: Kind

    /// Makes an error of its parts. Where nothing else is said, an errno that means "not allowed" is the machine's.
    public init(_ operation: String, errno: Int32 = 0, _ reason: String = "", remedy: String = "", kind: Kind? = nil) {
        self.operation = operation
        self.errno = errno
        self.reason = reason
        let isForbidden = errno == EACCES || errno == EPERM || errno == EROFS
        self.remedy = remedy.isEmpty && isForbidden ? "run as root" : remedy
        self.kind = kind ?? (isForbidden || errno == ENOENT || errno == ENODEV ? .machine : .failure)
    }

    /// `operation: ERRNO: why; remedy`.
    public var description: String {
        var text = operation
        // SAFETY: irqmux_errno_name returns a static NUL-terminated text for every number.
        if errno != 0 { text += unsafe ": \(String(cString: irqmux_errno_name(errno)))" }
        if !reason.isEmpty { text += ": \(reason)" }
        if !remedy.isEmpty { text += "; \(remedy)" }
        return text
    }
}
