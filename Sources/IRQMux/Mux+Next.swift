internal import CKernel
internal import EventRing
internal import InterruptModel

// The hot path: one event of the loop becomes one event for the handler, or is fanned out, or is held.
extension Mux {
    /// The next event; `nil` when there is none, and then `wait` is due. Never waits.
    ///
    /// Asking for the next event says that the last one has been dealt with: an INTx is acknowledged here, unless the
    /// mux was made to leave that to its owner.
    public mutating func next() -> VectorEvent? {
        if unacknowledged != .max { acknowledgeHandedOut() }
        while true {
            if firstReady != .max, let event = nextReady() { return event }
            guard let event = loop.next() else { return nil }
            if event.tag & Self.vectorTag == 0 { return ownSourceEvent(event) }
            let slot = UInt32(truncatingIfNeeded: event.tag)
            guard event.kind == .signal else { return failure(event, slot) }
            if entries[slot].gate.isOpen {
                if let handed = deliver(slot, event.count, event.ticks) { return handed }
            } else {
                hold(slot)
            }
        }
    }

    /// Lets one notification pass: `nil` when the mux itself saw to it.
    @inline(__always)
    private mutating func deliver(_ slot: UInt32, _ count: UInt64, _ ticks: UInt64) -> VectorEvent? {
        entries[slot].delivered &+= 1
        if entries[slot].index == .intx { beginService(slot) }
        guard entries[slot].route == .handler else {
            targets.signal(entries[slot].firstTarget)
            return nil
        }
        return VectorEvent(
            kind: .interrupt, id: VectorID(slot: slot, generation: entries[slot].generation),
            vector: entries[slot].vector, tag: entries[slot].tag, count: count, ticks: ticks)
    }

    /// Keeps one notification for later. A storm on a shut vector is silenced: its signals wait in the eventfd.
    @inline(never)
    private mutating func hold(_ slot: UInt32) {
        _ = entries[slot].gate.arrive()
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
            // The gate may have been shut again since it was put here.
            guard entries[slot].ready else { continue }
            entries[slot].ready = false
            if let event = deliver(slot, 0, loop.time.now) { return event }
        }
        return nil
    }

    @inline(never)
    private mutating func ownSourceEvent(_ event: Event) -> VectorEvent {
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
    private mutating func failure(_ event: Event, _ slot: UInt32) -> VectorEvent? {
        guard case .failed(let errno) = event.kind else { return nil }
        return VectorEvent(
            kind: .failed(errno: errno), id: VectorID(slot: slot, generation: entries[slot].generation),
            vector: entries[slot].vector, tag: entries[slot].tag, count: 0, ticks: event.ticks)
    }
}
