internal import CKernel
public import InterruptModel

// Resets, and the whole function's interrupts kept and loaded.
extension GuestFunction {
    /// The function is reset, by its guest (FLR), with its bus, or by the owner: registers as after power-on, what was
    /// held dropped by name, then the device itself. INTx is connected again.
    ///
    /// - Throws: What the device says of its reset, and then the registers are reset all the same.
    public mutating func reset(on mux: inout Mux) throws(MuxError) {
        msix?.value.reset(on: &mux)
        msi?.value.reset(on: &mux)
        _ = registers.reset()
        if line != nil {
            line = nil
            do throws(MuxError) { try mux.disconnectAll(device, .intx) } catch { lineError = error }
        }
        defer { reconnectLine(on: &mux) }
        try mux.reset(device)
    }

    /// The device's own table was wiped behind VFIO's back, by a reset through a register that nobody traps: what is
    /// assigned is assigned again, and every open vector told once. As `GuestMSIX.repair`.
    ///
    /// - Throws: What SET_IRQS says.
    public mutating func repair(on mux: inout Mux) throws(MuxError) {
        if msix?.value.table.isEnabled ?? false { try msix?.value.repair(on: &mux) }
        if msi?.value.registers.isEnabled ?? false { try msi?.value.repair(on: &mux) }
    }

    /// Adds the function to a saved state: MSI-X, MSI and, while it is connected, INTx. Changes nothing. The device
    /// should be quiet meanwhile.
    ///
    /// - Throws: As `Mux.ledger`; what the device says of its status.
    public mutating func save(into state: inout InterruptState, on mux: inout Mux) throws(MuxError) {
        try msix?.value.save(into: &state, on: &mux)
        try msi?.value.save(into: &state, on: &mux)
        guard let line else { return }
        // The status register's bit 3.
        let status = try mux.locate(device).read(Self.configurationRegion, 0x06, 2)
        _ = registers.setAsserted(status & 8 != 0)
        try mux.save(line: line, registers, into: &state)
    }

    /// Loads a saved state into a function as after a reset. Everything is checked before anything is touched. What
    /// may have been lost is told once, vector by vector.
    ///
    /// - Throws: `EINVAL` for the state of another device, or one that contradicts itself; `EBUSY` unless the function
    ///   is as after a reset; what the device says of DisINTx.
    public mutating func load(_ state: InterruptState, on mux: inout Mux) throws(MuxError) {
        try check(state, on: mux)
        if let saved = state.line, let line {
            var refusal: MuxError?
            let attached = try mux.locate(device)
            var registers = registers
            try mux.load(line: line, from: state, into: &registers) {
                do throws(MuxError) { try attached.setDisINTx() } catch { refusal = error }
            }
            self.registers = registers
            if let refusal { throw refusal }
            try attached.write(Self.configurationRegion, 0x3C, 1, UInt64(saved.registers.line))
        } else if (state.msix?.isEnabled ?? false) || (state.msi?.isEnabled ?? false) {
            if line != nil { try mux.disconnectAll(device, .intx) }
            line = nil
        }
        if state.msix != nil { try msix?.value.load(state, on: &mux) }
        if state.msi != nil { try msi?.value.load(state, on: &mux) }
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
        let willMessage = (state.msix?.isEnabled ?? false) || (state.msi?.isEnabled ?? false)
        guard saved.isConsistent, !willMessage, let line, saved.registers.pin == self.registers.pin else {
            throw MessageCarrier.otherDevice
        }
        try mux.checkFresh(line: line)
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
