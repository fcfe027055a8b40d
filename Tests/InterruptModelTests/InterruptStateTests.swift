import InterruptModel
import Testing

/// A state with something in every section.
private func makeState(msix count: UInt32 = 70) -> InterruptState {
    var table = MSIXTable(count: count)
    for vector in stride(from: 0, to: count, by: 3) {
        table.program(vector, message(vector))
        table.setMask(vector, false)
    }
    table.enable()
    for vector in [1, 2, count - 1] as [UInt32] { table.setPending(vector) }
    var registers = MSIRegisters(MSIRegisters.Layout(vectors: 4), next: 0x60)
    registers.write(offset: registers.maskOffset, width: 4, 0b0110)
    registers.enable(4)
    registers.setPending(2)
    var drops = Drops()
    drops[.disabled] = 2
    let account = Ledger(raised: 20, delivered: 10, coalesced: 7, pending: 1, drops: drops)
    let vectors = [
        InterruptState.VectorRecord(Vector(.msi, 3), way: .injected, mayHaveLost: true, account: account),
        InterruptState.VectorRecord(Vector(.msix, 0), way: .bypassed, mayHaveLost: true, account: account),
        InterruptState.VectorRecord(Vector(.msix, 1), way: .none, mayHaveLost: false, account: Ledger()),
    ]
    return InterruptState(msix: table, msi: registers, vectors: vectors, retired: Ledger(raised: 5, delivered: 5))
}

/// A line in the midst of its cycle, or past the loop.
private func makeLine(_ way: InterruptState.LineWay) -> InterruptState.Line {
    var registers = INTxRegisters(pin: 2)
    _ = registers.write(offset: 0x3c, width: 1, value: 11)
    _ = registers.setAsserted(true)
    return InterruptState.Line(
        registers, way: way, isInService: !way.bypasses, mayHaveLost: way.bypasses,
        account: Ledger(raised: 3, delivered: 3))
}

/// The checksum as docs/guest-interrupts.md describes it, to forge with.
private func seal(_ bytes: [UInt8]) -> [UInt8] {
    var bytes = bytes
    for place in 0..<4 { bytes[12 + place] = UInt8(truncatingIfNeeded: bytes.count >> (place * 8)) }
    for place in 24..<32 { bytes[place] = 0 }
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    for place in 0..<8 { bytes[24 + place] = UInt8(truncatingIfNeeded: hash >> UInt64(place * 8)) }
    return bytes
}

private func refusal(_ bytes: [UInt8]) -> StateError.Reason? {
    do {
        _ = try InterruptState(decoding: bytes)
        return nil
    } catch {
        return error.reason
    }
}

@Suite("A saved interrupt state")
struct InterruptStateTests {
    @Test("what was saved comes back: every register, every pending bit, every account")
    func roundTrip() throws {
        let saved = makeState()
        var loaded = try InterruptState(decoding: saved.encoded)
        #expect(loaded.vectors == saved.vectors)
        #expect(loaded.retired == saved.retired)
        #expect(loaded.ledger == saved.ledger)
        #expect(loaded.encoded == saved.encoded)
        var table = try #require(saved.msix)
        var copy = try #require(loaded.msix)
        #expect(copy.messageControl == table.messageControl)
        for offset in stride(from: 0, to: table.tableSize, by: 8) {
            #expect(copy.readTable(offset: offset, width: 8) == table.readTable(offset: offset, width: 8))
        }
        for offset in stride(from: 0, to: table.pendingSize, by: 8) {
            #expect(copy.readPending(offset: offset, width: 8) == table.readPending(offset: offset, width: 8))
        }
        var registers = try #require(saved.msi)
        for offset in 0..<24 {
            #expect(loaded.msi?.read(offset: offset, width: 1) == registers.read(offset: offset, width: 1))
        }
    }

