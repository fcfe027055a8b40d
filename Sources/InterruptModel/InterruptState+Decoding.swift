// Decoding looks at everything before it gives anything, and says the first thing that is wrong.
extension InterruptState {
    /// Decodes a blob of `encoded`.
    ///
    /// - Throws: The first reason to refuse it, and where; then nothing came of it.
    public init(decoding bytes: [UInt8]) throws(StateError) {
        var reader = try StateReader(checking: bytes)
        self.init(msix: nil, msi: nil)
        var last: UInt64 = 0
        while reader.offset < bytes.count {
            let start = reader.offset
            let kind = try reader.take(4)
            guard kind > last, kind <= reader.lastSection.rawValue, let section = Format.Section(rawValue: kind) else {
                throw StateError(.unexpectedSection, at: start)
            }
            // From the records on all sections are there, also empty ones.
            guard kind <= Format.Section.vectors.rawValue || last == kind - 1 else {
                throw StateError(.unexpectedSection, at: start)
            }
            last = kind
            let length = Int(try reader.take(4))
            guard length <= bytes.count - reader.offset else { throw StateError(.wrongSectionLength, at: start + 4) }
            reader.limit = reader.offset + length
            switch section {
            case .msix: msix = try MSIXTable(decoding: &reader)
            case .msi: msi = try MSIRegisters(decoding: &reader)
            case .vectors: vectors = try decodeVectors(&reader)
            case .retired: retired = try reader.takeLedger()
            case .line: line = try Line(decoding: &reader)
            }
            guard reader.offset == reader.limit else { throw StateError(.wrongSectionLength, at: start + 4) }
            reader.limit = bytes.count
        }
        guard last == reader.lastSection.rawValue else { throw StateError(.truncated, at: bytes.count) }
    }

    /// The records: of vectors that the registers before them have, in ascending order.
    private func decodeVectors(_ reader: inout StateReader) throws(StateError) -> [VectorRecord] {
        var records: [VectorRecord] = []
        var last: Vector?
        while reader.offset < reader.limit {
            let start = reader.offset
            let index = IRQIndex(rawValue: UInt32(try reader.take(1)))
            guard let way = Way(rawValue: UInt8(truncatingIfNeeded: try reader.take(1))) else {
                throw StateError(.reservedBits, at: start + 1)
            }
            let flags = try reader.take(2)
            guard flags < 2 else { throw StateError(.reservedBits, at: start + 2) }
            let number = UInt32(truncatingIfNeeded: try reader.take(4))
            let count: UInt32
            switch index {
            case .msi: count = msi?.layout.vectors ?? 0
            case .msix: count = msix?.count ?? 0
            case .intx, .err, .req, nil: count = 0
            }
            guard let index, number < count else { throw StateError(.badVector, at: start) }
            if let last, last.index.rawValue > index.rawValue || last.index == index && last.number >= number {
                throw StateError(.badVector, at: start)
            }
            let vector = Vector(index, number)
            last = vector
            let account = try reader.takeLedger()
            records.append(VectorRecord(vector, way: way, mayHaveLost: flags == 1, account: account))
        }
        return records
    }
}

/// Takes numbers out of a blob, least significant byte first, never beyond its limit.
struct StateReader {
    private let bytes: [UInt8]
    private(set) var offset = 0
    var limit: Int
    /// The section that this version ends with.
    private(set) var lastSection = InterruptState.Format.Section.retired

    /// Header, length and checksum, in the order in which what is wrong says most.
    init(checking bytes: [UInt8]) throws(StateError) {
        self.bytes = bytes
        limit = bytes.count
        let magic = InterruptState.Format.magic
        for index in 0..<min(magic.count, bytes.count) where bytes[index] != magic[index] {
            throw StateError(.notAState, at: index)
        }
        guard bytes.count >= InterruptState.Format.headerSize else { throw StateError(.truncated, at: bytes.count) }
        offset = magic.count
        switch try take(2) {
        case InterruptState.Format.version: lastSection = .retired
        case InterruptState.Format.versionWithLine: lastSection = .line
        default: throw StateError(.unknownVersion, at: magic.count)
        }
        guard try take(2) == UInt64(InterruptState.Format.headerSize) else {
            throw StateError(.reservedBits, at: magic.count + 2)
        }
        guard try take(4) == UInt64(bytes.count) else {
            throw StateError(.wrongLength, at: InterruptState.Format.lengthOffset)
        }
        guard try take(8) == 0 else { throw StateError(.reservedBits, at: InterruptState.Format.lengthOffset + 4) }
        guard try take(8) == StateChecksum.of(bytes) else {
            throw StateError(.damaged, at: InterruptState.Format.checksumOffset)
        }
    }

