internal import CKernel
internal import EventRing
internal import InterruptModel

// Masking is a bit looked at when a notification is dispatched: no system call, nothing to undo in the kernel. What
// comes while it is set is held, and delivered once when it is cleared. INTx is masked in the device as well, because
// the line would only mask itself with an interrupt nobody takes.
extension Mux {
    /// Stops delivery of a vector; signals are kept. Masking twice is masking once.
    ///
    /// - Throws: `ENOENT` when it was disconnected; what SET_IRQS says for INTx.
    public mutating func mask(_ id: VectorID) throws(MuxError) {
        let slot = try entries.locate(id, "masking a vector")
        if entries[slot].index == .intx { try maskDevice(slot) }
        entries[slot].gate.mask()
        shut(slot)
    }

    /// Resumes delivery; what came meanwhile is delivered as one event. No effect on a vector that is not masked.
    ///
    /// - Throws: `ENOENT` when it was disconnected; what SET_IRQS says for INTx.
    public mutating func unmask(_ id: VectorID) throws(MuxError) {
        let slot = try entries.locate(id, "unmasking a vector")
        open(slot, holding: entries[slot].gate.unmask())
        if entries[slot].index == .intx { try unmaskDevice(slot) }
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

    /// The gate was shut: what was about to be delivered is held again.
    mutating func shut(_ slot: UInt32) {
        guard entries[slot].ready else { return }
        entries[slot].ready = false
        _ = entries[slot].gate.arrive()
    }

    /// The gate may be open: `held` notifications are delivered, as one.
    mutating func open(_ slot: UInt32, holding held: UInt64) {
        guard entries[slot].gate.isOpen else { return }
        if entries[slot].silenced, let source = entries[slot].source {
            // The signals are still in the eventfd, so arming reports them: nothing else is to be delivered for them.
            entries[slot].silenced = false
            try? loop.arm(source)
        } else if held > 0 {
            makeReady(slot)
        }
    }

    private mutating func makeReady(_ slot: UInt32) {
        entries[slot].ready = true
        guard !entries[slot].listed else { return }
        entries[slot].listed = true
        entries[slot].link = firstReady
        firstReady = slot
    }

    /// Takes a place out of the ready list.
    mutating func unlist(_ slot: UInt32) {
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
