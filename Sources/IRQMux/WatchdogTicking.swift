internal import CKernel
internal import EventRing
public import InterruptModel
internal import KVM

// The watchdog's ticks: counters that exist anyway are compared when its timer fires. Between ticks it costs nothing.
extension Mux {
    /// In the tag of the watchdog's timer, where a vector's place would be.
    static var watchdogSlot: UInt32 { .max }

    /// Starts to watch every vector, those connected later included. Verdicts come as events of kind `watchdog`.
    ///
    /// Allocates, once. A tick costs some hundred nanoseconds a vector, and for INTx in the kernel two system calls.
    /// What cannot be seen is not judged: INTx by IOAPIC broadcast of a device that does not count what it raises.
    /// - Throws: `EINVAL` for a time or rate of 0; `EBUSY` when it runs; `ENOSPC` when the loop has no timer left.
    public mutating func startWatchdog(_ options: WatchdogOptions = WatchdogOptions()) throws(MuxError) {
        guard options.acknowledgeWithin > 0, options.stormRate > 0 else {
            throw MuxError("starting the watchdog", errno: EINVAL, remedy: "give a time and a rate above 0")
        }
        guard lines.watch?.timer == nil else {
            throw MuxError("starting the watchdog", errno: EBUSY, remedy: "stop it first")
        }
        let watchdog = Watchdog(options, places: entries.count)
        let interval = options.effectiveInterval
        do throws(RingError) {
            watchdog.timer = try loop.addTimer(
                after: interval, every: interval, tag: Self.vectorTag | UInt64(Self.watchdogSlot))
        } catch { throw MuxError(error) }
        lines.watch = watchdog
        let now = irqmux_monotonic_ns()
        for slot in 0..<UInt32(entries.count) where entries[slot].eventfd >= 0 { begin(slot, watchdog, now) }
    }

    /// Stops watching. What was found stays in the report.
    public mutating func stopWatchdog() {
        guard let watchdog = lines.watch, let timer = watchdog.timer else { return }
        try? loop.removeTimer(timer)
        watchdog.timer = nil
    }

    /// One tick, out of turn.
    mutating func watch() {
        guard let watchdog = lines.watch else { return }
        let now = irqmux_monotonic_ns()
        // A tick right behind a late one: too short a time for a rate to mean anything.
        guard now &- watchdog.lastTick >= watchdog.options.effectiveInterval / 2 else { return }
        watchdog.lastTick = now
        watchdog.ticks &+= 1
        for place in 0..<entries.count {
            let slot = UInt32(place)
            guard entries[slot].eventfd >= 0 else { continue }
            guard watchdog.watches[place].generation == entries[slot].generation else {
                begin(slot, watchdog, now)
                continue
            }
            guard let verdict = watchdog.watches[place].look(look(slot), now: now, watchdog.options) else { continue }
            entries[slot].verdict = verdict
            enlist(slot)
        }
    }

    private mutating func begin(_ slot: UInt32, _ watchdog: Watchdog, _ now: UInt64) {
        var first = look(slot)
        // What is in service already counts from here.
        if first.isInService == true, first.signals > 0 { first.signals -= 1 }
        watchdog.watches[Int(slot)] = VectorWatch(generation: entries[slot].generation, first, now: now)
    }

    /// What the counters say of a vector now.
    private mutating func look(_ slot: UInt32) -> VectorWatch.Look {
        let place = Int(entries[slot].device)
        let raised = devices[place]?.raisedCount(entries[slot].vector)
        var look = VectorWatch.Look(signals: raised ?? notifications(slot))
        guard entries[slot].index == .intx else { return look }
        guard let way = entries[slot].way, way.bypasses, let line = lines.byPlace[place] else {
            look.isInService = entries[slot].inService
            look.isCounted = false
            return look
        }
        look.acknowledged = line.record.acknowledgedCount
        look.isCounted = raised != nil
        if way == .kernelResample {
            look.isInService = pinState(line)?.isHigh ?? false
        } else {
            look.isInService = raised == nil ? false : nil
        }
        return look
    }

    private func pinState(_ line: INTxLine) -> PinState? {
        guard let machine = line.machine, let gsi = line.gsi else { return nil }
        return machine.machine.pinState(gsi: gsi)
    }

    private func notifications(_ slot: UInt32) -> UInt64 {
        guard let source = entries[slot].source else { return 0 }
        do throws(RingError) { return try loop.counts(of: source).notifications } catch { return 0 }
    }

