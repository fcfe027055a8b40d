/// How a source's signals are delivered.
public enum Delivery: UInt8, Sendable, BitwiseCopyable {
    /// One event for one or more signals; the counter is not read (`Event.count` is 0). For MSI, MSI-X and doorbells:
    /// the cheapest. Arming reports at once if the counter is not zero.
    case edge
    /// One event with the number of signals it stands for; armed again by the loop after the event was handed out.
    case counted
    /// Like `counted`, but silent afterwards until `EventLoop.arm`. For level-triggered interrupts, which want an
    /// acknowledgement before the next.
    case acknowledged
}

/// One place of the source table: 64 bytes, one cache line, at one address for life (the kernel writes `counter`).
struct Source: BitwiseCopyable {
    /// Where a source is in its life. Disarming walks through these states because the kernel may answer
    /// "already firing" to a cancellation and leave the request armed.
    enum Phase: UInt8 {
        /// Nobody's.
        case free
        /// Known, not listening.
        case idle
        /// In the work list, to be armed by the next flush.
        case arming
        /// The kernel listens.
        case armed
        /// A cancellation is under way; the request's own last completion has not been seen.
        case cancelling
        /// The spinning loop reads the eventfd itself; the kernel has no request.
        case direct
    }

    /// The caller's, handed out with each event.
    var tag: UInt64 = 0
    /// Where a READ puts the count.
    var counter: UInt64 = 0
    /// Events handed out.
    var notifications: UInt64 = 0
    /// Signals whose number is known because the counter was read.
    var taken: UInt64 = 0
    var descriptor: Int32 = -1
    var generation: UInt32 = 0
    /// The next place in the list this one is in: the free list or the work list. `UInt32.max` ends a list.
    var link: UInt32 = .max
    var phase = Phase.free
    var delivery = Delivery.edge
    /// In the work list already.
    var listed = false
    /// `cancelling` ends in `free`.
    var removed = false
    /// `cancelling` ends in `arming`.
    var wanted = false
    /// A cancellation has to be submitted (again).
    var cancelDue = false
    /// O_NONBLOCK is set, so that a plain read(2) cannot stall the loop.
    var nonblocking = false
    /// The loop's own descriptor of a source whose counter is read: to put back a count that nobody is told of.
    var keeper: Int32 = -1
    private var padding: UInt64 = 0

    /// Where `counter` is; a test compares. (Embedded Swift has no key paths to ask with.)
    static var counterOffset: Int { 8 }

    /// A place that is nobody's.
    init() {}

    /// The beginning of a life.
    init(
        descriptor: Int32, generation: UInt32, tag: UInt64, delivery: Delivery, nonblocking: Bool,
        keeper: Int32
    ) {
        self.tag = tag
        self.descriptor = descriptor
        self.generation = generation
        self.delivery = delivery
        self.nonblocking = nonblocking
        self.keeper = keeper
        phase = .idle
    }
}