    mutating func take(_ count: Int) throws(StateError) -> UInt64 {
        guard count <= limit - offset else {
            throw StateError(limit < bytes.count ? .wrongSectionLength : .truncated, at: offset)
        }
        var value: UInt64 = 0
        for place in 0..<count { value |= UInt64(bytes[offset + place]) << UInt64(place * 8) }
        offset += count
        return value
    }

    mutating func takeLedger() throws(StateError) -> Ledger {
        var ledger = Ledger()
        ledger.raised = try take(8)
        ledger.delivered = try take(8)
        ledger.coalesced = try take(8)
        ledger.pending = try take(8)
        for reason in DropReason.allCases { ledger.drops[reason] = try take(8) }
        return ledger
    }
}

extension MSIXTable {
    init(decoding reader: inout StateReader) throws(StateError) {
        let start = reader.offset
        let count = try reader.take(4)
        guard 1...UInt64(MSIXTable.mostVectors) ~= count else { throw StateError(.badCount, at: start) }
        let control = try reader.take(4)
        guard control & ~UInt64(MSIXTable.enableBit | MSIXTable.functionMaskBit) == 0 else {
            throw StateError(.reservedBits, at: start + 4)
        }
        self.init(count: UInt32(count))
        for index in 0..<entries.count {
            let address = reader.offset
            let message = try reader.take(8)
            guard message & 3 == 0 else { throw StateError(.reservedBits, at: address) }
            entries[index].address = message
            entries[index].data = UInt32(truncatingIfNeeded: try reader.take(4))
            let control = try reader.take(4)
            guard control < 2 else { throw StateError(.reservedBits, at: address + 12) }
            entries[index].isMasked = control == 1
        }
        for word in 0..<pending.count {
            let bits = try reader.take(8)
            let most = entries.count - word * 64
            guard most >= 64 || bits >> UInt64(most) == 0 else { throw StateError(.badVector, at: reader.offset - 8) }
            pending[word] = bits
        }
        let bits = pending
        writeMessageControl(UInt16(truncatingIfNeeded: control))
        guard isEnabled || !bits.contains(where: { $0 != 0 }) else { throw StateError(.badVector, at: start + 4) }
        statistics = Statistics()
    }
}

extension MSIRegisters {
    init(decoding reader: inout StateReader) throws(StateError) {
        let start = reader.offset
        let control = UInt32(truncatingIfNeeded: try reader.take(2))
        let next = try reader.take(2)
        let power = control >> 1 & 7
        guard power <= 5, control >> 4 & 7 <= power else { throw StateError(.badCount, at: start) }
        guard control >> 9 == 0, next < 256 else { throw StateError(.reservedBits, at: start) }
        let layout = Layout(vectors: 1 << power, is64Bit: control & 0x80 != 0, isMaskable: control & 0x100 != 0)
        self.init(layout, next: UInt8(next))
        address = try reader.take(8)
        let data = try reader.take(4)
        guard address & 3 == 0, layout.is64Bit || address >> 32 == 0, data < 0x1_0000 else {
            throw StateError(.reservedBits, at: start + 4)
        }
        self.data = UInt16(data)
        let masks = UInt32(truncatingIfNeeded: try reader.take(4))
        let bits = UInt32(truncatingIfNeeded: try reader.take(4))
        write(offset: 2, width: 2, control)
        let all = UInt32(truncatingIfNeeded: UInt64(1) << layout.vectors - 1)
        guard masks & ~(layout.isMaskable ? all : 0) == 0, bits & ~enabledBits == 0 else {
            throw StateError(.badVector, at: start + 16)
        }
        maskBits = masks
        pendingBits = bits
        statistics = MSIXTable.Statistics()
    }
}
