/// One entry of the chain of capabilities behind a VFIO info structure.
///
/// Source: `struct vfio_info_cap_header` in `<linux/vfio.h>`.
public struct InfoCapability: Equatable, Sendable {
    /// What it is about; numbered apart for devices, regions and IOMMUs.
    public var id: UInt16
    /// The version of its layout.
    public var version: UInt16
    /// Where its own bytes begin, after the header of 8.
    public var body: Int
}

/// The capabilities behind an info structure, read with nothing trusted: every offset is checked against the bytes that
/// are there, and a chain that leads back into itself ends.
///
/// Entries whose id nobody asks for are passed over, so that a newer kernel's additions do no harm.
public struct CapabilityChain: Equatable, Sendable {
    /// The bytes of a header: id, version, offset of the next one.
    public static let headerSize = 8

    /// The entries in the chain's order.
    public private(set) var entries: [InfoCapability] = []
    /// The chain left the structure, or went round in a circle; `entries` has what came before.
    public private(set) var isMalformed = false
    private let bytes: [UInt8]

    /// Reads the chain of `bytes`, a whole info structure, that begins at `offset`; 0 is an empty one.
    public init(_ bytes: [UInt8], from offset: UInt32) {
        self.bytes = bytes
        var next = UInt64(offset)
        // As many headers as fit without overlapping; more means a circle.
        var room = bytes.count / Self.headerSize
        while next != 0 {
            guard next % 4 == 0, next + UInt64(Self.headerSize) <= UInt64(bytes.count), room > 0 else {
                isMalformed = true
                return
            }
            let place = Int(next)
            entries.append(
                InfoCapability(id: half(place), version: half(place + 2), body: place + Self.headerSize))
            next = UInt64(word(place + 4) ?? 0)
            room -= 1
        }
    }

    /// The first entry with this id; `nil` when there is none.
    public func first(_ id: UInt16) -> InfoCapability? {
        for entry in entries where entry.id == id { return entry }
        return nil
    }

    /// The 32-bit word `offset` bytes into the entry's body; `nil` beyond the structure's end.
    public func word(_ entry: InfoCapability, _ offset: Int) -> UInt32? { word(entry.body + offset) }

    /// The 64-bit word `offset` bytes into the entry's body; `nil` beyond the structure's end.
    public func long(_ entry: InfoCapability, _ offset: Int) -> UInt64? {
        guard let low = word(entry, offset), let high = word(entry, offset + 4) else { return nil }
        return UInt64(high) << 32 | UInt64(low)
    }

    private func half(_ place: Int) -> UInt16 { UInt16(bytes[place]) | UInt16(bytes[place + 1]) << 8 }

    private func word(_ place: Int) -> UInt32? {
        guard place >= 0, place <= bytes.count - 4 else { return nil }
        return UInt32(half(place)) | UInt32(half(place + 2)) << 16
    }
}
