internal import CKernel
public import EventRing
internal import InterruptModel

// Handing out by another order than that of arrival. All that has come is taken in first, a vector at most once, and
// then `Scheduler` says whose turn it is. What is taken in and not handed out is `ready`, as what was held and is
// released: masks, routes and the account treat both alike.
extension Mux {
    /// How urgent a vector is under `Schedule.strict`: 0, the most, to 7; a vector that is connected has 4. Also the
    /// histogram that its delays are recorded in, under any schedule.
    ///
    /// - Throws: `ENOENT` when it was disconnected; `EINVAL` for a number above 7.
    public mutating func setPriority(_ id: VectorID, _ priority: Int) throws(MuxError) {
        let slot = try entries.locate(id, "setting a priority")
        guard 0..<Scheduler.priorities ~= priority else {
            throw MuxError("setting a priority", errno: EINVAL, remedy: "priorities are 0, the most urgent, to 7")
        }
        let weight = scheduler.settings(slot, id.generation).weight
        scheduler.set(slot, id.generation, priority: UInt8(priority), weight: weight)
    }

    /// How many turns in a row a vector that is always ready gets under `Schedule.weighted`, 1 to 65535; one that is
    /// connected has 1.
    ///
    /// - Throws: `ENOENT` when it was disconnected; `EINVAL` for a number out of range.
    public mutating func setWeight(_ id: VectorID, _ weight: Int) throws(MuxError) {
        let slot = try entries.locate(id, "setting a weight")
        guard 1...65535 ~= weight else {
            throw MuxError("setting a weight", errno: EINVAL, remedy: "weights are 1 to 65535")
        }
        let priority = scheduler.settings(slot, id.generation).priority
        scheduler.set(slot, id.generation, priority: priority, weight: UInt16(weight))
    }

    /// From the arrival of a signal to its vector's turn, in nanoseconds, of the vectors of one priority. Empty unless
    /// the mux was made with `MuxOptions.measuresSchedule`. What a mask or a missing route held is counted from its
    /// release. Allocates.
    public func scheduleDelays(ofPriority priority: Int) -> HistogramSnapshot { scheduler.snapshot(priority) }

    /// Notifications that were coalesced because their vector was ready already, and times that the mux looked again
    /// before everything ready was handed out; both 0 with the schedule `arrival`.
    public var scheduleCounts: (merged: UInt64, looks: UInt64) { (scheduler.merged, scheduler.turnsEnded) }

    // MARK: The hot path

    /// `next` with a schedule.
    @inline(never)
    mutating func nextScheduled() -> VectorEvent? {
        while true {
            if let event = takeIn() { return event }
            if firstReady != .max, let event = takeInReleased() { return event }
            guard let slot = scheduler.take(entries) else { return nil }
            entries[slot].ready = false
            let count = entries[slot].readyCount
            entries[slot].readyCount = 0
            let now = loop.time.now
            if scheduler.isMeasured { scheduler.record(slot, loop.time, now) }
            // Only INTx is counted; for the others this is a number of notifications, and nobody's business.
            if let event = deliver(slot, entries[slot].index == .intx ? count : 0, now) { return event }
        }
    }

    /// Takes in all that has come. What is not a vector's signal is handed out at once.
    private mutating func takeIn() -> VectorEvent? {
        while let event = loop.next() {
            guard event.tag &>> 32 == Self.vectorTag &>> 32 else {
                if let other = otherEvent(event) { return other }
                continue
            }
            let slot = UInt32(truncatingIfNeeded: event.tag)
            guard event.kind == .signal else {
                if let told = failure(event, slot) { return told }
                continue
            }
            guard entries[slot].gate.isOpen else {
                hold(slot, event.count)
                continue
            }
            if entries[slot].ready { scheduler.merged &+= 1 }
            entries[slot].ready = true
            entries[slot].readyCount &+= max(event.count, 1)
            scheduler.enqueue(slot, event.ticks)
        }
        return nil
    }

    /// Takes in what was held and may pass now.
    private mutating func takeInReleased() -> VectorEvent? {
        while firstReady != .max {
            let slot = firstReady
            firstReady = entries[slot].link
            entries[slot].link = .max
            entries[slot].listed = false
            if entries[slot].refusal != 0 { return refusal(slot) }
            if entries[slot].verdict != nil { return tellVerdict(slot) }
            if entries[slot].ready { scheduler.enqueue(slot, loop.time.now) }
        }
        return nil
    }
}
