internal import CKernel
public import InterruptModel

/// The MSI of a device as its guest sees it: what a VMM calls for each access to the capability that it traps.
///
/// As `GuestMSIX`, with these differences: all vectors that the guest enables are assigned at once, by one SET_IRQS, or
/// as many as the host has; there may be no mask bits; registers are in configuration space.
public struct GuestMSI: ~Copyable {
    /// The registers.
    public internal(set) var registers: MSIRegisters
    var carrier: MessageCarrier

    /// Serves a device's MSI: as after a reset. The device is not touched until the guest enables it.
    ///
    /// - Parameters:
    ///   - layout: What the capability has. Offer per-vector masking also where the device has none: masking is the
    ///     mux's.
    ///   - next: The next capability's offset, as the guest reads it.
    ///   - requester: As for `GuestMSIX`.
    /// - Throws: As `GuestMSIX.init`.
    public init(
        _ device: DeviceID, _ layout: MSIRegisters.Layout, next: UInt8 = 0, requester: UInt32? = nil,
        on mux: borrowing Mux
    ) throws(MuxError) {
        let carrier = try MessageCarrier(device, .msi, requester: requester, on: mux)
        guard layout.vectors <= carrier.count else {
            throw MuxError("serving a guest's messages", errno: EINVAL, remedy: "the device has fewer MSI vectors")
        }
        self.carrier = carrier
        registers = MSIRegisters(layout, next: next)
    }

    /// What it came to so far.
    public var report: GuestMessageReport { carrier.report(registers.statistics) }

    /// The mux's vector that stands for one of the guest's; `nil` while there is none.
    public func vector(_ number: UInt32) -> VectorID? {
        guard number < carrier.count, carrier.places[Int(number)].slot != .max else { return nil }
        return carrier.places[Int(number)]
    }

    /// The guest read the capability, from its first byte. As `MSIRegisters.read`, pending bits exact.
    public mutating func read(offset: Int, width: Int, on mux: inout Mux) -> UInt32 {
        let isKept = registers.layout.isMaskable && offset >= 16 && registers.isEnabled
        let kept = isKept ? UInt32(truncatingIfNeeded: carrier.kept(from: 0, on: &mux)) : 0
        return registers.read(offset: offset, width: width, kept: kept)
    }

    /// The guest wrote the capability. As `MSIRegisters.write`; what it asks for is carried out.
    public mutating func write(offset: Int, width: Int, _ value: UInt32, on mux: inout Mux) {
        if registers.write(offset: offset, width: width, value) { synchronise(on: &mux) }
    }

    /// Asks again for what was refused.
    public mutating func retry(on mux: inout Mux) {
        if registers.retry() { synchronise(on: &mux) }
    }

    /// The function is being reset; as `GuestMSIX.reset`.
    public mutating func reset(on mux: inout Mux) {
        registers.reset()
        synchronise(on: &mux)
    }

    /// The device's own registers were wiped behind VFIO's back; as `GuestMSIX.repair`.
    ///
    /// - Throws: The first refusal of SET_IRQS, after everything else was done.
    public mutating func repair(on mux: inout Mux) throws(MuxError) {
        try carrier.repair(on: &mux)
    }

    mutating func synchronise(on mux: inout Mux) {
        registers.synchronise { carrier.perform($0, on: &mux) }
    }
}
