import Exerciser
import InterruptModel

/// Configuration space as a driver reaches it.
extension Exerciser {
    func config(_ offset: UInt64, _ count: Int = 4) throws -> UInt64 {
        try readRegion(7, offset: offset, count: count)
    }

    func config(_ offset: UInt64, _ count: Int = 4, write value: UInt64) throws {
        try writeRegion(7, offset: offset, count: count, value: value)
    }

    /// Sets and clears bits of the command register.
    func command(set: UInt64 = 0, clear: UInt64 = 0) throws {
        try config(0x04, 2, write: try config(0x04, 2) & ~clear | set)
    }

    /// Offset of a capability, found as a driver finds it; `nil` when the chain has none.
    func capability(_ identity: UInt64) throws -> UInt64? {
        guard try config(0x06, 2) & 0x10 != 0 else { return nil }
        var offset = try config(0x34, 1)
        for _ in 0..<48 where offset != 0 {
            if try config(offset, 1) == identity { return offset }
            offset = try config(offset + 1, 1)
        }
        return nil
    }

    /// A word of the MSI-X table or of the pending bits.
    func message(_ offset: UInt64) throws -> UInt64 { try readRegion(4, offset: offset, count: 4) }
    func message(_ offset: UInt64, write value: UInt64) throws {
        try writeRegion(4, offset: offset, count: 4, value: value)
    }
}
