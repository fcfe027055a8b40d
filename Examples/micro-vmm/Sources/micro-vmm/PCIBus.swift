// A PCI bus with one function on it: which access is meant for the device, and which of them concern its interrupts.
import Exerciser
import IRQMux
import InterruptModel
import Synchronization

/// What the guest reaches by ports 0xcf8 to 0xcff and by its base addresses. On the virtual CPU's thread, but for the
/// function's interrupts, which are the mux's thread's; the virtual CPU waits for it there: when the guest's write
/// returns, a mask masks.
final class PCIBus: @unchecked Sendable {
    /// Device 3 of bus 0, as the address port has it.
    private static let place: UInt32 = 3 << 11

    private let device: Exerciser
    private let mux: MuxRemote
    /// The mux's thread's.
    private var function: GuestFunction
    private let traps: RegionTraps
    /// What the guest wrote to port 0xcf8 last.
    private let address = Atomic<UInt32>(0)

    /// On the mux's thread.
    init(_ device: Exerciser, _ remote: MuxRemote, _ function: consuming GuestFunction) {
        self.device = device
        mux = remote
        traps = function.traps
        self.function = function
    }

    /// INTx, while the function has it, and the first thing that was refused; on the mux's thread.
    var line: VectorID? { function.line }
    var refusal: MuxError? { function.report.lastError ?? function.lineError }

    /// Ports 0xcf8 to 0xcff; `nil` when they are not meant.
    func port(_ port: UInt16, width: Int, written: UInt64?) throws(MuxError) -> UInt64? {
        guard 0xcf8...0xcff ~= port else { return nil }
        guard port >= 0xcfc else {
            if let written, width == 4 { address.store(UInt32(truncatingIfNeeded: written), ordering: .relaxed) }
            return UInt64(address.load(ordering: .relaxed))
        }
        // Bit 31 enables; bus, device and function follow. Nobody else is there, and that reads as ones.
        let selected = address.load(ordering: .relaxed)
        guard selected & 0xffff_ff00 == 0x8000_0000 | Self.place else { return .max }
        let offset = UInt64(selected & 0xfc) + UInt64(port & 3)
        return try mux.perform { [self] (mux) throws(MuxError) in
            guard let written else { return try function.readConfiguration(offset, width: width, on: &mux) }
            try function.writeConfiguration(offset, width: width, written, on: &mux)
            return 0
        }
    }

    /// Which region an address is in, by the base addresses that the guest has written.
    func decode(_ address: UInt64, width: Int) throws(DeviceError) -> RegionAccess? {
        let space = GuestFunction.configurationRegion
        guard try device.readRegion(space, offset: 4, count: 2) & 2 != 0 else { return nil }
        for region in 0..<UInt32(6) {
            let size = try device.regionInfo(region).size
            let base = try device.readRegion(space, offset: UInt64(0x10 + 4 * region), count: 4) & ~0xf
            guard base != 0, address >= base, address - base < size else { continue }
            return RegionAccess(region: region, offset: address - base, width: width)
        }
        return nil
    }

    func read(_ access: RegionAccess) throws -> UInt64 {
        guard !traps.isPlain(access) else {
            return try device.readRegion(access.region, offset: access.offset, count: access.width)
        }
        return try mux.perform { [self] (mux) throws(MuxError) in
            try function.read(access, on: &mux)
        }
    }

    func write(_ access: RegionAccess, _ value: UInt64) throws {
        guard !traps.isPlain(access) else {
            return try device.writeRegion(access.region, offset: access.offset, count: access.width, value: value)
        }
        try mux.perform { [self] (mux) throws(MuxError) in
            _ = try function.write(access, value, on: &mux)
        }
    }
}
