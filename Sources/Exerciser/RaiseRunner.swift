internal import CKernel
internal import Glibc
internal import InterruptModel
internal import Synchronization

/// Carries out one plan at a time on a thread of the device.
final class RaiseRunner: Sendable {
    /// The last stretch before a tick is spent spinning: a sleeping thread wakes some tens of microseconds late.
    private static let spinNs: UInt64 = 80_000
    /// A longer sleep is cut into pieces, so that a stop is noticed.
    private static let longestSleepNs: UInt64 = 5_000_000

    private let core: DeviceCore
    private let thread = Mutex<DeviceThread?>(nil)
    private let stopping = Atomic<Bool>(false)
    private let busy = Atomic<Bool>(false)
    private let ticks = Atomic<UInt64>(0)
    private let lateTicks = Atomic<UInt64>(0)

    init(_ core: DeviceCore) { self.core = core }

    var isBusy: Bool { busy.load(ordering: .acquiring) }
    var done: UInt64 { ticks.load(ordering: .relaxed) }
    var late: UInt64 { lateTicks.load(ordering: .relaxed) }

    func start(_ plan: RaisePlan) throws(DeviceError) {
        try check(plan)
        // One run at a time: whoever turns busy on owns it until the thread turns it off.
        guard busy.compareExchange(expected: false, desired: true, ordering: .acquiringAndReleasing).exchanged else {
            throw DeviceError("start raising", errno: EBUSY, remedy: "wait for the run in progress, or stop it")
        }
        do {
            try thread.withLock { (thread) throws(DeviceError) in
                // The one before has turned busy off and is about to end, if it has not ended already.
                if let ended = thread.take() { ended.join() }
                stopping.store(false, ordering: .relaxed)
                ticks.store(0, ordering: .relaxed)
                lateTicks.store(0, ordering: .relaxed)
                thread = try DeviceThread { [self] in
                    run(plan)
                    busy.store(false, ordering: .releasing)
                }
            }
        } catch {
            busy.store(false, ordering: .releasing)
            throw error
        }
    }

    private func check(_ plan: RaisePlan) throws(DeviceError) {
        let (end, wraps) = plan.first.number.addingReportingOverflow(plan.width &- 1)
        guard plan.width > 0, !wraps, core.table.has(Vector(plan.first.index, end)) else {
            throw DeviceError("start raising", errno: EINVAL, remedy: "choose vectors that the device has")
        }
        let (length, overflow) = plan.count.multipliedReportingOverflow(by: plan.intervalNs)
        guard !overflow, length < UInt64.max / 2 else {
            throw DeviceError("start raising", errno: EINVAL, remedy: "choose a smaller count or interval")
        }
    }

    /// Ends the run in progress at its next tick and waits for that.
    ///
    /// Says so again until it holds the lock: somebody may hold it to wait for the run, and a run that somebody else
    /// starts meanwhile clears the word.
    func stop() {
        while !joinStopping() {
            stopping.store(true, ordering: .relaxed)
            usleep(200)
        }
    }

    /// Stops the run and joins its thread, unless another caller holds the lock.
    private func joinStopping() -> Bool {
        let done: Void? = thread.withLockIfAvailable { thread in
            stopping.store(true, ordering: .relaxed)
            if let running = thread.take() { running.join() }
        }
        return done != nil
    }

    /// Waits until the run in progress has ended.
    func wait() {
        thread.withLock { thread in
            if let running = thread.take() { running.join() }
        }
    }

    private func run(_ plan: RaisePlan) {
        let start = irqmux_monotonic_ns()
        for tick in 0..<plan.count {
            let due = plan.intervalNs == 0 ? irqmux_monotonic_ns() : start + tick * plan.intervalNs
            guard let now = sleep(until: due) else { return }
            if plan.intervalNs > 0, now > due + plan.intervalNs {
                lateTicks.store(lateTicks.load(ordering: .relaxed) + 1, ordering: .relaxed)
            }
            for number in plan.vectors(atTick: tick) {
                _ = core.raise(Vector(plan.first.index, number), intendedNs: due)
            }
            ticks.store(tick + 1, ordering: .relaxed)
        }
    }

    /// Waits for the clock to reach `due`; returns what it reads then, or `nil` when the run is to stop.
    private func sleep(until due: UInt64) -> UInt64? {
        while true {
            guard !stopping.load(ordering: .relaxed) else { return nil }
            let now = irqmux_monotonic_ns()
            guard now < due else { return now }
            guard due - now > Self.spinNs else {
                irqmux_pause()
                continue
            }
            let wake = min(due - Self.spinNs, now + Self.longestSleepNs)
            var time = timespec(tv_sec: Int(wake / 1_000_000_000), tv_nsec: Int(wake % 1_000_000_000))
            // SAFETY: time outlives the call; a sleep cut short by a signal is taken up again by the loop.
            _ = unsafe clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nil)
        }
    }
}
