internal import CKernel
public import KVM

// A guest that all loops of a group have: one routing table and one set of GSIs, so that a vector that is routed into
// it may be on any of the loops, and go from one to another.
extension MuxGroupRemote {
    /// Attaches a guest to every loop; see `Mux.attach(guest:routes:)`. GSIs are allocated and routes committed on any
    /// of the loops (`group[0].perform`), for all of them.
    ///
    /// - Throws: `EBUSY` when one of the loops has a guest; `EBADF`, `ENOTTY`, `EMFILE`; as `MuxRemote.perform`. Then
    ///   no loop has it.
    public func attach(guest machine: borrowing VirtualMachine, routes: GSIRoutes?) throws(MuxError) {
        let copy: VirtualMachine
        do throws(KVMError) { copy = try VirtualMachine(sharing: machine.number) } catch { throw MuxError(error) }
        let table = GuestTable(copy, live: routes)
        try exclusively { () throws(MuxError) in try join(table, loops: 0..<count) }
    }

    /// Lets the guest of `attach` go; see `Mux.detachGuest`.
    ///
    /// - Throws: `ENODEV` without a guest; `EBUSY` while a vector of any loop is routed into it, or a pair is there; as
    ///   `MuxRemote.perform`. Then every loop still has it.
    public func detachGuest() throws(MuxError) {
        try exclusively { () throws(MuxError) in
            let table = try command(0) { (mux) throws(MuxError) in try mux.attachedGuest().table }
            var gone = 0
            do throws(MuxError) {
                for loop in 0..<count {
                    try command(loop) { (mux) throws(MuxError) in try mux.detachGuest() }
                    gone = loop + 1
                }
            } catch {
                try? join(table, loops: 0..<gone)
                throw error
            }
        }
    }

    private func join(_ table: GuestTable, loops: Range<Int>) throws(MuxError) {
        for loop in loops {
            do throws(MuxError) {
                try command(loop) { (mux) throws(MuxError) in try mux.attach(table: table) }
            } catch {
                for joined in loops.lowerBound..<loop {
                    try? command(joined) { (mux) throws(MuxError) in try mux.detachGuest() }
                }
                throw error
            }
        }
    }

    /// Ends the interrupt of a pin for the lines of all loops; see `Mux.endOfInterrupt(gsi:)`. Use it instead of the
    /// loops' own: it waits while a line is being moved.
    ///
    /// - Throws: As `Mux.endOfInterrupt(gsi:)` and `MuxRemote.perform`; the other lines are unmasked all the same.
    public func endOfInterrupt(gsi: UInt32) throws(MuxError) {
        try exclusively { () throws(MuxError) in
            // The pin once, before anything fires again: later its level may be a new interrupt's.
            for loop in 0..<count where try command(loop, { mux in mux.endPin(gsi) }) { break }
            var refusal: MuxError?
            for loop in 0..<count {
                do throws(MuxError) {
                    try command(loop) { (mux) throws(MuxError) in try mux.endServices(onPin: gsi) }
                } catch { refusal = error }
            }
            if let refusal { throw refusal }
        }
    }
}
