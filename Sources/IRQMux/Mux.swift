internal import CKernel
public import EventRing
internal import InterruptModel

/// An interrupt router: devices, their vectors, and a loop that carries each signal to where its route says.
///
///     var mux = try Mux()
///     let device = try mux.attach(exerciser)
///     let vectors = try mux.connect(device, .msix, 0..<64)
///     while !done {
///         try mux.wait()
///         while let event = mux.next() { print(event.vector) }
///     }
///
/// Made on any thread; belongs to the thread on which it first waits. Other threads use `remote`. Routes, masks and
/// connections may be changed at any time on the loop's thread, also from inside a handler; no signal is lost by it,
/// and `ledger` proves it. Nothing is allocated per event.
public struct Mux: ~Copyable {
    var loop: EventLoop
    let entries: Slab<VectorEntry>
    var targets: FanOutTable
    var scheduler: Scheduler
    var devices: [AttachedDevice?]
    /// The virtual machine that vectors may be routed into.
    var guest: AttachedGuest?
    /// What each notification of a doorbell needs to know of its pair.
    let pairs: Slab<PairEntry>
    /// Keeps the histograms that entries write into, and what listens for the acknowledgements of each.
    var measured: [(slot: UInt32, vector: MeasuredVector, source: SourceID?)] = []
    /// Counts the devices that were attached, to tell one from an earlier one at the same place.
    var deviceGeneration: UInt32 = 0
    let options: MuxOptions
    let commands = CommandQueue<Mux>()
    /// INTx served to guests, and the watchdog: what is not touched once an event.
    let lines: INTxLines

    var firstFree: UInt32
    var firstReady = UInt32.max
    /// The INTx vector whose event was handed out last and waits for its acknowledgement; `UInt32.max` for none.
    var unacknowledged = UInt32.max
    /// What `next(into:)` has found for `takeOther`.
    var other: VectorEvent?
    var serving = false

    /// In the tags of sources that are the mux's own; a caller's tags have it clear. Alone, above a place in the
    /// table, it is a vector's.
    static var vectorTag: UInt64 { 1 << 63 }
    /// A pair's doorbell.
    static var pairTag: UInt64 { 1 << 63 | 1 << 32 }
    /// The eventfd by which a guest acknowledges a vector that is measured.
    static var acknowledgementTag: UInt64 { 1 << 63 | 2 << 32 }

    /// Makes a mux with everything it will ever need.
    ///
    /// - Throws: As `EventLoop.init`; `EINVAL` for options out of range.
    public init(_ options: MuxOptions = MuxOptions()) throws(MuxError) {
        guard 1...255 ~= options.devices, 0...65536 ~= options.fanOutTargets, 0...4096 ~= options.pairs else {
            throw MuxError(
                "making a mux", errno: EINVAL,
                remedy: "devices are 1 to 255, fan-out targets at most 65536, pairs at most 4096")
        }
        let loop: EventLoop
        var loopOptions = options.loop
        loopOptions.targets = options.fanOutTargets
        do throws(RingError) { loop = try EventLoop(loopOptions) } catch { throw MuxError(error) }
        self.loop = loop
        self.options = options
        entries = Slab(count: options.loop.capacity, initial: VectorEntry())
        targets = FanOutTable(capacity: options.fanOutTargets)
        scheduler = Scheduler(options.schedule, options.loop.capacity, measured: options.measuresSchedule)
        devices = [AttachedDevice?](repeating: nil, count: options.devices)
        pairs = Slab(count: options.pairs, initial: PairEntry())
        lines = INTxLines(devices: options.devices)
        firstFree = 0
        for slot in 0..<UInt32(options.loop.capacity) {
            entries[slot].link = slot + 1 < UInt32(options.loop.capacity) ? slot + 1 : .max
        }
    }

    deinit {
        commands.close()
        releaseEverything()
    }

    /// How the loop listens, and why not better.
    public var ringReport: RingReport { loop.report }

    /// The time source of `VectorEvent.ticks`.
    public var time: CycleClock { loop.time }

    /// How the loop waits. May be changed between waits.
    public var waitMode: WaitMode {
        get { loop.waitMode }
        set { loop.waitMode = newValue }
    }

    /// The mux as other threads may use it.
    public var remote: MuxRemote { MuxRemote(commands: commands, loop: loop.remote) }
}

// MARK: - Running

