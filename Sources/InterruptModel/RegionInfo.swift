/// What `VFIO_DEVICE_GET_REGION_INFO` tells of one region, capabilities included.
///
/// Source: `struct vfio_region_info` and its capabilities in `<linux/vfio.h>`.
public struct RegionInfo: Equatable, Sendable {
    /// A part of a region, in bytes from the region's beginning.
    public struct Area: Equatable, Sendable {
        /// Where it begins.
        public var offset: UInt64
        /// How many bytes.
        public var size: UInt64

        /// Names a part.
        public init(offset: UInt64, size: UInt64) {
            self.offset = offset
            self.size = size
        }
    }

    /// The PCI regions as VFIO numbers them: BAR 0 to 5, then these.
    public static let expansionROM: UInt32 = 6
    /// Configuration space.
    public static let configuration: UInt32 = 7
    /// The legacy VGA ranges.
    public static let vga: UInt32 = 8

    /// The region's number.
    public var index: UInt32
    /// How many bytes; 0 when the device lacks the region.
    public var size: UInt64
    /// Where it begins in the device's file.
    public var offset: UInt64
    /// It can be read.
    public var isReadable = false
    /// It can be written.
    public var isWritable = false
    /// It can be mapped, as a whole or in ``mappableAreas``.
    public var isMappable = false
    /// The parts that can be mapped: the whole region, or what the sparse-mmap capability lists. Empty when none can.
    public var mappableAreas: [Area] = []
    /// Mapping the MSI-X table is allowed too (Linux 4.16, where the platform isolates interrupts).
    public var isMSIXMappable = false
    /// Type and subtype of a region beyond the ordinary ones; `nil` for those.
    public var type: (type: UInt32, subtype: UInt32)?
    /// Its capabilities were malformed; what could be read of them counts.
    public var isMalformed = false

    /// Describes a region that nothing is known of but place and size.
    public init(index: UInt32, size: UInt64, offset: UInt64) {
        self.index = index
        self.size = size
        self.offset = offset
    }

    /// Whether both say the same.
    public static func == (left: RegionInfo, right: RegionInfo) -> Bool {
        left.index == right.index && left.size == right.size && left.offset == right.offset
            && left.isReadable == right.isReadable && left.isWritable == right.isWritable
            && left.isMappable == right.isMappable && left.mappableAreas == right.mappableAreas
            && left.isMSIXMappable == right.isMSIXMappable && left.isMalformed == right.isMalformed
            && left.type?.type == right.type?.type && left.type?.subtype == right.type?.subtype
    }

    // MARK: From the structure's bytes

    private static let readFlag: UInt32 = 1
    private static let writeFlag: UInt32 = 2
    private static let mapFlag: UInt32 = 4
    private static let capabilitiesFlag: UInt32 = 8
    /// The fixed part of the structure.
    public static let size = 32

    /// Reads a whole `struct vfio_region_info` with what follows it; `nil` when there are not even 32 bytes.
    ///
    /// A sparse list that is cut short or reaches beyond the region is malformed; the areas that are right count.
    public init?(bytes: [UInt8]) {
        guard bytes.count >= Self.size else { return nil }
        func number(_ place: Int, _ count: Int) -> UInt64 {
            var value: UInt64 = 0
            for offset in 0..<count { value |= UInt64(bytes[place + offset]) << UInt64(8 * offset) }
            return value
        }
        let flags = UInt32(number(4, 4))
        self.init(index: UInt32(number(8, 4)), size: number(16, 8), offset: number(24, 8))
        isReadable = flags & Self.readFlag != 0
        isWritable = flags & Self.writeFlag != 0
        isMappable = flags & Self.mapFlag != 0 && size > 0
        if isMappable { mappableAreas = [Area(offset: 0, size: size)] }
        guard flags & Self.capabilitiesFlag != 0 else { return }
        read(CapabilityChain(bytes, from: UInt32(number(12, 4))))
    }

    private mutating func read(_ chain: CapabilityChain) {
        isMalformed = chain.isMalformed
        for entry in chain.entries {
            switch entry.id {
            case 1: readSparse(chain, entry)
            case 2:
                guard let type = chain.word(entry, 0), let subtype = chain.word(entry, 4) else {
                    isMalformed = true
                    continue
                }
                self.type = (type, subtype)
            case 3: isMSIXMappable = true
            default: break
            }
        }
    }

    private mutating func readSparse(_ chain: CapabilityChain, _ entry: InfoCapability) {
        mappableAreas = []
        guard let count = chain.word(entry, 0) else {
            isMalformed = true
            return
        }
        for number in 0..<Int(count) {
            guard let offset = chain.long(entry, 8 + 16 * number), let size = chain.long(entry, 16 + 16 * number) else {
                isMalformed = true
                return
            }
            guard size > 0 else { continue }
            guard offset <= self.size, size <= self.size - offset else {
                isMalformed = true
                continue
            }
            if isMappable { mappableAreas.append(Area(offset: offset, size: size)) }
        }
    }
}
