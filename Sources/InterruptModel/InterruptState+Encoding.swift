// The blob. Little-endian. A header of 32 bytes, then sections in ascending order of kind. Version 2 is version 1 with
// INTx behind the others; a state without INTx is written as version 1, which every program knows.
extension InterruptState {
    /// The numbers of the format.
    enum Format {
        static let magic: [UInt8] = [0x49, 0x52, 0x51, 0x4d, 0x55, 0x58, 0x53, 0x54]  // "IRQMUXST"
        static let version: UInt64 = 1
        static let versionWithLine: UInt64 = 2
        static let headerSize = 32
        static let lengthOffset = 12
        static let checksumOffset = 24
        static let sectionHeaderSize = 8
        static let recordSize = 8 + ledgerSize
        static let ledgerSize = 32 + 8 * DropReason.allCases.count
        static let msiSize = 24

        enum Section: UInt64 {
            case msix = 1
            case msi = 2
            case vectors = 3
            case retired = 4
            case line = 5
        }
    }

    /// The state as a blob: versioned, with its own length and checksum. Allocates.
    public var encoded: [UInt8] {
        var writer = StateWriter()
        writer.bytes = Format.magic
        writer.put(line == nil ? Format.version : Format.versionWithLine, 2)
        writer.put(UInt64(Format.headerSize), 2)
        writer.put(0, Format.headerSize - writer.bytes.count)
        if let msix { writer.section(.msix) { msix.encode(into: &$0) } }
        if let msi { writer.section(.msi) { msi.encode(into: &$0) } }
        writer.section(.vectors) {
            for record in vectors {
                $0.put(UInt64(record.vector.index.rawValue), 1)
                $0.put(UInt64(record.way.rawValue), 1)
                $0.put(record.mayHaveLost ? 1 : 0, 2)
                $0.put(UInt64(record.vector.number), 4)
                $0.put(record.account)
            }
        }
        writer.section(.retired) { $0.put(retired) }
        if let line { writer.section(.line) { line.encode(into: &$0) } }
        writer.set(UInt64(writer.bytes.count), 4, at: Format.lengthOffset)
        writer.set(StateChecksum.of(writer.bytes), 8, at: Format.checksumOffset)
        return writer.bytes
    }
}

/// FNV-1a of 64 bits over everything but the checksum's own eight bytes, which count as zeros. Each step is a
/// bijection, so that no change of one byte goes unseen; it guards against damage, not against forgery, which decoding
/// looks for.
enum StateChecksum {
    static func of(_ bytes: [UInt8]) -> UInt64 {
        let own = InterruptState.Format.checksumOffset..<InterruptState.Format.checksumOffset + 8
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for index in 0..<bytes.count {
            hash = (hash ^ (own.contains(index) ? 0 : UInt64(bytes[index]))) &* 0x100_0000_01b3
        }
        return hash
    }
}

/// Appends numbers, least significant byte first.
struct StateWriter {
    var bytes: [UInt8] = []

    mutating func put(_ value: UInt64, _ count: Int) {
        for place in 0..<count {
            bytes.append(place < 8 ? UInt8(truncatingIfNeeded: value >> UInt64(place * 8)) : 0)
        }
    }

    mutating func set(_ value: UInt64, _ count: Int, at offset: Int) {
        for place in 0..<count { bytes[offset + place] = UInt8(truncatingIfNeeded: value >> UInt64(place * 8)) }
    }

    mutating func put(_ ledger: Ledger) {
        put(ledger.raised, 8)
        put(ledger.delivered, 8)
        put(ledger.coalesced, 8)
        put(ledger.pending, 8)
        for reason in DropReason.allCases { put(ledger.drops[reason], 8) }
    }

    /// A section's kind and length, and what `body` puts into it.
    mutating func section(_ kind: InterruptState.Format.Section, _ body: (inout StateWriter) -> Void) {
        put(kind.rawValue, 4)
        let offset = bytes.count
        put(0, 4)
        body(&self)
        set(UInt64(bytes.count - offset - 4), 4, at: offset)
    }
}

extension MSIXTable {
    func encode(into writer: inout StateWriter) {
        writer.put(UInt64(count), 4)
        writer.put(UInt64(messageControl & (MSIXTable.enableBit | MSIXTable.functionMaskBit)), 4)
        for entry in entries {
            writer.put(entry.address, 8)
            writer.put(UInt64(entry.data), 4)
            writer.put(entry.isMasked ? 1 : 0, 4)
        }
        for word in pending { writer.put(word, 8) }
    }
}

extension MSIRegisters {
    func encode(into writer: inout StateWriter) {
        writer.put(UInt64(messageControl), 2)
        writer.put(UInt64(next), 2)
        writer.put(address, 8)
        writer.put(UInt64(data), 4)
        writer.put(UInt64(maskBits), 4)
        writer.put(UInt64(pendingBits), 4)
    }
}
