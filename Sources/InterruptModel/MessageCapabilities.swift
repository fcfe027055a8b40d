/// The MSI capability as configuration space has it.
///
/// Source: PCI Local Bus 3.0, 6.8.1.
public struct MSICapability: Equatable, Sendable {
    /// The capability's number in the chain.
    public static let id: UInt8 = 0x05

    /// Where it begins, in bytes.
    public let offset: UInt16
    /// Message Control as it was read.
    public let control: UInt16

    /// Describes a capability by its place and its Message Control.
    public init(offset: UInt16, control: UInt16) {
        self.offset = offset
        self.control = control
    }

    /// How many vectors the device can ask for: 1, 2, 4, 8, 16 or 32. The two reserved codes are taken for 32.
    public var vectors: UInt32 { 1 << min(UInt32(control >> 1 & 7), 5) }
    /// How many vectors are enabled, by the Multiple Message Enable field, never more than ``vectors``.
    public var enabledVectors: UInt32 { min(1 << min(UInt32(control >> 4 & 7), 5), vectors) }
    /// MSI Enable.
    public var isEnabled: Bool { control & 1 != 0 }
    /// The address has 64 bits.
    public var is64Bit: Bool { control & 0x80 != 0 }
    /// There are mask and pending bits for each vector.
    public var hasMasks: Bool { control & 0x100 != 0 }
    /// How many bytes the structure has: 10, 14, 20 or 24.
    public var length: Int { (is64Bit ? 14 : 10) + (hasMasks ? 10 : 0) }
    /// Where Message Data is, in bytes of configuration space.
    public var dataOffset: UInt16 { offset + (is64Bit ? 12 : 8) }
    /// Where the mask bits are; `nil` where there are none.
    public var maskOffset: UInt16? { hasMasks ? offset + (is64Bit ? 16 : 12) : nil }
    /// Where the pending bits are; `nil` where there are none.
    public var pendingOffset: UInt16? { maskOffset.map { $0 + 4 } }

    init?<Failure: Error>(
        at offset: Int, _ size: Int, _ fault: inout CapabilityFault?, _ byte: (Int) throws(Failure) -> UInt8
    ) throws(Failure) {
        guard PCIChain.fits(offset, 4, size, &fault) else { return nil }
        self.init(offset: UInt16(offset), control: try PCIChain.word(offset + 2, byte))
        guard PCIChain.fits(offset, length, size, &fault) else { return nil }
        if control >> 1 & 7 > 5 { fault = CapabilityFault(.reservedValue, at: self.offset + 2) }
    }
}

/// The MSI-X capability as configuration space has it.
///
/// Source: PCI Local Bus 3.0, 6.8.2.
public struct MSIXCapability: Equatable, Sendable {
    /// The capability's number in the chain.
    public static let id: UInt8 = 0x11
    /// How many bytes the structure has.
    public static let length = 12
    /// How many bytes a table entry has.
    public static let entryLength: UInt32 = 16

    /// Bytes of a BAR.
    public struct Place: Equatable, Sendable {
        /// The base address register, 0 to 5.
        public let bar: UInt8
        /// Where in the BAR they begin; a multiple of 8.
        public let offset: UInt32

        /// Names a place by its BAR and offset.
        public init(bar: UInt8, offset: UInt32) {
            self.bar = bar
            self.offset = offset
        }
    }

    /// Where it begins, in bytes.
    public let offset: UInt16
    /// Message Control as it was read.
    public let control: UInt16
    /// Where the table is.
    public let table: Place
    /// Where the pending bits are.
    public let pending: Place

    /// Describes a capability by its fields.
    public init(offset: UInt16, control: UInt16, table: Place, pending: Place) {
        self.offset = offset
        self.control = control
        self.table = table
        self.pending = pending
    }

    /// Entries of the table, 1 to 2048.
    public var vectors: UInt32 { UInt32(control & 0x7FF) + 1 }
    /// MSI-X Enable.
    public var isEnabled: Bool { control & 0x8000 != 0 }
    /// The Function Mask: every vector is masked, whatever its own bit says.
    public var isFunctionMasked: Bool { control & 0x4000 != 0 }
    /// How many bytes the table has.
    public var tableLength: UInt32 { vectors * Self.entryLength }
    /// How many bytes the pending bits have: whole groups of 64 bits.
    public var pendingLength: UInt32 { (vectors + 63) / 64 * 8 }

    /// Whether table and pending bits lie within BARs of these sizes, in bytes; 0 for a BAR that is not there.
    public func fits(barSize: (_ bar: UInt8) -> UInt64) -> Bool {
        UInt64(table.offset) + UInt64(tableLength) <= barSize(table.bar)
            && UInt64(pending.offset) + UInt64(pendingLength) <= barSize(pending.bar)
    }

    private var overlaps: Bool {
        guard table.bar == pending.bar else { return false }
        return UInt64(table.offset) < UInt64(pending.offset) + UInt64(pendingLength)
            && UInt64(pending.offset) < UInt64(table.offset) + UInt64(tableLength)
    }

    init?<Failure: Error>(
        at offset: Int, _ size: Int, _ fault: inout CapabilityFault?, _ byte: (Int) throws(Failure) -> UInt8
    ) throws(Failure) {
        guard PCIChain.fits(offset, Self.length, size, &fault) else { return nil }
        let table = try PCIChain.long(offset + 4, byte)
        let pending = try PCIChain.long(offset + 8, byte)
        self.init(
            offset: UInt16(offset), control: try PCIChain.word(offset + 2, byte),
            table: Place(bar: UInt8(table & 7), offset: table & ~7),
            pending: Place(bar: UInt8(pending & 7), offset: pending & ~7))
        guard self.table.bar <= 5, self.pending.bar <= 5 else {
            fault = CapabilityFault(.reservedValue, at: self.offset + (self.table.bar > 5 ? 4 : 8))
            return nil
        }
        guard !overlaps else {
            fault = CapabilityFault(.overlap, at: self.offset)
            return nil
        }
    }
}
