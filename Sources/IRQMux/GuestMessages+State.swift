internal import CKernel
internal import EventRing
public import InterruptModel

// Keeping the interrupt state and loading it. The device should be quiet meanwhile: stopped by its owner, or its guest
// paused. What comes in spite of that is not lost: a vector that was open is told once where the state is loaded.
extension GuestMSIX {
    /// Adds MSI-X to a saved state: registers, exact pending bits, an account for each connected vector. Changes
    /// nothing.
    ///
    /// - Throws: As `Mux.ledger`.
    public mutating func save(into state: inout InterruptState, on mux: inout Mux) throws(MuxError) {
        var table = table
        for first in stride(from: 0, to: table.count, by: 64) where table.isEnabled {
            var bits = carrier.owing(from: first, on: &mux)
            while bits != 0 {
                table.setPending(first + UInt32(bits.trailingZeroBitCount))
                bits &= bits - 1
            }
        }
        state.msix = table
        try carrier.save(into: &state, on: &mux)
    }

    /// Loads a saved state: registers as they were, vectors connected and routed as the guest uses them, what was
    /// pending delivered when it is unmasked, and each vector that was open told once.
    ///
    /// Everything is checked before anything is touched. A vector that cannot be had here is refused as any other
    /// (`table.refused`, `report`). Load when the guest's local APICs have their state, before its CPUs run.
    /// - Throws: `EINVAL` for a state without MSI-X or with another number of vectors; `EBUSY` unless the registers are
    ///   as after a reset.
    public mutating func load(_ state: InterruptState, on mux: inout Mux) throws(MuxError) {
        guard let saved = state.msix, saved.count == table.count else { throw MessageCarrier.otherDevice }
        guard !table.isEnabled, table.inUse == 0 else { throw MessageCarrier.notReset }
        try carrier.restore(state, on: mux)
        table = saved
        for record in state.vectors where record.vector.index == .msix && record.isToBeTold {
            table.setPending(record.vector.number)
        }
        synchronise(on: &mux)
    }
}

extension GuestMSI {
    /// Adds MSI to a saved state; as `GuestMSIX.save`.
    ///
    /// - Throws: As `Mux.ledger`.
    public mutating func save(into state: inout InterruptState, on mux: inout Mux) throws(MuxError) {
        var registers = registers
        let bits = carrier.owing(from: 0, on: &mux)
        for vector in 0..<carrier.count where bits & 1 << UInt64(vector) != 0 { registers.setPending(vector) }
        state.msi = registers
        try carrier.save(into: &state, on: &mux)
    }

    /// Loads a saved state; as `GuestMSIX.load`.
    ///
    /// - Throws: As `GuestMSIX.load`.
    public mutating func load(_ state: InterruptState, on mux: inout Mux) throws(MuxError) {
        guard let saved = state.msi, saved.layout == registers.layout, saved.next == registers.next else {
            throw MessageCarrier.otherDevice
        }
        guard !registers.isEnabled, registers.inUseBits == 0 else { throw MessageCarrier.notReset }
        try carrier.restore(state, on: mux)
        registers = saved
        for record in state.vectors where record.vector.index == .msi && record.isToBeTold {
            registers.setPending(record.vector.number)
        }
        synchronise(on: &mux)
    }
}

extension InterruptState.VectorRecord {
    /// Something pends, or may have been lost: one message is due.
    fileprivate var isToBeTold: Bool { mayHaveLost || account.pending > 0 }
}

extension MessageCarrier {
    static var otherDevice: MuxError {
        MuxError("loading an interrupt state", errno: EINVAL, remedy: StateError.Reason.otherDevice.text)
    }

    static var notReset: MuxError {
        MuxError("loading an interrupt state", errno: EBUSY, remedy: "reset the registers first")
    }

    func save(into state: inout InterruptState, on mux: inout Mux) throws(MuxError) {
        var retired = try mux.locate(device).retired
        for vector in 0..<count {
            let slot = slot(vector, mux)
            let isOwed = owed[Int(vector >> 6)] & 1 << UInt64(vector & 63) != 0
            guard slot != nil || isOwed else { continue }
            var account = slot == nil ? Ledger() : try mux.ledger(places[Int(vector)])
            if isOwed {
                retired.merge(Ledger(raised: 0 &- 1, pending: 0 &- 1))
                account.merge(Ledger(raised: 1, pending: 1))
            }
            // One message is due for all that pends.
            let more = account.pending - min(account.pending, 1)
            account.pending -= more
            account.coalesced &+= more
            state.vectors.append(
                InterruptState.VectorRecord(
                    Vector(index, vector), way: slot.map { way($0, mux) } ?? .none,
                    mayHaveLost: slot.map { mux.entries[$0].gate.isOpen } ?? false, account: account))
        }
        state.vectors.sort {
            ($0.vector.index.rawValue, $0.vector.number) < ($1.vector.index.rawValue, $1.vector.number)
        }
        state.retired = retired
    }

    private func way(_ slot: UInt32, _ mux: borrowing Mux) -> InterruptState.Way {
        guard mux.entries[slot].gsi != .max else { return .none }
        return mux.entries[slot].route == .guest ? .bypassed : .injected
    }

    /// Takes the accounts over: what was pending stays so until its message is sent.
    mutating func restore(_ state: InterruptState, on mux: borrowing Mux) throws(MuxError) {
        let attached = try mux.locate(device)
        // Once a device: its MSI and its MSI-X are loaded from the same state.
        if !attached.isRestored { attached.retired.merge(state.retired) }
        attached.isRestored = true
        for record in state.vectors where record.vector.index == index {
            attached.retired.merge(record.account)
            if record.account.pending > 0 {
                owed[Int(record.vector.number >> 6)] |= 1 << UInt64(record.vector.number & 63)
            }
        }
    }
}
