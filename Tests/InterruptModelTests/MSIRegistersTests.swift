import InterruptModel
import Testing

extension MSIRegisters {
    /// Offsets of data, mask and pending bits in this layout.
    var dataOffset: Int { layout.is64Bit ? 12 : 8 }
    var maskOffset: Int { dataOffset + 4 }
    var pendingOffset: Int { dataOffset + 8 }

    /// What a guest's operating system does: message, number of vectors, enable.
    mutating func enable(_ vectors: UInt32, data: UInt16 = 0x4140) {
        write(offset: 4, width: 4, 0xfee0_0000)
        write(offset: dataOffset, width: 2, UInt32(data))
        write(offset: 2, width: 2, UInt32(vectors.trailingZeroBitCount) << 4 | 1)
    }

    mutating func operations(refusing refuses: @escaping (MessageOperation) -> Bool = { _ in false })
        -> [MessageOperation]
    {
        var recorder = Recorder(refuses: refuses)
        synchronise(&recorder)
        return recorder.operations
    }
}

@Suite("The guest's MSI capability")
struct MSIRegistersTests {
    static let layouts: [MSIRegisters.Layout] = [true, false].flatMap { is64Bit in
        [true, false].map { MSIRegisters.Layout(vectors: 32, is64Bit: is64Bit, isMaskable: $0) }
    }

    @Test("out of reset it says what the device has, and is off", arguments: layouts)
    func resetState(layout: MSIRegisters.Layout) {
        var registers = MSIRegisters(layout, next: 0x70)
        #expect(registers.read(offset: 0, width: 1) == 0x05)
        #expect(registers.read(offset: 1, width: 1) == 0x70)
        let control = 5 << 1 | (layout.is64Bit ? 0x80 : 0) | (layout.isMaskable ? 0x100 : 0)
        #expect(registers.read(offset: 2, width: 2) == UInt32(control))
        #expect(UInt32(registers.messageControl) == UInt32(control))
        for offset in stride(from: 4, to: layout.size & ~3, by: 4) {
            #expect(registers.read(offset: offset, width: 4) == 0)
        }
        #expect(!registers.hasWork)
    }

    @Test("every byte lane of every register reads back what is writable", arguments: layouts)
    func byteLanes(layout: MSIRegisters.Layout) {
        for width in [1, 2, 4] {
            var registers = MSIRegisters(layout)
            for offset in stride(from: 4, to: (layout.size + 3) & ~3, by: width) {
                registers.write(offset: offset, width: width, .max)
            }
            #expect(registers.read(offset: 4, width: 4) == 0xffff_fffc)
            if layout.is64Bit { #expect(registers.read(offset: 8, width: 4) == 0xffff_ffff) }
            #expect(registers.read(offset: registers.dataOffset, width: 4) == 0xffff)
            if layout.isMaskable {
                #expect(registers.read(offset: registers.maskOffset, width: 4) == 0xffff_ffff)
                #expect(registers.read(offset: registers.pendingOffset, width: 4) == 0, "pending bits are read-only")
            }
            #expect(registers.messageControl & 0x0071 == 0)
        }
    }

    @Test(
        "an access of another width, misaligned or out of range reads ones and writes nothing",
        arguments: [(0, 3), (1, 2), (2, 4), (3, 2), (-1, 1), (-4, 4), (24, 4), (24, 1), (0, 8), (.max, 1), (5, 4)])
    func illegal(offset: Int, width: Int) {
        var registers = MSIRegisters(MSIRegisters.Layout(vectors: 32))
        let before = registers.read(offset: 0, width: 4)
        registers.write(offset: offset, width: width, .max)
        let ones: UInt32 = width >= 4 ? .max : 1 << UInt32(width * 8) - 1
        #expect(registers.read(offset: offset, width: width) == ones)
        #expect(registers.read(offset: 0, width: 4) == before)
        #expect(registers.statistics.illegalAccesses == 2)
    }

    @Test(
        "1 to 32 vectors are enabled at once, and the message's low bits tell them apart",
        arguments: [1, 2, 4, 8, 16, 32] as [UInt32])
    func vectors(count: UInt32) {
        var registers = MSIRegisters(MSIRegisters.Layout(vectors: 32))
        registers.enable(count, data: 0x41ff)
        var expected: [MessageOperation] = [.enable(vectors: count)]
        for vector in 0..<count {
            let data = 0x41ff & ~(count - 1) | vector
            expected.append(.use(vector: vector, message: InterruptMessage(address: 0xfee0_0000, data: data)))
        }
        #expect(registers.operations() == expected)
        #expect(registers.isMasked(count), "a vector that was not enabled")
    }

    @Test("more vectors than the function has, and the reserved encodings, are all that it has", arguments: 3...7)
    func tooMany(power: UInt32) {
        var registers = MSIRegisters(MSIRegisters.Layout(vectors: 4))
        registers.write(offset: 2, width: 2, power << 4 | 1)
        #expect(registers.enabledVectors == 4)
        #expect(registers.messageControl >> 4 & 7 == 2)
    }

    @Test("masked vectors come into use when unmasked; masks of what is in use are told", arguments: [true, false])
    func masking(is64Bit: Bool) {
        var registers = MSIRegisters(MSIRegisters.Layout(vectors: 4, is64Bit: is64Bit))
        registers.write(offset: registers.maskOffset, width: 4, 0b1011)
        registers.enable(4)
        let base = InterruptMessage(address: 0xfee0_0000, data: 0x4140)
        func message(_ vector: UInt32) -> InterruptMessage {
            InterruptMessage(address: base.address, data: base.data | vector)
        }
        #expect(registers.operations() == [.enable(vectors: 4), .use(vector: 2, message: message(2))])
        registers.write(offset: registers.maskOffset, width: 1, 0b1110)
        #expect(registers.operations() == [.use(vector: 0, message: message(0)), .mask(vector: 2)])
        #expect(registers.raise(2) == .pending)
        #expect(registers.read(offset: registers.pendingOffset, width: 4, kept: .max) == 0b1110)
        #expect(registers.read(offset: registers.pendingOffset, width: 4) == 0b0100)
        registers.write(offset: registers.dataOffset, width: 2, 0x4240)
        registers.write(offset: registers.maskOffset, width: 1, 0b1010)
        let moved = { (vector: UInt32) in InterruptMessage(address: base.address, data: 0x4240 | vector) }
        #expect(
            registers.operations() == [
                .message(vector: 0, message: moved(0)), .message(vector: 2, message: moved(2)), .unmask(vector: 2),
                .deliver(vector: 2, message: moved(2)),
            ])
    }