    /// Hands out what the watchdog found. What is ready as well keeps its turn.
    @inline(never)
    mutating func tellVerdict(_ slot: UInt32) -> VectorEvent? {
        guard let verdict = entries[slot].verdict else { return nil }
        entries[slot].verdict = nil
        if entries[slot].ready { enlist(slot) }
        return VectorEvent(
            kind: .watchdog(verdict), id: VectorID(slot: slot, generation: entries[slot].generation),
            vector: entries[slot].vector, tag: entries[slot].tag, count: 0, ticks: loop.time.now)
    }

    /// What the watchdog knows of the vectors that are connected, those in order left out. On the mux's thread; for
    /// another one, `MuxRemote.perform`.
    public func watchdogReport() -> WatchdogReport {
        guard let watchdog = lines.watch else { return WatchdogReport() }
        var report = WatchdogReport(isRunning: watchdog.timer != nil, ticks: watchdog.ticks)
        let now = irqmux_monotonic_ns()
        for slot in 0..<UInt32(entries.count) where entries[slot].eventfd >= 0 {
            let watch = watchdog.watches[Int(slot)]
            guard watch.generation == entries[slot].generation else { continue }
            report.neverAcknowledged &+= UInt64(watch.timesNamed)
            report.storms &+= UInt64(watch.storms)
            guard watch.timesNamed > 0 || watch.storms > 0 else { continue }
            report.findings.append(finding(slot, watch, now))
        }
        return report
    }

    private func finding(_ slot: UInt32, _ watch: VectorWatch, _ now: UInt64) -> WatchdogReport.Finding {
        let line = entries[slot].index == .intx ? lines.byPlace[Int(entries[slot].device)] : nil
        var cause: WatchdogCause?
        if watch.isNamed { cause = line.flatMap { pinState($0) }.map { WatchdogCause($0) } ?? .unknown }
        return WatchdogReport.Finding(
            id: VectorID(slot: slot, generation: entries[slot].generation), vector: entries[slot].vector,
            gsi: line?.gsi, cause: cause, unacknowledged: watch.isNamed ? now &- watch.since : 0,
            isStorm: watch.isStorm, rate: watch.rate, peakRate: watch.peakRate,
            timesNamed: watch.timesNamed, storms: watch.storms)
    }
}

/// What the watchdog found: counters, and each vector of which it has had something to say.
public struct WatchdogReport: Equatable, Sendable {
    /// One vector.
    public struct Finding: Equatable, Sendable {
        /// The vector's identity.
        public let id: VectorID
        /// The vector.
        public let vector: Vector
        /// The guest's pin, where the line has one.
        public let gsi: UInt32?
        /// Why it is not acknowledged; `nil` when nothing is overdue.
        public let cause: WatchdogCause?
        /// How long the interrupt has been in service, in nanoseconds; 0 when nothing is overdue.
        public let unacknowledged: UInt64
        /// It storms now.
        public let isStorm: Bool
        /// Signals a second between the last two ticks.
        public let rate: UInt64
        /// The most of that so far.
        public let peakRate: UInt64
        /// How often it was named as never acknowledged.
        public let timesNamed: UInt32
        /// How often it stormed.
        public let storms: UInt32
    }

    /// The watchdog runs.
    public var isRunning = false
    /// How often it has looked.
    public var ticks: UInt64 = 0
    /// How often it named a line as never acknowledged; of the vectors connected now.
    public var neverAcknowledged: UInt64 = 0
    /// How many storms it named; of the vectors connected now.
    public var storms: UInt64 = 0
    /// The vectors that were named, in the order of their places.
    public var findings: [Finding] = []
}

#if !hasFeature(Embedded)
    extension WatchdogReport: CustomStringConvertible {
        /// A line for each vector, after one for the whole.
        public var description: String {
            var text = "watchdog: \(ticks) looks, \(neverAcknowledged) never acknowledged, \(storms) storms"
            for finding in findings { text += "\n\(finding)" }
            return text
        }
    }

    extension WatchdogReport.Finding: CustomStringConvertible {
        /// "VECTOR (GSI): STATE: CAUSE".
        public var description: String {
            let pin = gsi.map { " (GSI \($0))" } ?? ""
            var text = "\(vector)\(pin):"
            if let cause {
                text += " armed and not acknowledged for \(unacknowledged / 1_000_000) ms: \(cause.text)"
            }
            if isStorm { text += " storm of \(rate) signals a second" }
            if cause == nil && !isStorm {
                text += " in order; named \(timesNamed) times, \(storms) storms, at most \(peakRate) signals a second"
            }
            return text
        }
    }
#endif
