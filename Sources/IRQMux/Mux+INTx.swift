internal import CKernel
internal import EventRing
internal import InterruptModel

// A level-triggered interrupt's cycle: the device fires and masks itself, the handler quiets the device, the
// acknowledgement unmasks. Unmasking a line that is still asserted fires it again, so nothing is lost by order.
extension Mux {
    /// Says that the device behind an INTx has been quieted: the line is unmasked, and the next interrupt may come.
    ///
    /// Needed with `MuxOptions.INTxAcknowledgement.explicit` and for fan-out routes. No effect when nothing is in
    /// service.
    /// - Throws: `ENOENT` when it was disconnected; what SET_IRQS says, and then the interrupt stays in service and may
    ///   be acknowledged again.
    public mutating func acknowledge(_ id: VectorID) throws(MuxError) {
        let slot = try entries.locate(id, "acknowledging an interrupt")
        if unacknowledged == slot { unacknowledged = .max }
        try endService(slot)
    }

    /// An INTx was delivered; the device has masked the line.
    @inline(never)
    mutating func beginService(_ slot: UInt32) {
        guard entries[slot].way == nil else { return lineFired(slot) }
        entries[slot].inService = true
        if entries[slot].route == .handler, options.intxAcknowledgement == .afterHandler { unacknowledged = slot }
    }

    /// Acknowledges the INTx whose event was handed out last. When the device refuses, `next` hands out the failure.
    @inline(never)
    mutating func acknowledgeHandedOut() {
        guard unacknowledged != .max else { return }
        let slot = unacknowledged
        unacknowledged = .max
        do throws(MuxError) { try endService(slot) } catch {
            entries[slot].refusal = error.errno
            enlist(slot)
        }
    }

    mutating func endService(_ slot: UInt32) throws(MuxError) {
        guard entries[slot].inService else { return }
        // First, for the device may fire again as soon as it is unmasked.
        if entries[slot].way != nil { lowerPin(slot) }
        // Listen first: the unmasking may fire at once.
        if let source = entries[slot].source { try? loop.arm(source) }
        if !entries[slot].deviceMasked { try setDevice(slot, .unmask) }
        entries[slot].inService = false
        if entries[slot].way == .mappingToggle { reopenMappings(slot) }
    }

    /// Masks the line in the device, where it has a mask. A line past the mux comes back to the loop instead, which
    /// holds what comes: the device's mask would be taken away by the guest's next end of interrupt.
    mutating func maskDevice(_ slot: UInt32) throws(MuxError) {
        guard !entries[slot].deviceMasked, isMaskable(slot) else { return }
        if entries[slot].way?.bypasses == true {
            try setTrigger(slot, entries[slot].eventfd)
            entries[slot].deviceMasked = true
            return
        }
        try setDevice(slot, .mask)
        entries[slot].deviceMasked = true
    }

    /// Takes the owner's mask away. While the interrupt is in service, the acknowledgement unmasks; while one is held,
    /// its delivery comes first.
    mutating func unmaskDevice(_ slot: UInt32) throws(MuxError) {
        guard entries[slot].deviceMasked else { return }
        if entries[slot].way?.bypasses == true, let line = lines.byPlace[Int(entries[slot].device)] {
            try setTrigger(slot, line.trigger)
            entries[slot].deviceMasked = false
            return
        }
        if !entries[slot].inService && !entries[slot].gate.isPending { try setDevice(slot, .unmask) }
        entries[slot].deviceMasked = false
    }

    private mutating func isMaskable(_ slot: UInt32) -> Bool {
        guard let device = devices[Int(entries[slot].device)] else { return false }
        do throws(DeviceError) { return try device.info(entries[slot].index).maskable } catch { return false }
    }

    mutating func setDevice(_ slot: UInt32, _ action: IRQRequest.Action) throws(MuxError) {
        guard let device = devices[Int(entries[slot].device)] else { return }
        do throws(DeviceError) {
            _ = try device.set(IRQRequest(entries[slot].index, action, start: entries[slot].number, .none(count: 1)))
        } catch { throw MuxError(error) }
    }
}