    @Test(
        "without per-vector masking nothing can be masked, and there are no such registers", arguments: [true, false])
    func unmaskable(is64Bit: Bool) {
        let layout = MSIRegisters.Layout(vectors: 2, is64Bit: is64Bit, isMaskable: false)
        var registers = MSIRegisters(layout)
        #expect(layout.size == (is64Bit ? 14 : 10))
        registers.write(offset: registers.maskOffset, width: 4, .max)
        registers.enable(2)
        #expect(registers.maskBits == 0)
        #expect(registers.operations().count == 3)
        #expect(registers.raise(1) == .send(registers.message(1)), "it cannot be masked")
        #expect(registers.raise(2) == .disabled)
    }

    @Test("another number of vectors while enabled begins anew")
    func resize() {
        var registers = MSIRegisters(MSIRegisters.Layout(vectors: 8, isMaskable: false))
        registers.enable(2)
        _ = registers.operations()
        registers.enable(4)
        let operations = registers.operations()
        #expect(operations.prefix(2) == [.disable, .enable(vectors: 4)])
        #expect(operations.count == 6)
    }

    @Test("registers rewritten without change are no work")
    func rewritten() {
        var registers = MSIRegisters(MSIRegisters.Layout(vectors: 8))
        registers.enable(8)
        _ = registers.operations()
        for _ in 0..<5 { registers.enable(8) }
        #expect(!registers.hasWork)
        #expect(registers.statistics.unchangedWrites == 15)
    }

    @Test("switched off it gives up what pends; a reset forgets everything")
    func offAndReset() {
        var registers = MSIRegisters(MSIRegisters.Layout(vectors: 2))
        registers.write(offset: registers.maskOffset, width: 4, 3)
        registers.enable(2)
        _ = registers.operations()
        #expect(registers.raise(1) == .pending)
        registers.write(offset: 2, width: 2, 0)
        #expect(registers.operations() == [.disable])
        #expect(registers.pendingBits == 0)
        registers.enable(2)
        _ = registers.operations()
        registers.reset()
        #expect(registers.operations() == [.disable])
        #expect(registers.maskBits == 0 && registers.message(0) == InterruptMessage(address: 0, data: 0))
    }

    @Test("a refused vector is counted, leaves the others alone, and is asked for again on retry")
    func refused() {
        var registers = MSIRegisters(MSIRegisters.Layout(vectors: 4, isMaskable: false))
        registers.enable(4)
        let done = registers.operations { if case .use(1, _) = $0 { true } else { false } }
        #expect(done.count == 4)
        #expect(registers.refused == 1 && !registers.isInUse(1) && registers.isInUse(3))
        #expect(!registers.hasWork)
        registers.retry()
        #expect(registers.operations().count == 1)
        #expect(registers.refused == 0)
    }
}