extension Mux {
    /// Waits and hands events to `handler` until somebody stops the mux.
    ///
    /// - Throws: As `wait`.
    @inlinable
    public mutating func run<Handler: VectorHandler & ~Copyable>(_ handler: inout Handler) throws(MuxError) {
        beginRun()
        defer { endRun() }
        while !isStopping {
            try wait()
            while !isStopping, let event = next() { handler.handle(event, on: &self) }
        }
    }

    /// Begins a run: what a run of one's own around `wait` and `next` calls first.
    public mutating func beginRun() { loop.beginRun() }

    /// Ends a run: acknowledges what is unacknowledged, and refuses other threads' commands until the next wait.
    public mutating func endRun() {
        acknowledgeHandedOut()
        stopServing()
        loop.endRun()
    }

    /// Ends `run` before the next event; what is ready stays ready.
    public mutating func stop() { loop.stop() }

    /// Whether somebody has stopped the mux since it began to run.
    public var isStopping: Bool { loop.isStopping }

    /// Waits until `next` may have something, the mux is to stop, a signal interrupted, or time is up.
    ///
    /// - Parameter timeout: In nanoseconds; 0 looks without waiting.
    /// - Throws: `EPERM` on another thread than the loop's; what io_uring_enter or epoll_wait says.
    public mutating func wait(timeout: UInt64 = .max) throws(MuxError) {
        let began = !serving
        if began { serve() }
        acknowledgeHandedOut()
        do throws(RingError) {
            try loop.wait(timeout: firstReady == .max && scheduler.isIdle ? timeout : 0)
        } catch {
            // On a thread that is not the loop's, nobody would ever carry out the commands welcomed here.
            if began { stopServing() }
            throw MuxError(error)
        }
        if !commands.isEmpty { attend() }
    }

    /// Does what other threads asked for. Kept out of line: this part may retain and release, waiting may not.
    @inline(never)
    private mutating func attend() { _ = commands.carryOut(on: &self) }

    @inline(never)
    private mutating func serve() {
        commands.bind()
        serving = true
    }

    /// Refuses other threads' commands, those that wait included.
    @inline(never)
    private mutating func stopServing() {
        commands.unbind()
        serving = false
    }

    /// Adds an eventfd of the caller's to the same loop, for doorbells and the like. Events have kind `source`.
    ///
    /// - Parameter tag: Comes back with each event; its highest bit must be clear.
    /// - Throws: As `EventLoop.add`; `EINVAL` for such a tag.
    public mutating func addSource(
        _ descriptor: Int32, tag: UInt64, delivery: Delivery = .edge
    ) throws(MuxError) -> SourceID {
        try check(tag, "adding a source")
        do throws(RingError) { return try loop.add(descriptor, tag: tag, delivery: delivery) } catch {
            throw MuxError(error)
        }
    }

    /// Listens again to a source of `addSource` whose `acknowledged` event was dealt with. Errors as `EventLoop.arm`.
    public mutating func armSource(_ source: SourceID) throws(MuxError) {
        do throws(RingError) { try loop.arm(source) } catch { throw MuxError(error) }
    }

    /// Removes a source of `addSource`. Errors as `EventLoop.remove`.
    public mutating func removeSource(_ source: SourceID) throws(MuxError) {
        do throws(RingError) { try loop.remove(source) } catch { throw MuxError(error) }
    }

    /// Adds a timer to the same loop; see `EventLoop.addTimer`. Events have kind `timer`.
    ///
    /// - Parameter tag: Comes back with each event; its highest bit must be clear.
    /// - Throws: As `EventLoop.addTimer`; `EINVAL` for such a tag.
    public mutating func addTimer(
        after nanoseconds: UInt64, every interval: UInt64 = 0, tag: UInt64
    ) throws(MuxError) -> TimerID {
        try check(tag, "adding a timer")
        do throws(RingError) { return try loop.addTimer(after: nanoseconds, every: interval, tag: tag) } catch {
            throw MuxError(error)
        }
    }

    func check(_ tag: UInt64, _ operation: StaticString) throws(MuxError) {
        guard tag & Self.vectorTag == 0 else {
            throw MuxError(operation, errno: EINVAL, remedy: "keep the highest bit of the tag clear")
        }
    }

    /// Removes a timer of `addTimer`. Errors as `EventLoop.removeTimer`.
    public mutating func removeTimer(_ timer: TimerID) throws(MuxError) {
        do throws(RingError) { try loop.removeTimer(timer) } catch { throw MuxError(error) }
    }
}
