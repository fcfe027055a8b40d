internal import CKernel
internal import Glibc
internal import InterruptModel

/// Asks the kernel what a descriptor is. Whoever assigns eventfds often, as a mask does, waits for the answer.
///
/// One caller at a time: it lives under the device's lock.
struct EventFDProbe: ~Copyable {
    private let ring: Int32

    /// Where rings are forbidden, /proc is asked instead.
    init() { ring = irqmux_eventfd_probe_create() }

    deinit { if ring >= 0 { _ = irqmux_close(ring) } }

    /// Whether an open descriptor is an eventfd, without touching its counter.
    borrowing func isEventFD(_ descriptor: Int32) -> Bool {
        let answer = ring >= 0 ? irqmux_eventfd_probe(ring, descriptor) : -ENOSYS
        return answer >= 0 ? answer == 1 : irqmux_fd_is_eventfd(descriptor)
    }
}

/// How the device knows an eventfd: by a descriptor of its own, so that the owner may close his, or by one that the
/// owner lends it.
///
/// The identity packs that descriptor with whether it may block: a blocking eventfd whose counter is full would stall
/// the device, so such a one is polled before it is written.
struct HeldEventFD {
    private static let blocks: UInt64 = 1 << 32
    private static let lent: UInt64 = 1 << 33

    let descriptor: Int32
    let mayBlock: Bool
    private let isLent: Bool

    init(_ eventFD: AssignedEventFD) {
        descriptor = Int32(truncatingIfNeeded: eventFD.identity)
        mayBlock = eventFD.identity & Self.blocks != 0
        isLent = eventFD.identity & Self.lent != 0
    }

    /// A descriptor that its owner keeps open, and that does not block.
    static func lent(_ number: Int32) -> AssignedEventFD {
        AssignedEventFD(number: number, identity: UInt64(UInt32(bitPattern: number)) | lent)
    }

    /// Looks at a descriptor of a request: takes a duplicate and says what it is, without touching its counter.
    ///
    /// - Parameter shortage: Set to the errno when no duplicate can be had although the descriptor is open.
    static func lookUp(_ number: Int32, _ probe: borrowing EventFDProbe, shortage: inout Int32) -> EventFDLookup {
        let copy = irqmux_duplicate(number)
        guard copy >= 0 else {
            if copy != -EBADF { shortage = -copy }
            return .notOpen
        }
        let blocks = fcntl(copy, F_GETFL) & O_NONBLOCK == 0
        let identity = UInt64(UInt32(bitPattern: copy)) | (blocks ? Self.blocks : 0)
        return probe.isEventFD(copy) ? .eventFD(identity: identity) : .otherFile(identity: identity)
    }

    /// Signals once. A full counter counts as signalled: whoever listens has a signal waiting already.
    func signal() {
        if mayBlock, !isWritable { return }
        _ = irqmux_eventfd_signal(descriptor, 1)
    }

    private var isWritable: Bool {
        var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        // SAFETY: one entry, alive for the call.
        return unsafe poll(&entry, 1, 0) == 1 && entry.revents & Int16(POLLOUT) != 0
    }

    func close() {
        if !isLent { _ = irqmux_close(descriptor) }
    }
}
