internal import CKernel
internal import EventRing
internal import InterruptModel

// The hot path: one event of the loop becomes one event for the handler, or is fanned out, or is forwarded into the
// guest, or is held.
extension Mux {
    /// The next event; `nil` when there is none, and then `wait` is due. Never waits.
    ///
    /// Asking for the next event says that the last one has been dealt with: an INTx is acknowledged here, unless the
    /// mux was made to leave that to its owner.
    public mutating func next() -> VectorEvent? {
        advance(
            { mux, slot, count, ticks in mux.interrupt(slot, count, ticks) },
            { _, event in event })
    }

    /// `next`, with an interrupt written where its receiver reads it: what a receiver that is not inlined saves is a
    /// copy of each event. Everything else is to be fetched by `takeOther`.
    package mutating func next(into record: UnsafeMutablePointer<InterruptRecord>) -> Handed {
        // SAFETY: the caller's, who has room for one; it is only written.
        advance(
            { mux, slot, count, ticks in
                unsafe mux.write(slot, count, ticks, record)
                return .interrupt
            },
            { mux, event in mux.keep(event) }) ?? .nothing
    }

    /// Out of line, because what a copy of an event needs of the stack and of registers is paid by every interrupt.
    @inline(never)
    private mutating func keep(_ event: VectorEvent) -> Handed {
        other = event
        return .other
    }

    /// What `next(into:)` found when it was no interrupt, or one that was held before.
    package mutating func takeOther() -> VectorEvent? {
        defer { other = nil }
        return other
    }

    /// One step of either: an interrupt for the handler is told of by its place, and everything else as the event.
    @inline(__always)
    private mutating func advance<Told>(
        _ interrupt: (borrowing Mux, UInt32, UInt64, UInt64) -> Told, _ other: (inout Mux, VectorEvent) -> Told
    ) -> Told? {
        if unacknowledged != .max { acknowledgeHandedOut() }
        if scheduler.isActive { return nextScheduled().map { other(&self, $0) } }
        while true {
            if firstReady != .max, let event = nextReady() { return other(&self, event) }
            guard let event = loop.next() else { return nil }
            guard event.tag &>> 32 == Self.vectorTag &>> 32 else {
                if let told = otherEvent(event) { return other(&self, told) }
                continue
            }
            let slot = UInt32(truncatingIfNeeded: event.tag)
            guard event.kind == .signal else {
                if let told = failure(event, slot) { return other(&self, told) }
                continue
            }
            if entries[slot].gate.isOpen {
                if passes(slot) { return interrupt(self, slot, event.count, event.ticks) }
            } else {
                hold(slot, event.count)
            }
        }
    }

    /// Lets one notification pass: `nil` when the mux itself saw to it.
    @inline(__always)
    mutating func deliver(_ slot: UInt32, _ count: UInt64, _ ticks: UInt64) -> VectorEvent? {
        passes(slot) ? interrupt(slot, count, ticks) : nil
    }

    /// Lets one notification pass: whether it is the handler's, and has not been seen to by the mux itself.
    @inline(__always)
    private mutating func passes(_ slot: UInt32) -> Bool {
        entries[slot].delivered &+= 1
        if entries[slot].index == .intx { beginService(slot) }
        guard entries[slot].route == .handler else {
            if entries[slot].route.isIntoGuest { forward(slot) } else { fanOut(entries[slot].firstTarget) }
            return false
        }
        return true
    }

    @inline(__always)
    private func interrupt(_ slot: UInt32, _ count: UInt64, _ ticks: UInt64) -> VectorEvent {
        VectorEvent(
            kind: .interrupt, id: VectorID(slot: slot, generation: entries[slot].generation),
            vector: entries[slot].vector, tag: entries[slot].tag, count: count, ticks: ticks)
    }

