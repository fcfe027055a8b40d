internal import CKernel
internal import EventRing
internal import InterruptModel

extension Mux {
    /// Hands a guest's DisINTx on to the device, in the order in which no level is lost.
    ///
    /// Set: the device gets it first and interrupts no more; then its part of the pin goes low, and what was in service
    /// is. Clear: the mux listens first, because a device that asserts fires at once. With the ways past the mux the
    /// device alone sees to it. `INTxRegisters` says when a write of configuration space changes the bit.
    ///
    /// - Parameters:
    ///   - disabled: Whether the guest set the bit.
    ///   - write: Writes the device's command register; called once, on this thread.
    /// - Throws: `ENOENT` when the vector was disconnected, and then nothing was written.
    public mutating func passDisINTx(_ id: VectorID, _ disabled: Bool, write: () -> Void) throws(MuxError) {
        let slot = try entries.locate(id, "handing DisINTx on")
        guard let line = lines.byPlace[Int(entries[slot].device)], !line.choice.way.bypasses else { return write() }
        guard disabled else {
            line.isDisabled = false
            if let source = entries[slot].source { try? loop.arm(source) }
            return write()
        }
        write()
        line.isDisabled = true
        line.lowerPin()
        // Nobody will acknowledge it: the guest has sent the interrupt away. Clearing the bit unmasks the device.
        entries[slot].inService = false
        restoreMappings(line)
        if let source = entries[slot].source { try? loop.arm(source) }
    }
}
