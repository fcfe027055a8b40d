public import EventRing

/// What a mux is made with. Everything is fixed at creation; nothing grows afterwards.
public struct MuxOptions: Sendable {
    /// How a level-triggered interrupt is acknowledged.
    public enum INTxAcknowledgement: Sendable {
        /// By the mux, when the handler has returned: for handlers that quiet the device themselves.
        case afterHandler
        /// By `Mux.acknowledge`: for owners that learn later, from a guest's EOI, that the device is quiet.
        case explicit
    }

    /// How the loop is made. Its capacity bounds vectors and other sources together.
    public var loop = LoopOptions()
    /// The most fan-out targets of all vectors together.
    public var fanOutTargets = 256
    /// A fan-out to at least so many O_NONBLOCK targets is sent through the ring with one system call; a shorter one,
    /// or one on a loop without io_uring, is a write(2) a target. 16 is where the ring begins to be cheaper (decision
    /// 0007).
    public var batchedFanOut = 16
    /// In which order vectors that are ready are handed out.
    public var schedule = Schedule.arrival
    /// Whether the delay from a signal's arrival to its turn is recorded for each priority, while the schedule is not
    /// `arrival`: see `Mux.scheduleDelays`. 140 KiB.
    public var measuresSchedule = false
    /// The most devices at a time, at most 255.
    public var devices = 16
    /// The most pairs (doorbell and completion) at a time, at most 4096.
    public var pairs = 16
    /// How INTx is acknowledged.
    public var intxAcknowledgement = INTxAcknowledgement.afterHandler
    /// Routes of vectors served to a guest's MSI or MSI-X are committed when no further one was wanted for so many
    /// nanoseconds, or when as many wait as are committed. Until then the loop injects their messages.
    public var routeBatchDelay: UInt64 = 2_000_000
    /// After so many notifications of a vector whose gate is shut the loop stops listening to it, so that a storm on a
    /// masked vector costs nothing; the signals stay in the eventfd.
    public var silenceAfter: UInt64 = 64

    /// The defaults.
    public init() {}
}
