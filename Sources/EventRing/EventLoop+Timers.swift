internal import CKernel

extension EventLoop {
    /// Adds a timer; it comes as an event of kind `timer` with `tag`.
    ///
    /// - Parameters:
    ///   - nanoseconds: From now to the first time it fires. It fires at that time or later, never before.
    ///   - interval: From one time to the next; 0 for a timer that fires once. When several intervals have passed, one
    ///     event says how many.
    /// - Throws: `ENOSPC` when the table is full.
    public mutating func addTimer(
        after nanoseconds: UInt64, every interval: UInt64 = 0, tag: UInt64
    ) throws(RingError) -> TimerID {
        let (sum, overflow) = irqmux_monotonic_ns().addingReportingOverflow(nanoseconds)
        let deadline = overflow ? UInt64.max : sum
        guard let id = timers.add(tag: tag, deadline: deadline, interval: interval) else {
            throw RingError("adding a timer", errno: ENOSPC, remedy: "make the loop with more LoopOptions.timers")
        }
        return id
    }

    /// Removes a timer; nothing of it is handed out any more.
    ///
    /// - Throws: `ENOENT` when it has fired for the last time or was removed before.
    public mutating func removeTimer(_ timer: TimerID) throws(RingError) {
        guard timers.remove(timer) else {
            throw RingError("removing a timer", errno: ENOENT, remedy: "it has fired or was removed")
        }
    }

    /// How long a wait may last before a timer is due, in nanoseconds.
    func untilTimer() -> UInt64 {
        let deadline = timers.earliest
        guard deadline != .max else { return .max }
        let now = irqmux_monotonic_ns()
        return deadline > now ? deadline - now : 0
    }

    /// Lets timers fire whose time has come.
    mutating func expireTimers() {
        if timers.count > 0 { timers.now = irqmux_monotonic_ns() }
    }
}
