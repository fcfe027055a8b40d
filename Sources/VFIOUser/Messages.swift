internal import InterruptModel

// The bodies of the messages, one value each: `init?(decoding:)` takes a peer's bytes and is nil when they are too few,
// `encoded` gives ours. Whether the numbers make sense is for whoever uses them to say.

/// DEVICE_GET_INFO, both ways: `argsz, flags, num_regions, num_irqs`.
public struct DeviceInfo: Equatable, Sendable {
    /// The size of the body.
    public static let size = 16
    /// `VFIO_DEVICE_FLAGS_*`: bit 0 the device can be reset, bit 1 it is a PCI device.
    public var flags: UInt32
    /// How many regions it has.
    public var regions: UInt32
    /// How many interrupt indexes it has.
    public var interruptIndexes: UInt32

    /// Makes an answer of its three numbers.
    public init(flags: UInt32 = 0, regions: UInt32 = 0, interruptIndexes: UInt32 = 0) {
        self.flags = flags
        self.regions = regions
        self.interruptIndexes = interruptIndexes
    }

    init?(decoding body: [UInt8]) {
        var reader = WireReader(body)
        guard let argsz = reader.u32(), let flags = reader.u32(), let regions = reader.u32(),
            let indexes = reader.u32(), argsz >= UInt32(Self.size)
        else { return nil }
        self.init(flags: flags, regions: regions, interruptIndexes: indexes)
    }

    var encoded: [UInt8] {
        var bytes: [UInt8] = []
        for word in [UInt32(Self.size), flags, regions, interruptIndexes] { bytes.append(u32: word) }
        return bytes
    }
}

/// GET_IRQ_INFO, both ways: `argsz, flags, index, count`.
struct IRQInfoMessage: Equatable {
    static let size = 16
    var argsz = UInt32(size)
    var flags: UInt32 = 0
    var index: UInt32
    var count: UInt32 = 0

    init(index: UInt32) { self.index = index }

    init(_ info: IRQInfo, index: IRQIndex) {
        self.index = index.rawValue
        count = info.count
        flags = (info.eventfd ? 1 : 0) | (info.maskable ? 2 : 0) | (info.automasked ? 4 : 0) | (info.noResize ? 8 : 0)
    }

    init?(decoding body: [UInt8]) {
        var reader = WireReader(body)
        guard let argsz = reader.u32(), let flags = reader.u32(), let index = reader.u32(), let count = reader.u32()
        else { return nil }
        self.argsz = argsz
        self.flags = flags
        self.index = index
        self.count = count
    }

    var encoded: [UInt8] {
        var bytes: [UInt8] = []
        for word in [argsz, flags, index, count] { bytes.append(u32: word) }
        return bytes
    }

    var info: IRQInfo {
        IRQInfo(
            count: count, eventfd: flags & 1 != 0, maskable: flags & 2 != 0, automasked: flags & 4 != 0,
            noResize: flags & 8 != 0)
    }
}

/// DMA_MAP: `argsz, flags, offset, address, size`; the memory itself comes as a descriptor, or not at all.
public struct DMAMapMessage: Equatable, Sendable {
    /// The size of the body.
    public static let size = 32
    /// Where the mapping begins in the descriptor's file.
    public var fileOffset: UInt64
    /// Where the device sees it.
    public var address: UInt64
    /// How many bytes.
    public var length: UInt64
    /// The device may read it.
    public var readable: Bool
    /// The device may write it.
    public var writable: Bool

    /// Describes memory at `address` as the device sees it.
    public init(
        address: UInt64, length: UInt64, fileOffset: UInt64 = 0, readable: Bool = true, writable: Bool = true
    ) {
        self.address = address
        self.length = length
        self.fileOffset = fileOffset
        self.readable = readable
        self.writable = writable
    }

    init?(decoding body: [UInt8]) {
        var reader = WireReader(body)
        guard let argsz = reader.u32(), let flags = reader.u32(), let offset = reader.u64(),
            let address = reader.u64(), let length = reader.u64(), argsz >= UInt32(Self.size)
        else { return nil }
        self.init(
            address: address, length: length, fileOffset: offset, readable: flags & 1 != 0, writable: flags & 2 != 0)
    }

    var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(u32: UInt32(Self.size))
        bytes.append(u32: (readable ? 1 : 0) | (writable ? 2 : 0))
        for value in [fileOffset, address, length] { bytes.append(u64: value) }
        return bytes
    }
}

/// DMA_UNMAP, both ways: `argsz, flags, address, size`.
struct DMAUnmapMessage: Equatable {
    static let size = 24
    var flags: UInt32 = 0
    var address: UInt64
    var length: UInt64

    init(address: UInt64, length: UInt64) {
        self.address = address
        self.length = length
    }

    init?(decoding body: [UInt8]) {
        var reader = WireReader(body)
        guard let argsz = reader.u32(), let flags = reader.u32(), let address = reader.u64(),
            let length = reader.u64(), argsz >= UInt32(Self.size)
        else { return nil }
        self.flags = flags
        self.address = address
        self.length = length
    }

    var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(u32: UInt32(Self.size))
        bytes.append(u32: flags)
        bytes.append(u64: address)
        bytes.append(u64: length)
        return bytes
    }
}

/// REGION_READ and REGION_WRITE, both ways: `offset, region, count`, and the data where there is any.
struct RegionAccessMessage: Equatable {
    static let size = 16
    var offset: UInt64
    var region: UInt32
    var count: UInt32

    init(region: UInt32, offset: UInt64, count: UInt32) {
        self.region = region
        self.offset = offset
        self.count = count
    }

    init?(decoding body: [UInt8]) {
        var reader = WireReader(body)
        guard let offset = reader.u64(), let region = reader.u32(), let count = reader.u32() else { return nil }
        self.init(region: region, offset: offset, count: count)
    }

    func encoded(data: ArraySlice<UInt8> = []) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.size + data.count)
        bytes.append(u64: offset)
        bytes.append(u32: region)
        bytes.append(u32: count)
        bytes.append(contentsOf: data)
        return bytes
    }
}

/// DMA_READ and DMA_WRITE, both ways: `address, count`, and the data where there is any.
struct DMAAccessMessage: Equatable {
    static let size = 16
    var address: UInt64
    var count: UInt64

    init(address: UInt64, count: UInt64) {
        self.address = address
        self.count = count
    }

    init?(decoding body: [UInt8]) {
        var reader = WireReader(body)
        guard let address = reader.u64(), let count = reader.u64() else { return nil }
        self.init(address: address, count: count)
    }

    func encoded(data: ArraySlice<UInt8> = []) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.size + data.count)
        bytes.append(u64: address)
        bytes.append(u64: count)
        bytes.append(contentsOf: data)
        return bytes
    }
}
