import InterruptModel
import Testing

/// Where each piece of an access went.
private struct Piece: Equatable {
    var target: RegionTraps.Target
    var offset: UInt64
    var width: Int
    var value: UInt64 = 0
}

@Suite("Traps over a device's regions")
struct RegionTrapTests {
    /// BAR 0 with the table at 0x1000, pending bits at 0x1800, a quirk of four bytes at 0x40, and a watched page.
    static func traps(threshold: UInt32 = 3) throws -> RegionTraps {
        var traps = RegionTraps(sizes: [0x4000, 0, 0x100], threshold: threshold)
        try traps.add(
            MSIXCapability(
                offset: 0x40, control: 63, table: .init(bar: 0, offset: 0x1000),
                pending: .init(bar: 0, offset: 0x1800)))
        try traps.add(RegionOverlay(.watched, region: 0, offset: 0x2000, length: 0x1000))
        try traps.add(RegionOverlay(.quirk(7), region: 0, offset: 0x40, length: 4))
        return traps
    }

    private static func read(_ traps: RegionTraps, _ access: RegionAccess) -> (UInt64, [Piece]) {
        var pieces: [Piece] = []
        let value = traps.read(access) { target, part in
            pieces.append(Piece(target: target, offset: part.offset, width: part.width))
            return 0x1111_1111_1111_1111 &* UInt64(pieces.count)
        }
        return (value, pieces)
    }

