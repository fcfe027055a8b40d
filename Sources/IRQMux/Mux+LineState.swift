internal import CKernel
internal import EventRing
public import InterruptModel

// Keeping INTx and loading it. A level needs less than a message does: a device that still asserts fires again as soon
// as it is listened to. What has to be kept is where the guest stands: whether it was told and owes an acknowledgement,
// and whether it wants to be told at all.
extension Mux {
    /// Adds a connected INTx to a saved state: what its guest sees of it, how it was served, where its cycle stood, and
    /// its account. Changes nothing.
    ///
    /// - Parameter registers: What the guest sees in configuration space.
    /// - Throws: `ENOENT` when it was disconnected; `EINVAL` for another vector than INTx, or registers without a pin;
    ///   as `ledger`.
    public mutating func save(
        line id: VectorID, _ registers: INTxRegisters, into state: inout InterruptState
    ) throws(MuxError) {
        let slot = try locateLine(id, pin: registers.pin)
        var account = try ledger(id)
        // One interrupt is due for all that pends.
        let more = account.pending - min(account.pending, 1)
        account.pending -= more
        account.coalesced &+= more
        let entry = entries[slot]
        let way = InterruptState.LineWay(entry.way)
        let isInService = entry.inService && !registers.isDisabled && !way.bypasses
        let isMasked = entry.gate.isMasked
        state.line = InterruptState.Line(
            registers, way: way, isInService: isInService, isMasked: isMasked,
            mayHaveLost: !isInService && !isMasked && !registers.isDisabled, account: account)
        // Otherwise it came, or comes, with the messages.
        if state.msix == nil, state.msi == nil, let device = devices[Int(entry.device)] {
            state.retired = device.retired
        }
    }

    /// Loads INTx from a saved state into a line that is connected and served, by whatever way this machine has. The
    /// guest's interrupt controllers should have their state, and its CPUs not run yet.
    ///
    /// Everything is checked before anything is touched. Then: DisINTx goes to the device; its owner's mask is set;
    /// what the guest was told and has not acknowledged is in service again, with its pin up, so that the
    /// acknowledgement finds it; what was held is held, or told; and a line that may have lost something is told once.
    ///
    /// - Parameters:
    ///   - registers: What the guest sees in configuration space, as after a reset; as saved afterwards.
    ///   - write: Writes DisINTx into the device's command register; called once, where the guest has set it.
    /// - Returns: Whether the guest is told once, because something may have been lost: by the loop's next event, and
    ///   in the account as if the device had raised it; or past the loop at once.
    /// - Throws: `ENOENT` when it was disconnected; `EINVAL` for another vector than INTx, a state without INTx, one
    ///   that contradicts itself, or one with another pin; `EBUSY` for a line that is not served, has fired or is
    ///   masked already; what SET_IRQS says of masking, and then only DisINTx and registers are loaded.
    @discardableResult
    public mutating func load(
        line id: VectorID, from state: InterruptState, into registers: inout INTxRegisters,
        writeDisINTx write: () -> Void
    ) throws(MuxError) -> Bool {
        let slot = try locateLine(id, pin: registers.pin)
        guard let saved = state.line, saved.isConsistent, saved.registers.pin == registers.pin else {
            throw MessageCarrier.otherDevice
        }
        try checkFresh(line: id)
        guard let line = lines.byPlace[Int(entries[slot].device)], let device = devices[Int(entries[slot].device)]
        else {
            throw MessageCarrier.notReset
        }
        registers = saved.registers
        if saved.registers.isDisabled { try passDisINTx(id, true, write: write) }
        if saved.isMasked { try mask(id) }
        take(saved.account, slot, device, retired: state.retired)
        let isLoops = !line.choice.way.bypasses
        if saved.isInService, isLoops { resumeService(slot) }
        // Past the loop the acknowledgement is between KVM and the device, which is not masked here: a level that is
        // still up comes again by itself, and one that went up and down meanwhile is what the guest is told for.
        guard saved.mayHaveLost || saved.isInService && !isLoops, entries[slot].gate.isOpen else { return false }
        if isLoops { raiseHere(slot) } else { _ = irqmux_eventfd_signal(line.trigger, 1) }
        return true
    }

    /// A line that a state may be loaded into: served, and nothing has come of it yet.
    func checkFresh(line id: VectorID) throws(MuxError) {
        let entry = entries[try entries.locate(id, "keeping INTx")]
        guard entry.way != nil, !entry.inService, !entry.gate.isMasked, !entry.gate.isPending, entry.delivered == 0
        else {
            throw MessageCarrier.notReset
        }
    }

    private func locateLine(_ id: VectorID, pin: UInt8) throws(MuxError) -> UInt32 {
        let slot = try entries.locate(id, "keeping INTx")
        guard entries[slot].index == .intx, pin != 0 else {
            throw MuxError("keeping INTx", errno: EINVAL, remedy: "only a vector of INTx, with a pin, has this state")
        }
        return slot
    }

    /// The account goes on where it was; what pended is as if the device had raised it here.
    private mutating func take(_ account: Ledger, _ slot: UInt32, _ device: AttachedDevice, retired: Ledger) {
        if !device.isRestored { device.retired.merge(retired) }
        device.isRestored = true
        var account = account
        if account.pending > 0 {
            account.coalesced &+= account.pending - 1
            account.raised &-= 1
            account.pending = 0
            raiseHere(slot)
        }
        device.retired.merge(account)
    }

    /// One interrupt that the device did not raise, in the account as one that it did.
    private mutating func raiseHere(_ slot: UInt32) {
        entries[slot].raisedBefore &-= 1
        entries[slot].taken &+= 1
        entries[slot].accountedSignals &+= 1
        if entries[slot].gate.arrive(1) > 0 { open(slot, holding: 1) }
    }

    /// The guest was told elsewhere, and will acknowledge here.
    private mutating func resumeService(_ slot: UInt32) {
        // A device that fires before that is told of again; masked, it waits for the acknowledgement as it would have.
        try? setDevice(slot, .mask)
        lineFired(slot)
    }
}

extension InterruptState.LineWay {
    init(_ way: INTxWay?) {
        switch way {
        case nil: self = .none
        case .kernelResample: self = .kernelResample
        case .ioapicBroadcast: self = .ioapicBroadcast
        case .userEOI: self = .userEOI
        case .mappingToggle: self = .mappingToggle
        }
    }
}