    @inline(__always)
    private func write(
        _ slot: UInt32, _ count: UInt64, _ ticks: UInt64, _ record: UnsafeMutablePointer<InterruptRecord>
    ) {
        // SAFETY: the caller's, with room for one.
        unsafe record.pointee.handle = VectorID(slot: slot, generation: entries[slot].generation).rawValue &+ 1
        unsafe record.pointee.tag = entries[slot].tag
        unsafe record.pointee.count = count
        unsafe record.pointee.ticks = ticks
        unsafe record.pointee.index = entries[slot].index.rawValue
        unsafe record.pointee.number = entries[slot].number
    }

    /// Keeps one notification for later. A storm on a shut vector is silenced: its signals wait in the eventfd.
    @inline(never)
    mutating func hold(_ slot: UInt32, _ count: UInt64) {
        if entries[slot].isServed {
            guard holdServed(slot) else { return }
        } else {
            _ = entries[slot].gate.arrive(max(count, 1))
        }
        guard !entries[slot].silenced, entries[slot].gate.held >= options.silenceAfter,
            let source = entries[slot].source, entries[slot].index != .intx
        else { return }
        entries[slot].silenced = true
        try? loop.disarm(source)
    }

    /// What was held and may pass now.
    @inline(never)
    private mutating func nextReady() -> VectorEvent? {
        while firstReady != .max {
            let slot = firstReady
            firstReady = entries[slot].link
            entries[slot].link = .max
            entries[slot].listed = false
            if entries[slot].refusal != 0 { return refusal(slot) }
            if entries[slot].verdict != nil { return tellVerdict(slot) }
            // The gate may have been shut again since it was put here.
            guard entries[slot].ready else { continue }
            entries[slot].ready = false
            let count = entries[slot].readyCount
            entries[slot].readyCount = 0
            // Only INTx is counted; for the others this is a number of notifications, and nobody's business.
            if let event = deliver(slot, entries[slot].index == .intx ? count : 0, loop.time.now) { return event }
        }
        return nil
    }

    /// What no vector signalled: `nil` when the mux itself saw to it.
    @inline(never)
    mutating func otherEvent(_ event: Event) -> VectorEvent? {
        if event.tag & Self.vectorTag == 0 { return ownSourceEvent(event) }
        let place = UInt32(truncatingIfNeeded: event.tag)
        if event.tag &>> 32 == Self.pairTag &>> 32 { return doorbellEvent(event, place) }
        if event.tag &>> 32 == Self.shortcutTag &>> 32 {
            shortcutEvent(event, place)
            return nil
        }
        acknowledged(place)
        return nil
    }

    mutating func ownSourceEvent(_ event: Event) -> VectorEvent {
        let kind: VectorEvent.Kind =
            switch event.kind {
            case .signal: .source
            case .timer: .timer
            case .failed(let errno): .failed(errno: errno)
            }
        return VectorEvent(
            kind: kind, id: VectorID(slot: .max, generation: 0), vector: Vector(.intx, 0), tag: event.tag,
            count: event.count, ticks: event.ticks)
    }

    @inline(never)
    mutating func failure(_ event: Event, _ slot: UInt32) -> VectorEvent? {
        // A timer with a vector's tag is the mux's own; anything else is the end of a vector's source.
        guard case .failed(let errno) = event.kind else {
            ownTimer(slot)
            return nil
        }
        return failure(errno, slot, event.ticks)
    }

    mutating func failure(_ errno: Int32, _ slot: UInt32, _ ticks: UInt64) -> VectorEvent {
        VectorEvent(
            kind: .failed(errno: errno), id: VectorID(slot: slot, generation: entries[slot].generation),
            vector: entries[slot].vector, tag: entries[slot].tag, count: 0, ticks: ticks)
    }

    /// The device refused to unmask. What is ready as well keeps its turn.
    mutating func refusal(_ slot: UInt32) -> VectorEvent {
        let errno = entries[slot].refusal
        entries[slot].refusal = 0
        if entries[slot].ready || entries[slot].verdict != nil { enlist(slot) }
        return failure(errno, slot, loop.time.now)
    }
}