    @Test("what was loaded asks for everything that the guest uses")
    func loadedWork() throws {
        var loaded = try InterruptState(decoding: makeState(msix: 4).encoded)
        #expect(
            loaded.msix?.operations() == [
                .enable(vectors: 0), .use(vector: 0, message: message(0)), .use(vector: 3, message: message(3)),
                .deliver(vector: 3, message: message(3)),
            ])
        #expect(loaded.msi?.operations().count == 3)
    }

    @Test("a state of nothing, and one of 2048 vectors, are states")
    func extremes() throws {
        let empty = InterruptState(msix: nil, msi: nil)
        #expect(try InterruptState(decoding: empty.encoded) == empty)
        let large = InterruptState(msix: MSIXTable(count: 2048), msi: nil)
        #expect(try InterruptState(decoding: large.encoded) == large)
    }

    @Test("a blob cut off anywhere is refused whole")
    func truncated() {
        let bytes = makeState(msix: 5).encoded
        for length in 0..<bytes.count {
            guard let reason = refusal(Array(bytes.prefix(length))) else {
                Issue.record("\(length) of \(bytes.count) bytes were taken")
                continue
            }
            #expect(reason == (length < 32 ? .truncated : .wrongLength), "\(length)")
        }
        #expect(refusal(bytes + [0]) == .wrongLength)
        #expect(refusal([]) == .truncated)
    }

    @Test("a blob in which any single bit differs is refused whole")
    func bitFlips() {
        let bytes = makeState(msix: 5).encoded
        for place in 0..<bytes.count * 8 {
            var flipped = bytes
            flipped[place >> 3] ^= 1 << UInt8(place & 7)
            if refusal(flipped) == nil { Issue.record("bit \(place) was not missed") }
        }
    }

    @Test("the first thing that is wrong is said, and where")
    func reasons() throws {
        let bytes = makeState(msix: 5).encoded
        #expect(refusal([1] + bytes.dropFirst()) == .notAState)
        var other = bytes
        other[8] = 3
        #expect(refusal(seal(other)) == .unknownVersion)
        // Version 2 is the one with INTx, and has it.
        other[8] = 2
        #expect(refusal(seal(other)) == .truncated)
        other = bytes
        other[40] ^= 4
        #expect(refusal(other) == .damaged)
        do {
            _ = try InterruptState(decoding: other)
        } catch {
            #expect(error.offset == 24)
            #expect("\(error)".contains("checksum"))
        }
    }

    @Test("a state cut off between sections and sealed anew is refused: the last section has to be there")
    func cutAndSealed() {
        let bytes = makeState(msix: 5).encoded
        for length in 32..<bytes.count { #expect(refusal(seal(Array(bytes.prefix(length)))) != nil, "\(length)") }
    }

    // The MSI-X section of five vectors: its header at 32, count at 40, control at 44, entries from 48, pending bits at
    // 128; MSI from 136 with its registers at 144; the records from 168 with the first at 176.
    @Test(
        "forged contents under a right checksum are refused for what they are",
        arguments: [
            (32, 9, .unexpectedSection), (36, 0xff, .wrongSectionLength), (36, 88, .wrongSectionLength),
            (40, 0, .badCount), (41, 9, .badCount), (40, 4, .wrongSectionLength), (44, 1, .reservedBits),
            (48, 1, .reservedBits), (61, 1, .reservedBits), (60, 2, .reservedBits), (128, 0x20, .badVector),
            (45, 0, .badVector), (136, 1, .unexpectedSection), (144, 0xff, .badCount), (145, 0xf1, .reservedBits),
            (148, 0x03, .reservedBits), (158, 1, .reservedBits), (160, 0x10, .badVector), (164, 0x10, .badVector),
            (176, 0, .badVector), (176, 7, .badVector), (177, 3, .reservedBits), (178, 2, .reservedBits),
            (180, 4, .badVector), (181, 1, .badVector),
        ] as [(Int, UInt8, StateError.Reason)])
    func forged(offset: Int, byte: UInt8, reason: StateError.Reason) {
        var bytes = makeState(msix: 5).encoded
        #expect(bytes[offset] != byte, "the forgery changes something")
        bytes[offset] = byte
        #expect(refusal(seal(bytes)) == reason)
    }

    @Test("INTx is kept as it was, behind everything else, and makes the blob one of version 2")
    func line() throws {
        for way in InterruptState.LineWay.allCases {
            var state = makeState(msix: 5)
            let without = state.encoded
            state.line = makeLine(way)
            let bytes = state.encoded
            #expect(without[8] == 1 && bytes[8] == 2)
            let loaded = try InterruptState(decoding: bytes)
            #expect(loaded.line == state.line && loaded.encoded == bytes && loaded.ledger == state.ledger)
            #expect(loaded.ledger.raised == 48)
            for length in 0..<bytes.count {
                let cut = Array(bytes.prefix(length))
                #expect(refusal(cut) != nil && (length < 32 || refusal(seal(cut)) != nil), "\(length)")
            }
            for place in 0..<bytes.count * 8 {
                var flipped = bytes
                flipped[place >> 3] ^= 1 << UInt8(place & 7)
                if refusal(flipped) == nil { Issue.record("bit \(place) was not missed") }
            }
        }
    }

    // The section of INTx is the last 96 bytes: its header, pin, bits, Interrupt Line, way, zeros, account.
    @Test(
        "a forged line is refused for what it is",
        arguments: [
            (0, 6, .unexpectedSection), (4, 0x57, .wrongSectionLength), (8, 0, .badVector), (8, 5, .badVector),
            (9, 0x20, .reservedBits), (9, 0x05, .contradiction), (9, 0x11, .contradiction), (9, 0x18, .contradiction),
            (9, 0x14, .contradiction), (11, 5, .reservedBits), (12, 1, .reservedBits), (15, 0x80, .reservedBits),
            (11, 1, .contradiction), (11, 2, .contradiction),
        ] as [(Int, UInt8, StateError.Reason)])
    func forgedLine(offset: Int, byte: UInt8, reason: StateError.Reason) {
        var state = makeState(msix: 5)
        state.line = makeLine(.userEOI)
        var bytes = state.encoded
        let place = bytes.count - 96 + offset
        #expect(bytes[place] != byte, "the forgery changes something")
        bytes[place] = byte
        #expect(refusal(seal(bytes)) == reason)
        // Without the section before it, it is not taken either.
        bytes = state.encoded
        let retired = bytes.count - 96 - 88
        #expect(refusal(seal(Array(bytes[..<retired] + bytes[(bytes.count - 96)...]))) == .unexpectedSection)
        // And nobody takes it for what version 1 had.
        bytes[8] = 1
        #expect(refusal(seal(bytes)) == .unexpectedSection)
    }

    @Test("a vector that is named twice or out of order is refused (firecracker#5952)")
    func duplicates() {
        var state = makeState(msix: 5)
        state.vectors.append(state.vectors[2])
        #expect(refusal(state.encoded) == .badVector)
        state.vectors = [state.vectors[1], state.vectors[0]]
        #expect(refusal(state.encoded) == .badVector)
    }

    @Test("bytes at random, sealed, never crash and are never taken for another state", arguments: seeds)
    func hostile(seed: UInt64) {
        var dice = Dice(seed)
        var state = makeState(msix: 5)
        if seed % 2 == 0 { state.line = makeLine(.mappingToggle) }
        let bytes = state.encoded
        for _ in 0..<300 {
            var forged = bytes
            for _ in 0...dice.below(6) {
                forged[32 + dice.below(bytes.count - 32)] = UInt8(truncatingIfNeeded: dice.next())
            }
            forged = seal(forged)
            if let state = try? InterruptState(decoding: forged) {
                #expect(state.encoded == forged, "seed \(seed): what was taken is all that was there")
            }
        }
    }
}
