internal import CKernel

/// Asks the kernel what a descriptor is. Whoever takes over eventfds often waits for the answer, and a ring gives it
/// five times faster than the link in /proc.
///
/// One caller at a time. A ring's descriptor is open as long as this lives.
public struct EventFDProbe: ~Copyable, Sendable {
    private let ring: Int32

    /// Makes the ring. Where rings are forbidden, /proc is asked instead.
    public init() { ring = irqmux_eventfd_probe_create() }

    deinit { if ring >= 0 { _ = irqmux_close(ring) } }

    /// Whether an open descriptor is an eventfd, without touching its counter.
    public borrowing func isEventFD(_ descriptor: Int32) -> Bool {
        let answer = ring >= 0 ? irqmux_eventfd_probe(ring, descriptor) : -ENOSYS
        return answer >= 0 ? answer == 1 : irqmux_fd_is_eventfd(descriptor)
    }
}

/// An eventfd that somebody else made: known by a descriptor of one's own, so that its owner may close his, or by one
/// that the owner lends.
///
/// It packs that descriptor with whether writing might wait: an eventfd without O_NONBLOCK whose counter is full would
/// stall whoever signals it. Closing is the holder's matter. Any thread.
@frozen public struct ForeignEventFD: Sendable {
    private static var blocks: UInt64 { 1 << 32 }
    private static var isLent: UInt64 { 1 << 33 }

    /// The one number by which to remember it.
    public let identity: UInt64

    /// One that is held already, by its number.
    public init(identity: UInt64) { self.identity = identity }

    /// One that its owner keeps open as long as it is held here, and that does not block.
    public init(lent number: Int32) { identity = UInt64(UInt32(bitPattern: number)) | Self.isLent }

    /// The descriptor to signal.
    public var descriptor: Int32 { Int32(truncatingIfNeeded: identity) }

    /// Duplicates somebody's descriptor and says whether it is an eventfd, without touching its counter.
    ///
    /// - Parameter shortage: Set to the errno when no duplicate can be had although the descriptor is open.
    /// - Returns: What is held from now on, an eventfd or not; `nil` when nothing is.
    public static func duplicating(
        _ number: Int32, _ probe: borrowing EventFDProbe, shortage: inout Int32
    ) -> (held: ForeignEventFD, isEventFD: Bool)? {
        let copy = irqmux_duplicate(number)
        guard copy >= 0 else {
            if copy != -EBADF { shortage = -copy }
            return nil
        }
        let mayBlock = irqmux_fd_flags(copy) & O_NONBLOCK == 0
        let held = ForeignEventFD(identity: UInt64(UInt32(bitPattern: copy)) | (mayBlock ? blocks : 0))
        return (held, probe.isEventFD(copy))
    }

    /// Signals once and never waits. A full counter counts as signalled: whoever listens has a signal waiting already.
    @inline(__always)
    public func signal() { _ = irqmux_eventfd_signal_foreign(descriptor, identity & Self.blocks != 0) }

    /// Closes the descriptor, unless it is lent.
    public func close() {
        if identity & Self.isLent == 0 { _ = irqmux_close(descriptor) }
    }
}
