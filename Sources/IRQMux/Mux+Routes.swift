internal import CKernel
internal import EventRing
internal import InterruptModel

extension Mux {
    /// Sends a vector's signals somewhere else from now on. What was held goes the new way, unless that is `parked`.
    ///
    /// - Throws: `ENOENT` when it was disconnected; `EBUSY` while INTx is served past the mux; for fan-out targets
    ///   `EINVAL` (none, or no eventfd), `EBADF`, `EMFILE`, or `ENOSPC` (the old targets count until the new ones are
    ///   there), and then the old route stays.
    public mutating func route(_ id: VectorID, to route: Route) throws(MuxError) {
        let slot = try entries.locate(id, "routing a vector")
        try checkNotBypassed(slot)
        try setRoute(slot, route)
    }

    /// Where a vector's signals go; the targets of a fan-out are the mux's duplicates.
    ///
    /// - Throws: `ENOENT` when it was disconnected.
    public func route(of id: VectorID) throws(MuxError) -> Route {
        let slot = try entries.locate(id, "looking at a vector")
        return switch entries[slot].route {
        case .handler: .handler
        case .parked: .parked
        case .fanOut: .fanOut(targets.list(entries[slot].firstTarget))
        }
    }

    mutating func setRoute(_ slot: UInt32, _ route: Route) throws(MuxError) {
        var first = UInt32.max
        if case .fanOut(let eventfds) = route { first = try targets.makeList(eventfds) }
        targets.drop(entries[slot].firstTarget)
        entries[slot].firstTarget = first
        switch route {
        case .parked:
            entries[slot].route = .parked
            entries[slot].gate.park()
            shut(slot)
        case .handler, .fanOut:
            entries[slot].route = route == .handler ? .handler : .fanOut
            open(slot, holding: entries[slot].gate.unpark())
        }
    }
}
