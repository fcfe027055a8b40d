internal import CKernel
internal import InterruptModel

extension GuestFunction {
    /// Ends serving the function: registers as after a reset, every vector let go, what was held dropped by name. What
    /// the guest wrote past the VMM has reached the device, and no more of it will. The device is neither reset nor
    /// otherwise written. Nothing of the guest's may be handed on afterwards.
    ///
    /// - Throws: What the device says of INTx that is taken from it, and then it has ended all the same.
    public mutating func end(on mux: inout Mux) throws(MuxError) {
        // A device that was detached has none any more.
        try? forgetShortcuts(on: &mux)
        msix?.value.reset(on: &mux)
        msi?.value.reset(on: &mux)
        _ = registers.reset()
        guard line != nil else { return }
        line = nil
        try mux.disconnectAll(device, .intx)
    }
}
