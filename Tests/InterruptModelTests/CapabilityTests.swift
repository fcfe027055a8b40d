import InterruptModel
import Testing

/// Info structures as the kernel writes them, and as nobody should.
@Suite("capability chains")
struct CapabilityTests {
    static func words(_ words: [UInt32]) -> [UInt8] {
        words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> UInt32(8 * $0)) } }
    }

    /// A region of 64 KiB with this chain behind it: flags READ, WRITE, MMAP, CAPS.
    static func region(_ rest: [UInt32], from offset: UInt32 = 32, flags: UInt32 = 15) -> [UInt8] {
        let fixed: [UInt32] = [0, flags, 2, offset, 0x1_0000, 0, 0, 0x200]
        return words(fixed + rest)
    }

    @Test("a region without capabilities can be mapped as a whole, if at all")
    func plain() throws {
        let region = try #require(RegionInfo(bytes: Self.region([], from: 0, flags: 7)))
        #expect(region.index == 2 && region.size == 0x1_0000 && region.offset == 0x200_0000_0000)
        #expect(region.isReadable && region.isWritable && region.isMappable && !region.isMSIXMappable)
        #expect(region.mappableAreas == [.init(offset: 0, size: 0x1_0000)])
        let unmappable = try #require(RegionInfo(bytes: Self.region([], from: 0, flags: 3)))
        #expect(!unmappable.isMappable && unmappable.mappableAreas.isEmpty)
    }

    @Test("sparse areas, type and MSI-X mappable are read, and ids of a later kernel are passed over")
    func whole() throws {
        let region = try #require(
            RegionInfo(
                bytes: Self.region([
                    0x0001_0063, 40,  // 32: unknown id 99
                    0x0001_0001, 88, 2, 0, 0, 0, 0x1000, 0, 0x8000, 0, 0x2000, 0,  // 40: sparse, two areas
                    0x0001_0003, 96,  // 88: MSI-X mappable
                    0x0001_0002, 0, 7, 9,  // 96: type
                ])))
        #expect(!region.isMalformed && region.isMSIXMappable)
        #expect(region.mappableAreas == [.init(offset: 0, size: 0x1000), .init(offset: 0x8000, size: 0x2000)])
        #expect(region.type?.type == 7 && region.type?.subtype == 9)
    }

    @Test("a chain that bites its own tail ends")
    func loop() {
        let itself = CapabilityChain(Self.region([0x0001_0003, 32]), from: 32)
        #expect(itself.isMalformed && itself.first(3) != nil)
        let pair = CapabilityChain(Self.region([0x0001_0003, 40, 0x0001_0002, 32]), from: 32)
        #expect(pair.isMalformed && pair.entries.count <= 6)
    }

    @Test(
        "a chain that leaves the structure is cut off there",
        arguments: [UInt32(33), 36, 40, 4096, .max, .max - 3, 1])
    func outside(offset: UInt32) {
        #expect(CapabilityChain(Self.region([0x0001_0003], from: offset), from: offset).isMalformed)
    }

    @Test("a sparse list that claims more than is there, or reaches beyond the region, counts as far as it is right")
    func badSparse() throws {
        let short = try #require(
            RegionInfo(bytes: Self.region([0x0001_0001, 0, 0xffff_ffff, 0, 0, 0, 0x1000, 0])))
        #expect(short.isMalformed && short.mappableAreas == [.init(offset: 0, size: 0x1000)])
        let beyond = try #require(
            RegionInfo(bytes: Self.region([0x0001_0001, 0, 1, 0, 0xf000, 0, 0x2000, 0])))
        #expect(beyond.isMalformed && beyond.mappableAreas.isEmpty)
        let wrapping = try #require(
            RegionInfo(bytes: Self.region([0x0001_0001, 0, 1, 0, 0x1000, 0, 0xffff_f001, 0xffff_ffff])))
        #expect(wrapping.isMalformed && wrapping.mappableAreas.isEmpty)
    }

    @Test("any bytes at all are read without a crash", arguments: 0..<8)
    func noise(seed: UInt64) {
        var dice = Dice(seed)
        for _ in 0..<2000 {
            var bytes = Self.region((0..<Int.random(in: 0...30, using: &dice)).map { _ in 0 })
            for _ in 0..<Int.random(in: 1...60, using: &dice) {
                bytes[Int.random(in: 0..<bytes.count, using: &dice)] = .random(in: 0...160, using: &dice)
            }
            guard let region = RegionInfo(bytes: bytes) else { continue }
            for area in region.mappableAreas {
                #expect(area.offset <= region.size && area.size <= region.size - area.offset, "seed \(seed)")
            }
        }
        for count in 0..<32 { #expect(RegionInfo(bytes: [UInt8](repeating: 0xff, count: count)) == nil) }
    }
}
