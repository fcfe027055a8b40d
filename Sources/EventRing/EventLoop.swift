internal import CKernel

/// What a loop calls for each event when it runs by itself.
public protocol EventHandler: ~Copyable {
    /// Called on the loop's thread, once an event. May add, remove, arm and disarm sources of `loop`, also the event's
    /// own, and may stop it: the rest of the batch stays queued and comes first in the next run.
    mutating func handle(_ event: Event, on loop: inout EventLoop)
}

/// An event loop over eventfds: one io_uring, a fixed table of sources, no allocation after it is made.
///
/// Made on any thread; belongs to the thread on which it first waits, and must be waited on, changed and destroyed
/// there. Other threads use `remote`. Made before a fork, it is the parent's: in the child it must not be touched.
///
///     var loop = try EventLoop()
///     let source = try loop.add(eventfd.number, tag: 7)
///     while !done {
///         try loop.wait()
///         while let event = loop.next() { … }
///     }
///
/// Memory the kernel writes into never moves and is released only after the kernel has let go of it: a removed source's
/// place is used again when its request's last completion was seen, and the ring is closed before the table is freed.
public struct EventLoop: ~Copyable {
    // The backend before the tables: fields are destroyed in this order, and the kernel writes into the tables.
    let backend: Backend
    let sources: Slab<Source>
    var timers: TimerHeap
    let control: LoopControl
    let delays: HistogramWriter
    let board: StatisticsWriter
    let options: LoopOptions
    let notifier: EventFD?

    // The completion queue: what has been handed out, and what may be without looking at the kernel's tail again.
    let queue: CompletionQueue
    var position: UInt32
    var end: UInt32
    /// Whether `next` may look for completions: once after each wait.
    var mayRefill = false

    // Lists through the table, by `Source.link`.
    var firstFree: UInt32
    var firstWork = UInt32.max
    var lastWork = UInt32.max
    /// Sources that are known, whether armed or not.
    var sourceCount: UInt32 = 0
    /// Requests and cancellations under way for sources being disarmed.
    var cancelling: UInt32 = 0

    // Waiting.
    var waiting: WaitMode
    var spinBudget: UInt64 = 0
    var direct = DirectSources()
    var wakeUpArmed = false
    let wakeUpBuffer: Slab<UInt64>
    /// The 1 that is written into signalled eventfds, and whether there are any; see EventLoop+Relay.
    let signalBuffer: Slab<UInt64>
    let hasTargets: Bool

    // Instruments; see EventLoop+Instruments.
    var clock: CycleClock
    var statistics = LoopStatistics()
    var batchStart: UInt64 = 0
    var stamp: UInt64 = 0
    var eventsUnderStamp: UInt32 = 0
    var eventsToStamp: UInt32 = 0
    var inBatch = false
    /// How many fetches in a row brought all the kernel gives at once.
    var fullFetches: UInt32 = 0
    /// When the last wait ended, for the batch that follows it; 0 once used.
    var arrival: UInt64 = 0
    /// The last wait, to be booked before the next: its stamps, and whether it was allowed to take time.
    var waitStart: UInt64 = 0
    var waitEnd: UInt64 = 0
    var waited = false

    /// The thread that waits; 0 before the first wait.
    var owner: UInt64 = 0
    /// Whether other threads' commands are carried out: from the first wait to the end of `run`.
    var serving = false
    var stopped = false

    /// Which tier the loop got, and why not a better one.
    public let report: RingReport