    @Test("an access inside an overlay goes there, with the offset that the overlay knows")
    func inside() throws {
        let traps = try Self.traps()
        #expect(
            Self.read(traps, RegionAccess(region: 0, offset: 0x1018, width: 8)).1 == [
                Piece(target: .overlay(.msixTable, offset: 0x18), offset: 0x1018, width: 8)
            ])
        #expect(
            Self.read(traps, RegionAccess(region: 0, offset: 0x1800, width: 4)).1 == [
                Piece(target: .overlay(.pendingBits, offset: 0), offset: 0x1800, width: 4)
            ])
        #expect(
            Self.read(traps, RegionAccess(region: 0, offset: 0x2000, width: 2)).1 == [
                Piece(target: .device, offset: 0x2000, width: 2)
            ])
    }

    @Test("an access across a border is taken apart there, in ascending order and aligned")
    func across() throws {
        let traps = try Self.traps()
        let (value, pieces) = Self.read(traps, RegionAccess(region: 0, offset: 0x3C, width: 8))
        #expect(
            pieces == [
                Piece(target: .device, offset: 0x3C, width: 4),
                Piece(target: .overlay(.quirk(7), offset: 0), offset: 0x40, width: 4),
            ])
        #expect(value == 0x2222_2222_1111_1111)
        let unaligned = Self.read(traps, RegionAccess(region: 0, offset: 0x41, width: 8)).1
        #expect(unaligned.map(\.width) == [1, 2, 4, 1] && unaligned.map(\.offset) == [0x41, 0x42, 0x44, 0x48])
    }

    @Test("odd widths are taken apart too", arguments: [3, 5, 6, 7])
    func oddWidths(width: Int) throws {
        let pieces = Self.read(try Self.traps(), RegionAccess(region: 0, offset: 0x100, width: width)).1
        #expect(pieces.reduce(0) { $0 + $1.width } == width)
        #expect(pieces.allSatisfy { [1, 2, 4].contains($0.width) && $0.offset % UInt64($0.width) == 0 })
    }

    @Test("what lies outside reads ones, and writes to it are ignored")
    func outside() throws {
        var traps = try Self.traps()
        #expect(Self.read(traps, RegionAccess(region: 0, offset: 0x3FFE, width: 4)).0 == 0xFFFF_1111)
        for access in [
            RegionAccess(region: 1, offset: 0, width: 4), RegionAccess(region: 9, offset: 0, width: 4),
            RegionAccess(region: .max, offset: .max, width: 4), RegionAccess(region: 0, offset: .max - 1, width: 4),
        ] {
            let (value, pieces) = Self.read(traps, access)
            #expect(value == 0xFFFF_FFFF && pieces.isEmpty)
            _ = traps.write(access, value: 1) { _, _, _ in Issue.record("nothing is there") }
        }
        for width in [0, -1, 9, Int.max] {
            #expect(Self.read(traps, RegionAccess(region: 0, offset: 0, width: width)).1.isEmpty)
            let learnt = traps.write(RegionAccess(region: 0, offset: 0, width: width), value: 1) { _, _, _ in
                Issue.record("no such width")
            }
            #expect(learnt == nil)
        }
    }

    @Test("overlays that overlap, run out of their region or have no region are refused, and nothing changes")
    func refused() throws {
        var traps = try Self.traps()
        let before = traps
        func add(_ region: UInt32, _ offset: UInt64, _ length: UInt64) -> OverlayError? {
            do throws(OverlayError) {
                try traps.add(RegionOverlay(.watched, region: region, offset: offset, length: length))
            } catch { return error }
            return nil
        }
        #expect(add(0, 0x13FC, 8) == .overlaps && add(0, 0x40, 1) == .overlaps && add(0, 0, 0x4000) == .overlaps)
        #expect(add(0, 0x3000, 0x1001) == .outside && add(0, 0, 0) == .outside && add(0, .max, 2) == .outside)
        #expect(add(1, 0, 1) == .noRegion && add(9, 0, 1) == .noRegion)
        #expect(throws: OverlayError.overlaps) {
            try traps.add(
                MSIXCapability(
                    offset: 0x40, control: 0, table: .init(bar: 2, offset: 0), pending: .init(bar: 0, offset: 0x1000)))
        }
        #expect(traps == before)
    }

    @Test("whole pages without an overlay may be mapped, and no others")
    func mappable() throws {
        let traps = try Self.traps()
        var ranges: [Range<UInt64>] = []
        traps.mappable(region: 0, page: 0x1000) { ranges.append($0) }
        #expect(ranges == [0x3000..<0x4000])
        ranges = []
        traps.mappable(region: 2, page: 0x1000) { ranges.append($0) }
        #expect(ranges.isEmpty, "a part of a page")
        var plain = RegionTraps(sizes: [0x4000])
        plain.mappable(region: 0, page: 0x1000) { ranges.append($0) }
        #expect(ranges == [0..<0x4000])
        try plain.add(RegionOverlay(.watched, region: 0, offset: 0x1FFF, length: 2))
        ranges = []
        plain.mappable(region: 0, page: 0x1000) { ranges.append($0) }
        #expect(ranges == [0..<0x1000, 0x3000..<0x4000])
    }

    @Test("every byte of a random access goes to exactly the one place that has it", arguments: seeds)
    func random(seed: UInt64) throws {
        var dice = Dice(seed)
        var traps = try Self.traps()
        for _ in 0..<5000 {
            let access = RegionAccess(
                region: UInt32(dice.below(4)), offset: UInt64(dice.below(0x4010)), width: dice.below(10))
            var covered: [UInt64] = []
            _ = traps.write(access, value: dice.next()) { target, part, value in
                #expect([1, 2, 4, 8].contains(part.width) && part.offset % UInt64(part.width) == 0)
                #expect(part.width == 8 || value >> UInt64(part.width * 8) == 0)
                for byte in part.offset..<part.offset + UInt64(part.width) {
                    covered.append(byte)
                    let owner = traps0.allOverlays.first {
                        $0.region == part.region && byte >= $0.offset && byte < $0.offset + $0.length
                    }
                    switch target {
                    case .device: #expect(owner == nil || owner?.kind == .watched)
                    case .overlay(let kind, let offset):
                        #expect(owner?.kind == kind && owner.map { $0.offset + offset } == part.offset)
                    }
                }
            }
            let size: UInt64 = [0x4000, 0, 0x100, 0][Int(access.region)]
            let expected =
                1...8 ~= access.width
                ? (access.offset..<access.offset + UInt64(access.width)).filter { $0 < size } : []
            #expect(covered == expected, "seed \(seed): \(access)")
        }
    }

    private let traps0: RegionTraps

    init() throws { traps0 = try Self.traps() }
}

@Suite("Registers that a guest keeps writing the same way")
struct RepeatedWriteTests {
    static let doorbell = RegionAccess(region: 0, offset: 0x2010, width: 4)

    private func write(
        _ traps: inout RegionTraps, _ value: UInt64, _ access: RegionAccess = doorbell
    ) -> DoorbellRegister? {
        traps.write(access, value: value) { _, _, _ in }
    }

