/// What one side of a connection can take, as the JSON of VERSION says it.
///
/// Every key is optional, and a key that is not known is skipped. Source: QEMU docs/interop/vfio-user.rst, "VERSION".
public struct Capabilities: Equatable, Sendable {
    /// The most descriptors that the sender of this can receive with one message; 1 unless told otherwise.
    public var maxMessageFDs: UInt32 = 1
    /// The most data bytes of one region or DMA access; 1 MiB unless told otherwise.
    public var maxDataTransfer: UInt64 = 1 << 20
    /// The most DMA mappings at a time.
    public var maxDMAMaps: UInt64 = 65535
    /// The page sizes that DMA mappings may have, one bit each.
    public var pageSizes: UInt64 = 4096
    /// REGION_WRITE_MULTI is understood.
    public var writesMultiple = false
    /// Commands of the server may go over a socket of their own.
    public var twinSocket = false
    /// Which of the reply's descriptors is that socket; `nil` where none was sent.
    public var twinSocketIndex: UInt32?

    /// What a side that says nothing can take.
    public init() {}

    /// Reads the capabilities out of the JSON of a VERSION message; `nil` when it is no JSON, or a known key has a
    /// value that cannot be meant.
    public init?(json: ArraySlice<UInt8>) {
        self.init()
        guard let value = JSONValue(parsing: json), case .object(let members) = value else { return nil }
        guard let stated = members["capabilities"] else { return }
        guard case .object(let capabilities) = stated else { return nil }
        for (key, value) in capabilities where !take(key, value) { return nil }
    }

    private mutating func take(_ key: String, _ value: JSONValue) -> Bool {
        switch key {
        case "max_msg_fds":
            guard let number = value.number, let limit = UInt32(exactly: number) else { return false }
            maxMessageFDs = limit
        case "max_data_xfer_size":
            guard let number = value.number, number > 0 else { return false }
            maxDataTransfer = number
        case "max_dma_maps":
            guard let number = value.number else { return false }
            maxDMAMaps = number
        case "pgsizes":
            guard let number = value.number else { return false }
            pageSizes = number
        case "write_multiple":
            guard case .boolean(let flag) = value else { return false }
            writesMultiple = flag
        case "twin_socket": return takeTwinSocket(value)
        default: break
        }
        return true
    }

    private mutating func takeTwinSocket(_ value: JSONValue) -> Bool {
        guard case .object(let members) = value else { return false }
        if let supported = members["supported"] {
            guard case .boolean(let flag) = supported else { return false }
            twinSocket = flag
        }
        if let index = members["fd_index"] {
            guard let number = index.number, let place = UInt32(exactly: number) else { return false }
            twinSocketIndex = place
        }
        return true
    }

    /// The JSON that says this, without the closing zero byte.
    public var json: String {
        var text = #"{"capabilities":{"max_msg_fds":\#(maxMessageFDs),"max_data_xfer_size":\#(maxDataTransfer),"#
        text += #""max_dma_maps":\#(maxDMAMaps),"pgsizes":\#(pageSizes),"write_multiple":\#(writesMultiple)"#
        if twinSocket {
            let index = twinSocketIndex.map { #","fd_index":\#($0)"# } ?? ""
            text += #","twin_socket":{"supported":true\#(index)}"#
        }
        return text + "}}"
    }
}

/// The body of a VERSION message: the protocol's version, and what its sender can take.
public struct VersionMessage: Equatable, Sendable {
    /// The version irqmux speaks.
    public static let spoken: (major: UInt16, minor: UInt16) = (0, 2)

    /// Both sides must have the same.
    public var major: UInt16
    /// The reply's is not above the proposal's.
    public var minor: UInt16
    /// What the sender can take.
    public var capabilities: Capabilities

    /// Makes a message of its parts.
    public init(major: UInt16 = spoken.major, minor: UInt16 = spoken.minor, capabilities: Capabilities) {
        self.major = major
        self.minor = minor
        self.capabilities = capabilities
    }

    /// Reads a body; `nil` when it is too short, or carries text that is no capabilities. No text at all is all
    /// defaults.
    public init?(decoding body: [UInt8]) {
        var reader = WireReader(body)
        guard let major = reader.u16(), let minor = reader.u16() else { return nil }
        var text = reader.rest
        // The text ends with a zero byte; one that is missing is forgiven.
        if let end = text.firstIndex(of: 0) { text = text[..<end] }
        if text.isEmpty {
            self.init(major: major, minor: minor, capabilities: Capabilities())
        } else {
            guard let capabilities = Capabilities(json: text) else { return nil }
            self.init(major: major, minor: minor, capabilities: capabilities)
        }
    }

    /// The body's bytes.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(u16: major)
        bytes.append(u16: minor)
        bytes.append(contentsOf: capabilities.json.utf8)
        bytes.append(0)
        return bytes
    }
}
