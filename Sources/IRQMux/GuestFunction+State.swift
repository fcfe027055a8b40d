internal import CKernel
public import InterruptModel

// Resets, and the whole function's interrupts kept and loaded.
extension GuestFunction {
    /// The function is reset: registers as after power-on, what was held dropped by name, then the device itself. INTx
    /// is connected again. A guest that resets its function by Device Control (FLR) has this done by
    /// `writeConfiguration`.
    ///
    /// - Throws: What the device says of its reset, and then the registers are reset all the same.
    public mutating func reset(on mux: inout Mux) throws(MuxError) {
        let device = device
        try reset(on: &mux) { (mux) throws(MuxError) in try mux.reset(device) }
    }

    /// The function is reset as a part of something larger, its bus or the machine.
    ///
    /// - Parameter carryOut: Resets the device; called when nothing of it is connected any more, and before INTx is
    ///   again. For a bus, functions are reset one in the other, and the innermost resets the bus
    ///   (`VFIO_DEVICE_PCI_HOT_RESET`), once for all of them.
    /// - Throws: What `carryOut` throws, and then the registers are reset all the same.
    public mutating func reset(
        on mux: inout Mux, by carryOut: (inout Mux) throws(MuxError) -> Void
    ) throws(MuxError) {
        try forgetShortcuts(on: &mux)
        msix?.value.reset(on: &mux)
        msi?.value.reset(on: &mux)
        _ = registers.reset()
        if line != nil {
            line = nil
            do throws(MuxError) { try mux.disconnectAll(device, .intx) } catch { lineError = error }
        }
        defer { reconnectLine(on: &mux) }
        try mux.locate(device).clearCommand()
        try carryOut(&mux)
    }

    /// The device's own table was wiped behind VFIO's back, by a reset through a register that nobody traps: what is
    /// assigned is assigned again, and every open vector told once. As `GuestMSIX.repair`.
    ///
    /// - Throws: What SET_IRQS says.
    public mutating func repair(on mux: inout Mux) throws(MuxError) {
        if msix?.value.table.isEnabled ?? false { try msix?.value.repair(on: &mux) }
        if msi?.value.registers.isEnabled ?? false { try msi?.value.repair(on: &mux) }
    }

    /// Adds the function to a saved state: MSI-X, MSI and INTx, of which only the registers are left while messages are
    /// on. Changes nothing. The device should be quiet meanwhile.
    ///
    /// - Throws: As `Mux.ledger`; what the device says of its status.
    public mutating func save(into state: inout InterruptState, on mux: inout Mux) throws(MuxError) {
        mux.carryShortcuts(shortcuts, of: try mux.locate(device))
        try msix?.value.save(into: &state, on: &mux)
        try msi?.value.save(into: &state, on: &mux)
        guard registers.pin != 0 else { return }
        // The status register's bit 3.
        let status = try mux.locate(device).read(Self.configurationRegion, 0x06, 2)
        _ = registers.setAsserted(status & 8 != 0)
        if let line { return try mux.save(line: line, registers, into: &state) }
        state.line = InterruptState.Line(registers, way: .none)
    }

    /// Loads a saved state into a function as after a reset. Everything is checked before anything is touched. What
    /// may have been lost is told once, vector by vector.
    ///
    /// - Throws: `EINVAL` for the state of another device, or one that contradicts itself; `EBUSY` unless the function
    ///   is as after a reset; what the device says of DisINTx.
    public mutating func load(_ state: InterruptState, on mux: inout Mux) throws(MuxError) {
        try check(state, on: mux)
        let attached = try mux.locate(device)
        // What was loaded before a reset is in the account already.
        attached.isRestored = false
        if Self.willMessage(state), line != nil {
            try mux.disconnectAll(device, .intx)
            line = nil
        }
        if let saved = state.line { try load(saved, of: state, attached, on: &mux) }
        if state.msix != nil { try msix?.value.load(state, on: &mux) }
        if state.msi != nil { try msi?.value.load(state, on: &mux) }
    }

    /// INTx, of which nothing is connected while messages are on.
    private mutating func load(
        _ saved: InterruptState.Line, of state: InterruptState, _ attached: AttachedDevice, on mux: inout Mux
    ) throws(MuxError) {
        if let line {
            var refusal: MuxError?
            var registers = registers
            try mux.load(line: line, from: state, into: &registers) {
                do throws(MuxError) { try attached.setDisINTx() } catch { refusal = error }
            }
            self.registers = registers
            if let refusal { throw refusal }
        } else {
            registers = saved.registers
            if registers.isDisabled { try attached.setDisINTx() }
        }
        try attached.write(Self.configurationRegion, 0x3C, 1, UInt64(saved.registers.line))
    }

    private static func willMessage(_ state: InterruptState) -> Bool {
        (state.msix?.isEnabled ?? false) || (state.msi?.isEnabled ?? false)
    }

    /// Everything that `load` of the parts would refuse.
    private func check(_ state: InterruptState, on mux: borrowing Mux) throws(MuxError) {
        let registers = msi?.value.registers
        guard state.fits(msixVectors: msix?.value.table.count, msi: registers) else {
            throw MessageCarrier.otherDevice
        }
        let isReset =
            !isMessaging && (msix?.value.table.inUse ?? 0) == 0 && (registers?.inUseBits ?? 0) == 0
        guard isReset else { throw MessageCarrier.notReset }
        guard let saved = state.line else { return }
        guard saved.isConsistent, saved.registers.pin == self.registers.pin else { throw MessageCarrier.otherDevice }
        // A function interrupts in one way at a time; and what was told of a line has to go on with one.
        let isTold = saved.isInService || saved.isMasked || saved.mayHaveLost || saved.way != .none
        guard Self.willMessage(state) ? !isTold : line != nil || !isTold else { throw MessageCarrier.otherDevice }
        if let line { try mux.checkFresh(line: line) }
    }
}

extension Mux {
    /// Resets a device's function (`VFIO_DEVICE_RESET`). Interrupt assignments stay, as the kernel has it; what the
    /// guest's registers say is `GuestFunction.reset`'s.
    ///
    /// - Throws: `ENOENT` when it was detached; what the device says.
    public mutating func reset(_ id: DeviceID) throws(MuxError) {
        let device = try locate(id)
        do throws(DeviceError) { try device.reset() } catch { throw MuxError(error) }
    }
}
