/// What GET_REGION_INFO tells of a region.
public struct RegionLayout: Equatable, Sendable {
    /// A part of a region that can be mapped into memory.
    public struct Area: Equatable, Sendable {
        /// Where it begins in the region.
        public var offset: UInt64
        /// How many bytes.
        public var length: UInt64

        /// Makes an area of its two numbers.
        public init(offset: UInt64, length: UInt64) {
            self.offset = offset
            self.length = length
        }
    }

    /// Bytes of the region; 0 when the device lacks it.
    public var size: UInt64 = 0
    /// It can be read.
    public var readable = false
    /// It can be written.
    public var writable = false
    /// Where the region begins in the descriptor that came along, if one did.
    public var fileOffset: UInt64 = 0
    /// The parts that can be mapped; empty when none can, or when all of it can.
    public var areas: [Area] = []
    /// All of it, or `areas` of it, can be mapped.
    public var mappable = false

    /// A region that the device lacks.
    public init() {}
}

/// GET_REGION_INFO, both ways: a fixed part of 32 bytes, and capabilities behind it.
struct RegionInfoMessage: Equatable {
    static let size = 32
    /// The identity of the capability that lists what can be mapped: `VFIO_REGION_INFO_CAP_SPARSE_MMAP`.
    static let sparseMap: UInt16 = 1
    /// More areas than that are a lie.
    static let mostAreas = 4096

    var argsz: UInt32
    var index: UInt32
    var info: RegionLayout

    init(index: UInt32, argsz: UInt32, info: RegionLayout = RegionLayout()) {
        self.index = index
        self.argsz = argsz
        self.info = info
    }

    /// Reads the fixed part of a request.
    init?(request body: [UInt8]) {
        var reader = WireReader(body)
        guard let argsz = reader.u32(), reader.u32() != nil, let index = reader.u32() else { return nil }
        // The request's body has its own size; argsz is what the client takes in return.
        guard body.count >= Self.size else { return nil }
        self.init(index: index, argsz: argsz)
    }

    /// Reads a reply. `nil` when it contradicts itself: a chain that leaves the body, points backwards or into itself,
    /// or areas beyond the region.
    init?(reply body: [UInt8]) {
        var reader = WireReader(body)
        guard let argsz = reader.u32(), let flags = reader.u32(), let index = reader.u32(),
            let chain = reader.u32(), let size = reader.u64(), let offset = reader.u64(), argsz >= UInt32(Self.size)
        else { return nil }
        var info = RegionLayout()
        info.size = size
        info.fileOffset = offset
        info.readable = flags & 1 != 0
        info.writable = flags & 2 != 0
        info.mappable = flags & 4 != 0
        // Without room for them no capabilities follow, whatever the flag says (digest 2.8, 8).
        if flags & 8 != 0, chain != 0, Int(argsz) > Self.size, body.count >= Int(argsz) {
            guard let areas = Self.areas(body, from: chain, size: size) else { return nil }
            info.areas = areas
        }
        self.init(index: index, argsz: argsz, info: info)
    }

    private static func areas(_ body: [UInt8], from first: UInt32, size: UInt64) -> [RegionLayout.Area]? {
        var areas: [RegionLayout.Area] = []
        var place = Int(first)
        // A chain only goes forward, so it ends.
        var last = Self.size - 1
        while place != 0 {
            guard place > last, place + 8 <= body.count else { return nil }
            var reader = WireReader(body[place...])
            guard let id = reader.u16(), reader.u16() != nil, let next = reader.u32() else { return nil }
            if id == sparseMap {
                guard let count = reader.u32(), reader.u32() != nil, count <= UInt32(mostAreas) else { return nil }
                for _ in 0..<count {
                    guard let offset = reader.u64(), let length = reader.u64(), offset <= size,
                        length <= size - offset
                    else { return nil }
                    areas.append(RegionLayout.Area(offset: offset, length: length))
                }
            }
            last = place
            place = Int(next)
        }
        return areas
    }

    /// How long the whole reply is.
    static func replySize(_ info: RegionLayout) -> Int {
        info.areas.isEmpty ? size : size + 16 + info.areas.count * 16
    }

    /// The reply to a request that takes `room` bytes: all of it, or the fixed part with the size that is needed.
    static func reply(_ info: RegionLayout, index: UInt32, room: UInt32) -> [UInt8] {
        let needed = replySize(info)
        let fits = room >= UInt32(needed)
        let hasAreas = fits && !info.areas.isEmpty
        var bytes: [UInt8] = []
        bytes.append(u32: UInt32(needed))
        bytes.append(
            u32: (info.readable ? 1 : 0) | (info.writable ? 2 : 0) | (info.mappable ? 4 : 0)
                | (info.areas.isEmpty ? 0 : 8))
        bytes.append(u32: index)
        bytes.append(u32: hasAreas ? UInt32(size) : 0)
        bytes.append(u64: info.size)
        bytes.append(u64: info.fileOffset)
        guard hasAreas else { return bytes }
        bytes.append(u16: sparseMap)
        bytes.append(u16: 1)
        bytes.append(u32: 0)
        bytes.append(u32: UInt32(info.areas.count))
        bytes.append(u32: 0)
        for area in info.areas {
            bytes.append(u64: area.offset)
            bytes.append(u64: area.length)
        }
        return bytes
    }

