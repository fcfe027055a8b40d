internal import CKernel
internal import EventRing
public import InterruptModel

/// The MSI-X of a device as its guest sees it: what a VMM calls for each access that it traps.
///
///     var msix = try GuestMSIX(device, on: mux)
///     msix.writeMessageControl(value, on: &mux)                      // configuration space
///     msix.writeTable(offset: offset, width: 4, value, on: &mux)     // the table in its BAR
///     let bits = msix.readPending(offset: 0, width: 8, on: &mux)     // the PBA
///
/// Registers are `MSIXTable`; what they ask for is carried out on the mux before the call returns. A vector gets its
/// eventfds, its vector of the host and its GSI when the guest first unmasks it. Until its route is committed, together
/// with others, the loop injects its messages (KVM_SIGNAL_MSI), so none waits; then it is bypassed. A mask swaps what
/// the device signals, and what comes is held and shows in the pending bits. The mux's guest must have been attached
/// with its routes, and INTx and MSI of the device must be off before its guest enables MSI-X.
///
/// Belongs to the mux's thread. A VMM that serves accesses on its virtual CPUs' threads without waiting for the mux
/// keeps an `MSIXTable` of its own under a lock and posts only what `hasWork`; see docs/guest-interrupts.md.
public struct GuestMSIX: ~Copyable {
    /// The registers.
    public internal(set) var table: MSIXTable
    var carrier: MessageCarrier

    /// Serves a device's MSI-X: as after a reset, everything masked. The device is not touched until the guest enables
    /// it.
    ///
    /// - Parameters:
    ///   - device: A device of this mux, with no MSI-X vector connected. The served vectors are the registers' from now
    ///     on: `route`, `mask` and `unmask` refuse them.
    ///   - vectors: How many to offer to the guest, at most what the device has; all of them by default.
    ///   - requester: The device's requester ID, where `KVMCapabilities.messageDeviceID` says that it counts.
    /// - Throws: `ENODEV` for a device without MSI-X; `EINVAL` for a number of vectors that it does not have; `EBUSY`;
    ///   `ENOENT`.
    public init(
        _ device: DeviceID, vectors: UInt32? = nil, requester: UInt32? = nil, on mux: borrowing Mux
    ) throws(MuxError) {
        let carrier = try MessageCarrier(device, .msix, requester: requester, on: mux)
        let most = min(carrier.count, MSIXTable.mostVectors)
        let count = vectors ?? most
        guard 1...most ~= count else {
            throw MuxError("serving a guest's messages", errno: EINVAL, remedy: "the device has fewer MSI-X vectors")
        }
        self.carrier = carrier
        table = MSIXTable(count: count)
    }

    /// What it came to so far.
    public var report: GuestMessageReport { carrier.report(table.statistics) }

    /// The mux's vector that stands for one of the guest's, for `ledger`, `path` and the like; `nil` while there is
    /// none.
    public func vector(_ number: UInt32) -> VectorID? {
        guard number < table.count, carrier.places[Int(number)].slot != .max else { return nil }
        return carrier.places[Int(number)]
    }

    // MARK: The guest's accesses

    /// The guest read the table. As `MSIXTable.readTable`.
    public mutating func readTable(offset: UInt64, width: Int) -> UInt64 {
        table.readTable(offset: offset, width: width)
    }

    /// The guest wrote the table. As `MSIXTable.writeTable`; what it asks for is carried out. What was refused stays
    /// refused (`table.refused`) until the guest touches that vector or `retry` is called.
    public mutating func writeTable(offset: UInt64, width: Int, _ value: UInt64, on mux: inout Mux) {
        if table.writeTable(offset: offset, width: width, value) { synchronise(on: &mux) }
    }

    /// The guest read the pending bit array: exact for masked vectors in use, up to 64 system calls then.
    public mutating func readPending(offset: UInt64, width: Int, on mux: inout Mux) -> UInt64 {
        let isKept = offset < table.pendingSize && table.isEnabled
        let kept = isKept ? carrier.kept(from: table.firstVector(ofPendingAt: offset), on: &mux) : 0
        return table.readPending(offset: offset, width: width, kept: kept)
    }

    /// What the guest reads from the message control register.
    public var messageControl: UInt16 { table.messageControl }

    /// The guest wrote the message control register. As `MSIXTable.writeMessageControl`; carried out.
    public mutating func writeMessageControl(_ value: UInt16, on mux: inout Mux) {
        if table.writeMessageControl(value) { synchronise(on: &mux) }
    }

    /// Asks again for what was refused: after a limit was raised, or another device gave vectors back.
    public mutating func retry(on mux: inout Mux) {
        if table.retry() { synchronise(on: &mux) }
    }

    // MARK: Resets

    /// The function is being reset, by its guest (FLR), with its bus, or by the owner: registers as after power-on,
    /// every vector let go, what was held dropped by name. Call it before the device itself is reset; a bus reset takes
    /// each function in turn.
    public mutating func reset(on mux: inout Mux) {
        table.reset()
        synchronise(on: &mux)
    }

    /// The device's own table was wiped behind VFIO's back (a reset by the guest through a register that nobody traps,
    /// or by firmware): every vector is assigned again, which writes the table anew, and every open one is told once,
    /// because what the device raised meanwhile is lost.
    ///
    /// - Throws: The first refusal of SET_IRQS, after everything else was done.
    public mutating func repair(on mux: inout Mux) throws(MuxError) {
        try carrier.repair(on: &mux)
    }

    mutating func synchronise(on mux: inout Mux) {
        table.synchronise { carrier.perform($0, on: &mux) }
    }
}

extension GuestMSIX {
    /// Bytes that exist because of a vector, its histogram (where it is measured) left out: 256 at most.
    ///
    /// Its entry in the guest's table, in the mux and in the loop (a cache line), what leads from the first to the
    /// second, the owner of its GSI, and a byte for its bits in sets: dirty, pending, owed,
    /// waiting for its route, and the like. The bypass
    /// eventfd and its irqfd are numbers in the mux's entry. Not counted: a machine's routing table, which is there
    /// once and whole, however many vectors there are; what features that are off would take (`MuxOptions.schedule`,
    /// watchdog, fan-out targets, pairs); and the kernel's own.
    public static var bytesPerVector: Int {
        MSIXTable.bytesPerVector + MemoryLayout<VectorID>.stride + MemoryLayout<VectorEntry>.stride
            + EventLoop.bytesPerSource + AttachedGuest.bytesPerVector + 1
    }
}