    @Test("are told once, when they have been written often enough in a row")
    func threshold() throws {
        var traps = try RegionTrapTests.traps(threshold: 3)
        #expect(write(&traps, 5) == nil && write(&traps, 5) == nil)
        #expect(write(&traps, 6) == nil && write(&traps, 5) == nil && write(&traps, 5) == nil)
        let told = write(&traps, 5)
        #expect(told == DoorbellRegister(Self.doorbell, value: 5))
        for _ in 0..<20 { #expect(write(&traps, 5) == nil) }
    }

    @Test("never are without a threshold, outside a watched range, across a border, or in two pieces")
    func never() throws {
        var off = try RegionTrapTests.traps(threshold: 0)
        var on = try RegionTrapTests.traps(threshold: 2)
        for _ in 0..<20 {
            #expect(write(&off, 5) == nil)
            for access in [
                RegionAccess(region: 0, offset: 0x100, width: 4), RegionAccess(region: 0, offset: 0x1010, width: 4),
                RegionAccess(region: 0, offset: 0x2011, width: 4), RegionAccess(region: 0, offset: 0x1FFC, width: 8),
            ] { #expect(write(&on, 5, access) == nil) }
        }
    }

    @Test("what was refused is not asked for again, and what was installed is handed back in the end")
    func answers() throws {
        var traps = try RegionTrapTests.traps(threshold: 2)
        _ = write(&traps, 1)
        let first = try #require(write(&traps, 1))
        _ = write(&traps, 2)
        let second = try #require(write(&traps, 2))
        #expect(traps.repeated.state(first) == .asked)
        traps.repeated.answer(first, installed: false)
        traps.repeated.answer(second, installed: true)
        traps.repeated.answer(DoorbellRegister(Self.doorbell, value: 9), installed: true)
        #expect(traps.repeated.installedCount == 1)
        for _ in 0..<5 { #expect(write(&traps, 1) == nil) }
        var handed: [DoorbellRegister] = []
        traps.repeated.forget { handed.append($0) }
        #expect(handed == [second] && traps.repeated.state(first) == nil)
        _ = write(&traps, 1)
        #expect(write(&traps, 1) == first, "a new life, a new question")
    }

    @Test("one that was told too early, or was refused and may be had now, is counted from the beginning")
    func anew() throws {
        var traps = try RegionTrapTests.traps(threshold: 2)
        _ = write(&traps, 1)
        let first = try #require(write(&traps, 1))
        traps.repeated.withdraw(first)
        #expect(traps.repeated.state(first) == nil && write(&traps, 1) == nil)
        #expect(write(&traps, 1) == first)
        traps.repeated.answer(first, installed: false)
        _ = write(&traps, 2)
        let second = try #require(write(&traps, 2))
        traps.repeated.answer(second, installed: true)
        traps.repeated.retry()
        #expect(traps.repeated.state(second) == .installed && write(&traps, 1) == nil)
        #expect(write(&traps, 1) == first)
    }

    @Test("an access to a watched range is no plain one, as long as something may be learnt of it")
    func plain() throws {
        let (off, on) = (try RegionTrapTests.traps(threshold: 0), try RegionTrapTests.traps(threshold: 2))
        #expect(off.isPlain(Self.doorbell) && !on.isPlain(Self.doorbell))
        #expect(on.isPlain(RegionAccess(region: 0, offset: 0x100, width: 4)))
    }

    @Test("memory is fixed: of many registers the least repeated gives way, and at most 256 are told")
    func bounded() throws {
        var traps = try RegionTrapTests.traps(threshold: 2)
        // One more register than is looked at, each written once in turn, never becomes worth anything …
        for _ in 0..<10 {
            for index in 0...RepeatedWrites.candidates {
                let access = RegionAccess(region: 0, offset: 0x2000 + UInt64(index * 8), width: 8)
                _ = write(&traps, 1, access)
            }
        }
        // … but one that is written twice in a row does.
        _ = write(&traps, 77)
        #expect(write(&traps, 77) != nil)
        var told = 0
        for value in 1000..<2000 {
            _ = write(&traps, UInt64(value))
            if write(&traps, UInt64(value)) != nil { told += 1 }
        }
        #expect(told < RepeatedWrites.most && told >= RepeatedWrites.most - RepeatedWrites.candidates - 2)
    }
}
