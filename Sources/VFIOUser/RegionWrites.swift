/// A write of a register: one of several that go with one message.
public struct RegionWrite: Equatable, Sendable {
    /// The region.
    public var region: UInt32
    /// Where in it, in bytes.
    public var offset: UInt64
    /// The bytes, eight at most.
    public var bytes: [UInt8]

    /// Describes a write.
    public init(region: UInt32, offset: UInt64, _ bytes: [UInt8]) {
        self.region = region
        self.offset = offset
        self.bytes = bytes
    }

    var access: RegionAccessMessage {
        RegionAccessMessage(region: region, offset: offset, count: UInt32(bytes.count))
    }
}

/// REGION_WRITE_MULTI: a count, and that many writes of at most eight bytes.
struct RegionWriteMultiMessage: Equatable {
    static let size = 8
    static let writeSize = 24
    /// As many as QEMU sends at most fit in a page.
    static let most = 4096

    var writes: [RegionWrite]

    init(_ writes: [RegionWrite]) { self.writes = writes }

    init?(decoding body: [UInt8]) {
        var reader = WireReader(body)
        guard let count = reader.u64(), count <= UInt64(Self.most),
            reader.remaining == Int(count) * Self.writeSize
        else { return nil }
        writes = []
        for _ in 0..<count {
            guard let offset = reader.u64(), let region = reader.u32(), let length = reader.u32(),
                let value = reader.u64(), length <= 8
            else { return nil }
            var data: [UInt8] = []
            data.append(u64: value)
            writes.append(RegionWrite(region: region, offset: offset, Array(data.prefix(Int(length)))))
        }
    }

    var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.size + writes.count * Self.writeSize)
        bytes.append(u64: UInt64(writes.count))
        for write in writes {
            bytes.append(contentsOf: write.access.encoded(data: write.bytes[...]))
            bytes.append(contentsOf: [UInt8](repeating: 0, count: 8 - write.bytes.count))
        }
        return bytes
    }
}
