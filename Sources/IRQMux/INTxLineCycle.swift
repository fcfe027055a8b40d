internal import CKernel
internal import EventRing
internal import InterruptModel

// The cycle of a served line on the mux's thread: it fires, the pin goes up; it is acknowledged, the pin goes down and
// the device is unmasked. All of it once an interrupt, next to a system call that unmasks; never for other vectors.
extension Mux {
    /// A served line's signal came by the loop.
    @inline(never)
    mutating func lineFired(_ slot: UInt32) {
        guard let line = lines.byPlace[Int(entries[slot].device)] else { return }
        if line.choice.way.bypasses || line.isDisabled {
            // On its way to the irqfd, by the fan-out: whoever tells of the guest's end of interrupt unmasks. Under
            // DisINTx it is late, and fires again when the guest clears that.
            if let source = entries[slot].source { try? loop.arm(source) }
            return
        }
        entries[slot].inService = true
        line.atWork = false
        if let mappings = line.mappings, !line.isTrapping {
            line.isTrapping = true
            mappings(false)
        }
        line.raisePin()
    }

    /// A line has been acknowledged, or the guest is at work on it: its part of the pin's level goes.
    @inline(never)
    mutating func lowerPin(_ slot: UInt32) {
        lines.byPlace[Int(entries[slot].device)]?.lowerPin()
    }

    /// Nothing is in service any more: the guest may reach the device without a trap.
    @inline(never)
    mutating func reopenMappings(_ slot: UInt32) {
        if let line = lines.byPlace[Int(entries[slot].device)] { restoreMappings(line) }
    }

    mutating func restoreMappings(_ line: INTxLine) {
        if let timer = line.timer { try? loop.removeTimer(timer) }
        line.timer = nil
        guard line.isTrapping else { return }
        line.isTrapping = false
        line.mappings?(true)
    }

    /// An access of the guest's to the device was trapped (``INTxWay/mappingToggle``): the guest is at work. The pin
    /// goes low, so that its handler is not entered again; the device is unmasked when accesses have ceased for the
    /// quiet period. No effect while nothing is in service.
    ///
    /// - Throws: `ENOENT` when it was disconnected; `ENOSPC` when the loop has no timer left, and then the interrupt is
    ///   acknowledged at once.
    public mutating func noteAccess(_ id: VectorID) throws(MuxError) {
        let slot = try entries.locate(id, "noting an access")
        guard let line = lines.byPlace[Int(entries[slot].device)], line.isTrapping, entries[slot].inService else {
            return
        }
        line.lastAccess = irqmux_monotonic_ns()
        if !line.atWork {
            line.atWork = true
            lowerPin(slot)
        }
        guard line.timer == nil else { return }
        do throws(MuxError) { try startQuietTimer(slot, line, after: line.quiet) } catch {
            try endService(slot)
            throw error
        }
    }

    mutating func startQuietTimer(
        _ slot: UInt32, _ line: INTxLine, after nanoseconds: UInt64
    ) throws(MuxError) {
        do throws(RingError) {
            line.timer = try loop.addTimer(after: nanoseconds, tag: Self.vectorTag | UInt64(slot))
        } catch { throw MuxError(error) }
    }

    /// A timer of the mux's own: the watchdog's, or the end of a line's quiet period.
    @inline(never)
    mutating func ownTimer(_ slot: UInt32) {
        guard slot != Self.watchdogSlot else { return watch() }
        guard slot != Self.settleSlot else { return settleDue() }
        guard entries[slot].way == .mappingToggle, let line = lines.byPlace[Int(entries[slot].device)] else { return }
        line.timer = nil
        guard entries[slot].inService, line.atWork else { return }
        do throws(MuxError) {
            let quiet = irqmux_monotonic_ns() &- line.lastAccess
            if quiet < line.quiet {
                try startQuietTimer(slot, line, after: line.quiet - quiet)
            } else {
                try endService(slot)
            }
        } catch {
            entries[slot].refusal = error.errno
            enlist(slot)
        }
    }
}

extension MuxRemote {
    /// Acknowledges an INTx; see `Mux.acknowledge`. Errors as there and as `perform`.
    public func acknowledge(_ id: VectorID) throws(MuxError) {
        try perform { mux in Result { () throws(MuxError) in try mux.acknowledge(id) } }.get()
    }

    /// Ends the interrupt of a pin; see `Mux.endOfInterrupt(gsi:)`. Errors as there and as `perform`.
    public func endOfInterrupt(gsi: UInt32) throws(MuxError) {
        try perform { mux in Result { () throws(MuxError) in try mux.endOfInterrupt(gsi: gsi) } }.get()
    }

    /// Tells of a trapped access; see `Mux.noteAccess`. Errors as there and as `perform`.
    public func noteAccess(_ id: VectorID) throws(MuxError) {
        try perform { mux in Result { () throws(MuxError) in try mux.noteAccess(id) } }.get()
    }
}