    /// Makes a loop with everything it will ever need.
    ///
    /// - Throws: `EINVAL` for options out of range; `EMFILE`, `ENFILE`, `ENOMEM`. That io_uring is missing or forbidden
    ///   is no error: the loop then uses epoll, and `report` says so.
    public init(_ options: LoopOptions = LoopOptions()) throws(RingError) {
        guard 1...32768 ~= options.capacity, 0...65536 ~= options.timers, 0...65536 ~= options.completions,
            0...65536 ~= options.targets
        else {
            throw RingError(
                "making a loop", errno: EINVAL,
                remedy: "capacity is 1 to 32768 sources; timers, completions and targets are at most 65536")
        }
        let control = LoopControl(wake: try EventFD())
        let selection = Ring.select(
            entries: Self.submissionEntries(for: options), completions: Self.completionEntries(for: options),
            best: options.embedded ? min(options.bestTier, .cooperative) : options.bestTier)
        let report = RingReport(tier: selection.tier, obstacle: selection.obstacle)
        let notifier = try Self.makeNotifier(options, selection.ring)
        let backend = try Self.makeBackend(options, selection.takeRing(), control)
        hasTargets = backend.makeTargets(options.targets, tier: report.tier)
        queue = backend.queue
        self.report = report
        self.notifier = notifier
        self.backend = backend
        self.options = options
        self.control = control
        // SAFETY: the loop keeps `control`, which owns histogram and board, and alone writes to them.
        unsafe delays = HistogramWriter(control.delays)
        unsafe board = StatisticsWriter(control.board)
        wakeUpBuffer = Slab(count: 1, initial: 0)
        signalBuffer = Slab(count: 1, initial: 1)
        sources = Slab(count: options.capacity, initial: Source())
        timers = TimerHeap(capacity: options.timers)
        clock = .calibrated()
        waiting = options.waiting
        position = queue.start
        end = position
        firstFree = 0
        for index in 0..<UInt32(options.capacity) {
            sources[index].link = index + 1 < UInt32(options.capacity) ? index + 1 : .max
        }
    }

    deinit {
        control.commands.close()
        var reading = direct
        reading.removeAll()
        for index in 0..<UInt32(sources.count) where sources[index].keeper >= 0 {
            _ = irqmux_close(sources[index].keeper)
        }
    }

    /// The loop as other threads may use it.
    public var remote: LoopRemote { LoopRemote(control: control) }

    /// How many sources the loop can still take.
    public var room: Int { options.capacity - Int(sourceCount) }

    /// How many disarmed or removed sources the kernel has not let go of yet. Each wait settles some of them (with
    /// io_uring about 20, since Linux 6.13); they hand out nothing meanwhile.
    public var unsettled: Int { Int(cancelling) }

    /// The time source of `Event.ticks`.
    public var time: CycleClock { clock }

    /// How the loop waits. May be changed between waits.
    public var waitMode: WaitMode {
        get { waiting }
        set {
            waiting = newValue
            spinBudget = 0
            reconsiderDirectReading()
        }
    }

    /// An eventfd that the kernel signals when an embedded loop's ring has work; epoll is its own.
    private static func makeNotifier(_ options: LoopOptions, _ ring: borrowing Ring?) throws(RingError) -> EventFD? {
        guard options.embedded else { return nil }
        switch ring {
        case .none: return nil
        case .some(let ring):
            let notifier = try EventFD()
            try ring.notify(notifier.number)
            return notifier
        }
    }

    private static func makeBackend(
        _ options: LoopOptions, _ ring: consuming Ring?, _ control: LoopControl
    ) throws(RingError) -> Backend {
        if let ring { return .ring(ring) }
        let tier = try EpollTier(capacity: options.capacity)
        try tier.armWakeUp(control.wake.number)
        return .epoll(tier)
    }

    private static func submissionEntries(for options: LoopOptions) -> UInt32 {
        // The kernel refuses a completion queue that is smaller than the submission queue.
        let entries = UInt32(min(max(options.capacity, 8), 1024))
        return options.completions > 0 ? min(entries, UInt32(options.completions)) : entries
    }

    /// Four times the sources: one of each may be queued, and one of its cancellation, while a slow handler runs.
    private static func completionEntries(for options: LoopOptions) -> UInt32 {
        options.completions > 0
            ? UInt32(options.completions) : UInt32(min(max(options.capacity * 4, 64), 65536))
    }
}

// MARK: - Running

extension EventLoop {
    /// Waits and hands events to `handler` until somebody stops the loop.
    ///
    /// - Throws: An errno of io_uring_enter or epoll_wait that leaves nothing to retry.
    @inlinable
    public mutating func run<Handler: EventHandler & ~Copyable>(_ handler: inout Handler) throws(RingError) {
        beginRun()
        defer { endRun() }
        while !isStopping {
            try wait()
            while !isStopping, let event = next() { handler.handle(event, on: &self) }
        }
    }

    /// Ends `run` or `process` before the next event.
    public mutating func stop() { stopped = true }

    /// Whether somebody has stopped the loop since it began to run.
    public var isStopping: Bool { stopped }

    /// Begins a run: what a run of one's own around `wait` and `next` calls first.
    public mutating func beginRun() { stopped = false }

    /// Ends a run: other threads' commands are refused until the next wait.
    public mutating func endRun() {
        control.commands.unbind()
        serving = false
        publishSoFar()
    }
}
