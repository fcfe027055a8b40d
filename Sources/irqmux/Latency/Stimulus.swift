internal import CKernel
internal import EventRing
internal import Glibc
internal import Synchronization

/// The sender's side of a measurement: signals by plan, on a thread of its own.
///
/// With a rate, signal k is due at start + k intervals, whatever happened before; one that cannot be kept is sent late
/// and measured from when it was due. Without, the next is sent a moment after the last one was handled, so that the
/// receiver has gone to sleep by then if it does.
final class Stimulus: Sendable {
    /// A signal that was not handled after this long is lost, in nanoseconds.
    static let patience: UInt64 = 1_000_000_000
    /// After so many lost signals in a row the path is broken, and waiting for more is pointless.
    static let mostLostInARow = 3
    /// Between the handling of a signal and the next one, in nanoseconds, without a rate.
    static let pause: UInt64 = 20_000
    /// The last stretch before a signal is due is spent spinning: a sleeping thread wakes tens of microseconds late.
    private static let spin: UInt64 = 80_000
    /// A longer sleep is cut into pieces, so that a stop is noticed.
    private static let longestSleep: UInt64 = 5_000_000

    private let plan: LatencyPlan
    private let log: SignalLog
    private let clock: CycleClock
    private let interruption: Interruption
    private let signal: @Sendable (Int) -> Void
    private let startsMeasuring: @Sendable () -> Void
    /// With one processor spinning only keeps the receiver from running.
    private let maySpin: Bool
    private let stopping = Atomic<Bool>(false)
    private let measured = Atomic<UInt64>(0)

    init(
        _ plan: LatencyPlan, _ log: SignalLog, _ clock: CycleClock, _ interruption: Interruption,
        startsMeasuring: @escaping @Sendable () -> Void, signal: @escaping @Sendable (Int) -> Void
    ) {
        self.plan = plan
        self.log = log
        self.clock = clock
        self.interruption = interruption
        self.startsMeasuring = startsMeasuring
        self.signal = signal
        maySpin = plan.usableCPUs.numbers.count > 1
    }

    /// How many signals that count have been sent.
    var sent: UInt64 { measured.load(ordering: .acquiring) }

    /// Ends the run at the next signal.
    func stop() { stopping.store(true, ordering: .relaxed) }

    private var isStopping: Bool { stopping.load(ordering: .relaxed) || interruption.isRequested }

    /// Sends everything and waits until it has been handled, or is lost. Runs on the sender's thread.
    func run() {
        let start = clock.now
        let measuringFrom = moment(plan.warmUpNs, after: start)
        let end = plan.durationNs.map { moment($0, after: measuringFrom) }
        var total: UInt64 = 0
        var lost: UInt64 = 0
        var lostInARow = 0
        var lane = 0
        var isMeasuring = false
        while !isStopping, lostInARow < Self.mostLostInARow {
            let due = due(total, start)
            // Looked at before the wait: with a slow rate the next signal may be due long after the end.
            if let end, !isBefore(due, end) { break }
            guard wait(until: due) else { break }
            if !isMeasuring, !isBefore(due, measuringFrom) {
                isMeasuring = true
                startsMeasuring()
            }
            if isMeasuring, sent == plan.count { break }
            // A full lane delays the signal; it stays due when it was due.
            guard wait(for: { self.log.hasRoom(lane, most: self.plan.mostUnderWay) }) else {
                lostInARow = Self.mostLostInARow
                break
            }
            send(lane, due, isMeasuring)
            total += 1
            lane = lane + 1 == plan.vectors ? 0 : lane + 1
            guard plan.rate == nil else { continue }
            if wait(for: { self.log.handledTotal.load(ordering: .acquiring) + lost >= total }) {
                lostInARow = 0
            } else {
                lost = total - log.handledTotal.load(ordering: .acquiring)
                lostInARow += 1
            }
        }
        if lostInARow < Self.mostLostInARow {
            _ = wait(ignoringStop: true, for: { self.log.handledTotal.load(ordering: .acquiring) + lost >= total })
        }
    }

    private func send(_ lane: Int, _ due: UInt64, _ isMeasured: Bool) {
        if isMeasured { measured.store(sent + 1, ordering: .releasing) }
        let now = clock.now
        log.publish(lane, SignalLog.Stamp(due: plan.rate == nil ? now : due, sent: now, isMeasured: isMeasured))
        signal(lane)
    }

    private func due(_ number: UInt64, _ start: UInt64) -> UInt64 {
        guard let rate = plan.rate else { return clock.now &+ clock.ticks(Self.pause) }
        return moment(rate.nanoseconds(ofEvent: number), after: start)
    }

    /// A moment so far ahead that it would look like one gone by is brought nearer: to decades from now.
    private func moment(_ nanoseconds: UInt64, after start: UInt64) -> UInt64 {
        start &+ min(clock.ticks(nanoseconds), UInt64.max / 8)
    }

    private func isBefore(_ left: UInt64, _ right: UInt64) -> Bool { left &- right > UInt64.max / 2 }

    /// Waits for the clock to reach `due`; false when the run is to stop.
    private func wait(until due: UInt64) -> Bool {
        while true {
            // One look at the clock a turn: between two it may pass `due`, and what is left would wrap around.
            let now = clock.now
            guard isBefore(now, due) else { return !isStopping }
            guard !isStopping else { return false }
            let left = clock.nanoseconds(due &- now)
            if left > Self.spin {
                Self.sleep(min(left - Self.spin, Self.longestSleep))
            } else if maySpin {
                irqmux_pause()
            } else {
                Self.sleep(left)
            }
        }
    }

    /// Waits until `isDone`; false when patience is over, or the run is to stop.
    private func wait(ignoringStop: Bool = false, for isDone: () -> Bool) -> Bool {
        let start = clock.now
        while !isDone() {
            let waited = clock.nanoseconds(clock.now &- start)
            guard waited < Self.patience, ignoringStop || !isStopping else { return false }
            if maySpin, waited < 10 * Self.spin { irqmux_pause() } else { Self.sleep(Self.spin / 4) }
        }
        return true
    }

    private static func sleep(_ nanoseconds: UInt64) {
        var time = timespec(tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
        // SAFETY: time outlives the call; a sleep cut short is taken up again by the caller's loop.
        _ = unsafe nanosleep(&time, nil)
    }
}
