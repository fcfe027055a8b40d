internal import CKernel
internal import EventRing
internal import InterruptModel

extension Mux {
    /// Sends a vector's signals somewhere else from now on. What was held goes the new way, unless that is `parked`.
    ///
    /// Any route to any route, while signals arrive: what was signalled before and not dispatched yet goes the new way,
    /// once a notification. Going from or to `guest` is one SET_IRQS of this vector, which swaps its two eventfds; the
    /// irqfd stays assigned, also when the vector leaves the guest, so that coming back costs no more.
    ///
    /// - Throws: `ENOENT` when it was disconnected; `EBUSY` while INTx is served past the mux; for fan-out targets
    /// `EINVAL` (none, or no eventfd), `EBADF`,
    ///   `EMFILE`, or `ENOSPC` (the old targets count until the new ones are there); for routes into the guest `ENODEV`
    ///   (no guest, or closed), `EEXIST` (the GSI is another vector's or pair's), `ENXIO` (the GSI has no route),
    ///   `EINVAL` (out of range, or INTx), what KVM and SET_IRQS say. Then the old route stays.
    public mutating func route(_ id: VectorID, to route: Route) throws(MuxError) {
        let slot = try entries.locate(id, "routing a vector")
        try checkNotServed(slot)
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
        case .guest: .guest(entries[slot].boundGSI ?? 0)
        case .detour: .detour(entries[slot].boundGSI ?? 0)
        case .injected: .detour(entries[slot].gsi)
        }
    }

    mutating func setRoute(_ slot: UInt32, _ route: Route) throws(MuxError) {
        var first = UInt32.max
        if case .fanOut(let eventfds) = route { first = try makeTargets(eventfds) }
        do throws(MuxError) { try takeGuestPath(slot, route) } catch {
            dropTargets(first)
            throw error
        }
        dropTargets(entries[slot].firstTarget)
        entries[slot].firstTarget = first
        switch route {
        case .parked:
            entries[slot].route = .parked
            entries[slot].gate.park()
            shut(slot)
        case .handler, .fanOut, .guest, .detour:
            entries[slot].route = route.kind
            open(slot, holding: entries[slot].gate.unpark())
        }
        recoverUntaken(slot)
    }
}
