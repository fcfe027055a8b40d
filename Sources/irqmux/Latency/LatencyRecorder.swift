internal import EventRing

/// The receiver's side of a measurement: turns each event into latencies.
///
/// An event stands for every signal of its lane that the log shows by then. One that was written down and is only just
/// being signalled is among them: it is coalesced, its time is as short as it really was until a handler knew of it,
/// and its own notification later finds nothing. That is how a driver works that looks at its device's queue, and it
/// happens only where signals come closer together than they are handled.
struct LatencyRecorder: ~Copyable {
    private let log: SignalLog
    /// A copy that nobody disciplines: sender and receiver must count the same ticks for the whole run.
    private let clock: CycleClock
    private let fromDue = Histogram()
    private let fromSend = Histogram()
    private let lateness = Histogram()
    /// Measured signals that were handled.
    private(set) var handled: UInt64 = 0
    /// Events that stood for at least one of them.
    private var notifications: UInt64 = 0

    init(_ log: SignalLog, _ clock: CycleClock) {
        self.log = log
        self.clock = clock
    }

    /// An event of `lane` is being handled now.
    mutating func handle(_ lane: Int) { settle(lane, upTo: measure(lane)) }

    /// Measures what an event of `lane` stands for, and returns the number up to which it does.
    mutating func measure(_ lane: Int) -> UInt64 {
        // First the log and then the clock: whatever the log shows was sent before this moment.
        let published = log.published(lane)
        let now = clock.now
        var number = log.handled(lane)
        guard number < published else { return published }
        let before = handled
        while number < published {
            let stamp = log.stamp(lane, number)
            if stamp.isMeasured { record(stamp, now) }
            number += 1
        }
        if handled > before { notifications += 1 }
        return published
    }

    /// Tells the sender, who may signal the lane again from now on.
    func settle(_ lane: Int, upTo number: UInt64) { log.settle(lane, upTo: number) }

    private mutating func record(_ stamp: SignalLog.Stamp, _ now: UInt64) {
        handled += 1
        fromDue.record(span(stamp.due, now))
        fromSend.record(span(stamp.sent, now))
        lateness.record(span(stamp.due, stamp.sent))
    }

    /// Two processors' counters may differ by some ticks; a span is never negative.
    private func span(_ start: UInt64, _ end: UInt64) -> UInt64 {
        end &- start < UInt64.max / 2 ? clock.nanoseconds(end &- start) : 0
    }

    /// Signals that shared an event with another one.
    var coalesced: UInt64 { handled - notifications }

    /// What was counted, as values.
    func snapshots() -> (fromDue: HistogramSnapshot, fromSend: HistogramSnapshot, lateness: HistogramSnapshot) {
        (fromDue.snapshot(), fromSend.snapshot(), lateness.snapshot())
    }
}