    /// A request that takes `argsz` bytes.
    var encodedRequest: [UInt8] {
        var bytes: [UInt8] = []
        for word in [argsz, 0, index, 0] { bytes.append(u32: word) }
        bytes.append(u64: 0)
        bytes.append(u64: 0)
        return bytes
    }
}

/// One doorbell of a region, that a VMM can hand to KVM.
///
/// Source: QEMU docs/interop/vfio-user.rst, "GET_REGION_IO_FDS".
public struct RegionIOFD: Equatable, Sendable {
    /// What a doorbell does.
    public enum Kind: UInt32, Sendable {
        /// A write signals an eventfd (KVM_IOEVENTFD).
        case ioeventfd = 0
        /// An access goes over a socket (ioregionfd, which no kernel has).
        case ioregionfd = 1
        /// As the first, and the value is stored as well (libvfio-user).
        case shadowed = 2
    }

    /// Where in the region.
    public var offset: UInt64
    /// How wide the access is; 0 for any.
    public var size: UInt64
    /// Which of the descriptors that came along; `nil` for none.
    public var fdIndex: UInt32?
    /// What it does.
    public var kind: Kind
    /// KVM's flags (`KVM_IOEVENTFD_FLAG_*`).
    public var flags: UInt32
    /// The value that is matched, where the flags say so.
    public var dataMatch: UInt64

    /// Makes an entry.
    public init(
        offset: UInt64, size: UInt64, fdIndex: UInt32?, kind: Kind = .ioeventfd, flags: UInt32 = 0,
        dataMatch: UInt64 = 0
    ) {
        self.offset = offset
        self.size = size
        self.fdIndex = fdIndex
        self.kind = kind
        self.flags = flags
        self.dataMatch = dataMatch
    }
}

/// GET_REGION_IO_FDS, both ways: `argsz, flags, index, count`, and entries of 40 bytes, or of 48 from libvfio-user.
struct RegionIOFDsMessage: Equatable {
    static let size = 16
    static let entrySize = 40
    static let longEntrySize = 48
    static let most = 4096
    static let noFD = UInt32.max

    var argsz: UInt32
    var index: UInt32
    var entries: [RegionIOFD] = []
    /// How many entries the peer has, which is more than came when there was too little room.
    var count: UInt32 = 0

    init(index: UInt32, argsz: UInt32) {
        self.index = index
        self.argsz = argsz
    }

    init?(request body: [UInt8]) {
        var reader = WireReader(body)
        guard let argsz = reader.u32(), let flags = reader.u32(), let index = reader.u32(),
            let count = reader.u32(), flags == 0, count == 0
        else { return nil }
        self.init(index: index, argsz: argsz)
    }

    /// Reads a reply with `fds` descriptors beside it; `nil` for an entry size that nobody uses, and for an entry that
    /// names a descriptor which did not come.
    init?(reply body: [UInt8], fds: Int) {
        var reader = WireReader(body)
        guard let argsz = reader.u32(), reader.u32() != nil, let index = reader.u32(), let count = reader.u32(),
            argsz >= UInt32(Self.size), count <= UInt32(Self.most)
        else { return nil }
        self.init(index: index, argsz: argsz)
        self.count = count
        // The fixed part alone: it says how much room the entries need.
        guard count > 0, body.count >= Int(argsz) else { return }
        let payload = Int(argsz) - Self.size
        guard payload % Int(count) == 0 else { return nil }
        let stride = payload / Int(count)
        guard stride == Self.entrySize || stride == Self.longEntrySize else { return nil }
        for number in 0..<Int(count) {
            var entry = WireReader(body[(Self.size + number * stride)...])
            guard let offset = entry.u64(), let size = entry.u64(), let place = entry.u32(), let kind = entry.u32(),
                let flags = entry.u32(), entry.u32() != nil
            else { return nil }
            // libvfio-user's shadow offset stands before the value.
            if stride == Self.longEntrySize { _ = entry.u64() }
            guard let data = entry.u64(), place == Self.noFD || Int(place) < fds else { return nil }
            // A kind that is not known is passed over: the others still work.
            guard let known = RegionIOFD.Kind(rawValue: kind) else { continue }
            entries.append(
                RegionIOFD(
                    offset: offset, size: size, fdIndex: place == Self.noFD ? nil : place, kind: known, flags: flags,
                    dataMatch: data))
        }
    }

    var encodedRequest: [UInt8] {
        var bytes: [UInt8] = []
        for word in [argsz, 0, index, 0] { bytes.append(u32: word) }
        return bytes
    }

    /// The reply to a request that takes `room` bytes: all of it, or the fixed part with the size that is needed.
    static func reply(_ entries: [RegionIOFD], index: UInt32, room: UInt32) -> [UInt8] {
        let needed = size + entries.count * entrySize
        var bytes: [UInt8] = []
        for word in [UInt32(needed), 0, index, UInt32(entries.count)] { bytes.append(u32: word) }
        guard room >= UInt32(needed) else { return bytes }
        for entry in entries {
            bytes.append(u64: entry.offset)
            bytes.append(u64: entry.size)
            for word in [entry.fdIndex ?? noFD, entry.kind.rawValue, entry.flags, 0] { bytes.append(u32: word) }
            bytes.append(u64: entry.dataMatch)
        }
        return bytes
    }
}
