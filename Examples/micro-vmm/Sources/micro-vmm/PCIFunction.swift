// The device as PCI shows it: configuration space by two ports, base addresses, the MSI-X table and its pending bits.
import Exerciser
import IRQMux
import InterruptModel

/// One function on a bus of its own, for the thread of the virtual CPU.
struct PCIFunction {
    /// Device 3 of bus 0, as the address port has it.
    private static let place: UInt32 = 3 << 11
    private static let configuration = ExerciserRegion.configuration.rawValue

    private let device: Exerciser
    private let capability: MSIXCapability
    private var traps: RegionTraps
    private(set) var table: MSIXTable
    private(set) var interrupts: Interrupts
    /// What the guest wrote to port 0xcf8 last.
    private var address: UInt32 = 0

    /// What the device has is read from it, not known: its capabilities, and the size of its regions.
    init(_ device: Exerciser, _ interrupts: Interrupts) throws {
        let found = try PCICapabilities(size: 4096) { (offset) throws(DeviceError) in
            UInt8(truncatingIfNeeded: try device.readRegion(Self.configuration, offset: UInt64(offset), count: 1))
        }
        try found.requireSound()
        guard let msix = found.msix else { throw CapabilityFault(.nobodyAnswers, at: 0) }
        var sizes: [UInt64] = []
        for region in 0..<UInt32(6) { sizes.append(try device.regionInfo(region).size) }
        traps = RegionTraps(sizes: sizes)
        try traps.add(msix)
        capability = msix
        table = MSIXTable(count: msix.vectors)
        self.device = device
        self.interrupts = interrupts
    }

    /// A function has its INTx until MSI-X is switched on.
    mutating func powerUp() { interrupts.use(line: true) }

    // MARK: Ports

    /// Ports 0xcf8 to 0xcff; `nil` when they are not meant, or nobody is at the address.
    mutating func port(_ port: UInt16, width: Int, written: UInt64?) throws(DeviceError) -> UInt64? {
        guard 0xcf8...0xcff ~= port else { return nil }
        if port < 0xcfc {
            if let written, width == 4 { address = UInt32(truncatingIfNeeded: written) }
            return UInt64(address)
        }
        // Bit 31 enables; bus, device and function follow. Nobody else is there, and that reads as ones.
        guard address & 0xffff_ff00 == 0x8000_0000 | Self.place else { return .max }
        let offset = UInt64(address & 0xfc) + UInt64(port & 3)
        guard let written else { return try readConfiguration(offset, width) }
        try writeConfiguration(offset, width, written)
        return 0
    }

    /// Message Control is the table's; everything else is the device's own.
    private func readConfiguration(_ offset: UInt64, _ width: Int) throws(DeviceError) -> UInt64 {
        var value = try device.readRegion(Self.configuration, offset: offset, count: width)
        for index in 0..<width {
            guard let shift = controlBits(offset + UInt64(index)) else { continue }
            let byte = UInt64(table.messageControl >> shift & 0xff)
            value = value & ~(0xff << UInt64(index * 8)) | byte << UInt64(index * 8)
        }
        return value
    }

    private mutating func writeConfiguration(_ offset: UInt64, _ width: Int, _ value: UInt64) throws(DeviceError) {
        var control = table.messageControl
        var isControl = false
        for index in 0..<width {
            guard let shift = controlBits(offset + UInt64(index)) else { continue }
            isControl = true
            control = control & ~(0xff << shift) | UInt16(value >> UInt64(index * 8) & 0xff) << shift
        }
        guard isControl else {
            return try device.writeRegion(Self.configuration, offset: offset, count: width, value: value)
        }
        // A function interrupts in one way at a time: the line goes before MSI-X comes, and comes back after it went.
        if control & 0x8000 != 0 { interrupts.use(line: false) }
        if table.writeMessageControl(control) { table.synchronise(&interrupts) }
        if control & 0x8000 == 0 { interrupts.use(line: true) }
    }

    /// Which byte of Message Control stands at an offset.
    private func controlBits(_ offset: UInt64) -> UInt16? {
        switch offset {
        case UInt64(capability.offset) + 2: 0
        case UInt64(capability.offset) + 3: 8
        default: nil
        }
    }

    // MARK: Memory

    /// Which region an address is in, by the base addresses that the guest has written.
    func decode(_ address: UInt64) throws(DeviceError) -> (region: UInt32, offset: UInt64)? {
        guard try device.readRegion(Self.configuration, offset: 4, count: 2) & 2 != 0 else { return nil }
        for region in 0..<UInt32(6) {
            let size = try device.regionInfo(region).size
            let base = try device.readRegion(Self.configuration, offset: UInt64(0x10 + 4 * region), count: 4) & ~0xf
            if base != 0, address >= base, address - base < size { return (region, address - base) }
        }
        return nil
    }

    mutating func read(_ access: RegionAccess) throws(DeviceError) -> UInt64 {
        // The table counts what is accessed wrongly, so it is written to even by a read.
        var (table, device, interrupts) = (table, device, interrupts)
        defer { self.table = table }
        return try traps.read(access) { (target, part) throws(DeviceError) -> UInt64 in
            switch target {
            case .overlay(.msixTable, let offset): return table.readTable(offset: offset, width: part.width)
            case .overlay(.pendingBits, let offset):
                let kept: UInt64 = interrupts.isPending ? 1 : 0
                return table.readPending(offset: offset, width: part.width, kept: kept)
            default: return try device.readRegion(part.region, offset: part.offset, count: part.width)
            }
        }
    }

    mutating func write(_ access: RegionAccess, _ value: UInt64) throws(DeviceError) {
        var (table, device, hasWork) = (table, device, false)
        _ = try traps.write(access, value: value) { (target, part, bits) throws(DeviceError) in
            switch target {
            case .overlay(.msixTable, let offset):
                hasWork = table.writeTable(offset: offset, width: part.width, bits) || hasWork
            case .overlay: break
            case .device: try device.writeRegion(part.region, offset: part.offset, count: part.width, value: bits)
            }
        }
        self.table = table
        if hasWork { self.table.synchronise(&interrupts) }
    }
}
