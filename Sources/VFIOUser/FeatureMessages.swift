/// What a client asks of a feature of the device: `VFIO_DEVICE_FEATURE` over a socket.
///
/// Source: QEMU docs/interop/vfio-user.rst, "VFIO_USER_DEVICE_FEATURE"; linux/vfio.h, `struct vfio_device_feature`.
public struct FeatureRequest: Equatable, Sendable {
    /// What is asked.
    public enum Action: Equatable, Sendable {
        /// Tell the feature's data. Some features are asked with data of their own, as the range of a dirty bitmap.
        case get([UInt8])
        /// Take the feature's data.
        case set([UInt8])
        /// Say whether the feature is there, and can be read and written as asked.
        case probe(readable: Bool, writable: Bool)
    }

    /// The feature's number: 1 is `VFIO_DEVICE_FEATURE_MIGRATION`, 2 `VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE`, 6 to 8 the
    /// log of DMA writes.
    public var feature: UInt16
    /// What is asked of it.
    public var action: Action

    /// Makes a request.
    public init(_ feature: UInt16, _ action: Action) {
        self.feature = feature
        self.action = action
    }
}

/// DEVICE_FEATURE, both ways: `argsz, flags`, and the feature's own data.
struct FeatureMessage: Equatable {
    static let size = 8
    private static let get: UInt32 = 1 << 16
    private static let set: UInt32 = 1 << 17
    private static let probe: UInt32 = 1 << 18

    /// Of a request the largest body that its sender takes in return; of a reply what the whole of it needs.
    var argsz: UInt32
    /// The feature's number in bits 0 to 15, what is asked above.
    var flags: UInt32
    var data: [UInt8]

    init(argsz: UInt32, flags: UInt32, data: [UInt8] = []) {
        self.argsz = argsz
        self.flags = flags
        self.data = data
    }

    /// A request that takes `room` bytes of data in return.
    init(_ request: FeatureRequest, room: Int = 0) {
        let feature = UInt32(request.feature)
        let size = UInt32(Self.size)
        switch request.action {
        case .get(let data):
            self.init(argsz: size + UInt32(max(room, data.count)), flags: feature | Self.get, data: data)
        case .set(let data): self.init(argsz: size + UInt32(data.count), flags: feature | Self.set, data: data)
        case .probe(let readable, let writable):
            let both = (readable ? Self.get : 0) | (writable ? Self.set : 0)
            self.init(argsz: size, flags: feature | Self.probe | both)
        }
    }

    init?(decoding body: [UInt8]) {
        var reader = WireReader(body)
        guard let argsz = reader.u32(), let flags = reader.u32(), argsz >= UInt32(Self.size) else { return nil }
        self.init(argsz: argsz, flags: flags, data: Array(reader.rest))
    }

    /// What a request asks; `nil` for flags that nobody knows, none at all, and reading and writing at once, as Linux
    /// refuses them.
    var request: FeatureRequest? {
        guard flags & ~(0xffff | Self.get | Self.set | Self.probe) == 0 else { return nil }
        let feature = UInt16(truncatingIfNeeded: flags)
        let (reads, writes) = (flags & Self.get != 0, flags & Self.set != 0)
        if flags & Self.probe != 0 { return FeatureRequest(feature, .probe(readable: reads, writable: writes)) }
        guard reads != writes else { return nil }
        return FeatureRequest(feature, reads ? .get(data) : .set(data))
    }

    var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.size + data.count)
        bytes.append(u32: argsz)
        bytes.append(u32: flags)
        bytes.append(contentsOf: data)
        return bytes
    }
}

/// MIG_DATA_READ and MIG_DATA_WRITE: `argsz, size`, and a piece of the device's state where there is one.
struct MigrationDataMessage: Equatable {
    static let size = 8

    var argsz: UInt32
    /// Of a request to read how many bytes are wanted, else how many there are.
    var count: UInt32
    var data: [UInt8] = []

    /// Asks for at most `count` bytes.
    init(reading count: UInt32) {
        argsz = UInt32(Self.size) + count
        self.count = count
    }

    /// Carries `data`.
    init(carrying data: [UInt8]) {
        argsz = UInt32(Self.size + data.count)
        count = UInt32(data.count)
        self.data = data
    }

    /// Reads a request for data.
    init?(request body: [UInt8]) {
        self.init(fixedPart: body)
        guard data.isEmpty, count <= argsz - UInt32(Self.size) else { return nil }
    }

    /// Reads a message that carries data, which must be as much as it says.
    init?(carrier body: [UInt8]) {
        self.init(fixedPart: body)
        guard data.count == Int(count) else { return nil }
    }

    private init?(fixedPart body: [UInt8]) {
        var reader = WireReader(body)
        guard let argsz = reader.u32(), let count = reader.u32(), argsz >= UInt32(Self.size) else { return nil }
        self.argsz = argsz
        self.count = count
        data = Array(reader.rest)
    }

    var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.size + data.count)
        bytes.append(u32: argsz)
        bytes.append(u32: count)
        bytes.append(contentsOf: data)
        return bytes
    }
}
