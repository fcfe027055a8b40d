/// An eventfd that a device holds. Opaque here: the model opens, signals and closes nothing.
public struct AssignedEventFD: Hashable, Sendable {
    /// The file descriptor as the request gave it.
    public var number: Int32
    /// What the caller knows the eventfd by after the request; the number may be closed or reused since.
    public var identity: UInt64

    /// Names an eventfd by the number of the request and the caller's own identity for it.
    public init(number: Int32, identity: UInt64) {
        self.number = number
        self.identity = identity
    }
}

/// What a file descriptor of a request turns out to be; the model's caller finds out.
public enum EventFDLookup: Equatable, Sendable {
    /// An eventfd, known to the caller by `identity` from now on.
    case eventFD(identity: UInt64)
    /// Some other file; the kernel refuses it with EINVAL.
    case otherFile(identity: UInt64)
    /// Nothing is open under that number: EBADF.
    case notOpen
}

/// One thing a request did, in the order it was done.
public enum Change: Equatable, Sendable {
    /// A type became active with that many vectors allocated.
    case enabled(IRQIndex, vectors: UInt32)
    /// The active type was disabled and its vectors freed.
    case disabled(IRQIndex)
    /// One more MSI-X vector was allocated after enabling.
    case allocated(Vector)
    /// A vector took an eventfd.
    case assigned(Vector, AssignedEventFD)
    /// A vector gave its eventfd back; the device does not touch it any more.
    case released(Vector, AssignedEventFD)
    /// An eventfd was looked up and then not taken.
    case declined(AssignedEventFD)
    /// A vector's eventfd was signalled once.
    case signalled(Vector, AssignedEventFD)
    /// INTx was masked.
    case masked
    /// INTx was unmasked.
    case unmasked
    /// INTx took an eventfd that unmasks it.
    case unmaskInstalled(AssignedEventFD)
    /// INTx gave its unmasking eventfd back.
    case unmaskRemoved(AssignedEventFD)
    /// A pending bit was lost with the vector that held it.
    case pendingDropped(Vector)
}

/// What a request did, and why.
public struct Outcome: Equatable, Sendable {
    /// What the caller of the ioctl sees.
    public enum Verdict: Equatable, Sendable {
        /// 0.
        case done
        /// A positive number: so many vectors could have been had; nothing was enabled.
        case available(UInt32)
        /// −1 with this errno. A range may be left half changed: `changes` tells.
        case refused(errno: Int32)
    }

    /// What the caller sees.
    public var verdict: Verdict
    /// Why.
    public var reason: Reason
    /// The vector at which a range failed, where there is one.
    public var failedAt: UInt32?
    /// Everything that happened, in order; not empty even after some failures.
    public var changes: [Change]

    init(_ verdict: Verdict, _ reason: Reason, failedAt: UInt32? = nil, changes: [Change] = []) {
        self.verdict = verdict
        self.reason = reason
        self.failedAt = failedAt
        self.changes = changes
    }

    static func refused(_ errno: Int32, _ reason: Reason) -> Outcome { Outcome(.refused(errno: errno), reason) }

    /// The eventfds signalled, in order; one that is signalled twice stands twice.
    public var signals: [AssignedEventFD] {
        changes.compactMap { change in
            if case .signalled(_, let eventFD) = change { eventFD } else { nil }
        }
    }

    /// The eventfds the device let go of, or looked at and did not take. None of them is signalled afterwards.
    public var released: [AssignedEventFD] {
        changes.compactMap { change in
            switch change {
            case .released(_, let eventFD), .declined(let eventFD), .unmaskRemoved(let eventFD): eventFD
            default: nil
            }
        }
    }

    /// The ioctl's result in the kernel's own form: 0, a positive count, or −errno.
    public var returnValue: Int32 {
        switch verdict {
        case .done: 0
        case .available(let count): Int32(truncatingIfNeeded: count)
        case .refused(let errno): -errno
        }
    }
}
