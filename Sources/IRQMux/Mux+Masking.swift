internal import CKernel
internal import EventRing
internal import InterruptModel

// Masking is a bit looked at when a notification is dispatched: no system call, nothing to undo in the kernel. What
// comes while it is set is held, and delivered once when it is cleared. INTx is masked in the device as well, because
// the line would only mask itself with an interrupt nobody takes. A bypassed vector is brought back to the loop first,
// by a swap of its two eventfds; deassigning its irqfd would cost twenty times as much.
extension Mux {
    /// Stops delivery of a vector; signals are kept. Masking twice is masking once.
    ///
    /// - Throws: `ENOENT` when it was disconnected; what SET_IRQS says for INTx and vectors routed to `guest`, and then
    ///   such a vector is not masked.
    public mutating func mask(_ id: VectorID) throws(MuxError) {
        let slot = try entries.locate(id, "masking a vector")
        try checkNotServed(slot)
        if entries[slot].index == .intx { try maskDevice(slot) }
        if entries[slot].route == .guest { try point(slot, atBypass: false) }
        entries[slot].gate.mask()
        shut(slot)
    }

    /// Resumes delivery; what came meanwhile is delivered as one event. No effect on a vector that is not masked.
    ///
    /// For a bypassed vector the device's eventfd is swapped first, because that can fail, and what was held is written
    /// to the irqfd after it, once. What was signalled before the swap and not dispatched yet follows.
    ///
    /// - Throws: `ENOENT` when it was disconnected; what SET_IRQS says for INTx and vectors routed to `guest`, and then
    ///   the vector stays masked.
    public mutating func unmask(_ id: VectorID) throws(MuxError) {
        let slot = try entries.locate(id, "unmasking a vector")
        try checkNotServed(slot)
        guard entries[slot].gate.isMasked else { return }
        if entries[slot].index == .intx { try unmaskDevice(slot) }
        if entries[slot].route == .guest { try point(slot, atBypass: true) }
        open(slot, holding: entries[slot].gate.unmask())
    }

    /// Whether a vector is masked.
    ///
    /// - Throws: `ENOENT` when it was disconnected.
    public func isMasked(_ id: VectorID) throws(MuxError) -> Bool {
        entries[try entries.locate(id, "looking at a vector")].gate.isMasked
    }

    /// Whether something waits for a vector to be unmasked or routed: its pending bit.
    ///
    /// - Throws: `ENOENT` when it was disconnected.
    public func isPending(_ id: VectorID) throws(MuxError) -> Bool {
        let slot = try entries.locate(id, "looking at a vector")
        return entries[slot].gate.isPending || entries[slot].ready
    }

    /// The gate was shut: what was about to be delivered is held again. (Of vectors that serve a guest's registers
    /// nothing is ever about to be: see Mux+Served.)
    mutating func shut(_ slot: UInt32) {
        guard entries[slot].ready else { return }
        entries[slot].ready = false
        _ = entries[slot].gate.arrive(entries[slot].readyCount)
        entries[slot].readyCount = 0
    }

    /// The gate may be open: `held` notifications are delivered, as one.
    mutating func open(_ slot: UInt32, holding held: UInt64) {
        guard entries[slot].gate.isOpen else { return }
        if entries[slot].silenced { endSilence(slot) }
        guard held > 0 else { return }
        if entries[slot].route.isIntoGuest { return forwardHeld(slot) }
        entries[slot].ready = true
        entries[slot].readyCount &+= held
        enlist(slot)
    }

    /// Listens again. What the eventfd holds by now belongs to what is held, and is taken out: arming then tells of
    /// what comes later and of nothing else. (Whether arming would tell of it depends on how the loop listened.)
    mutating func endSilence(_ slot: UInt32) {
        entries[slot].silenced = false
        entries[slot].silencesEnded &+= 1
        var count: UInt64 = 0
        // SAFETY: the pointer is valid for the call.
        if unsafe irqmux_eventfd_take_without_waiting(entries[slot].eventfd, &count) == 0 {
            entries[slot].taken &+= count
        }
        if let source = entries[slot].source { try? loop.arm(source) }
    }

    /// Puts a place into the ready list.
    mutating func enlist(_ slot: UInt32) {
        guard !entries[slot].listed else { return }
        entries[slot].listed = true
        entries[slot].link = firstReady
        firstReady = slot
    }

    /// Takes a place out of the ready list.
    mutating func unlist(_ slot: UInt32) {
        scheduler.forget(slot)
        guard entries[slot].listed else { return }
        entries[slot].listed = false
        entries[slot].ready = false
        guard firstReady != slot else {
            firstReady = entries[slot].link
            return
        }
        var place = firstReady
        while entries[place].link != slot { place = entries[place].link }
        entries[place].link = entries[slot].link
    }
}
