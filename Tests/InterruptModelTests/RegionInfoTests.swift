import InterruptModel
import Testing

@Suite("What is said of a region")
struct RegionInfoTests {
    @Test("a range is within a region only when all of it is, however large the numbers")
    func holds() {
        let region = RegionInfo(index: 0, size: 4096, offset: 0)
        for (offset, count) in [(0, 4096), (4095, 1), (4096, 0), (4092, 4)] as [(UInt64, Int)] {
            #expect(region.holds(offset, count))
        }
        for (offset, count) in [(0, 4097), (4096, 1), (4093, 4), (.max, 1), (.max, 0), (0, -1), (8, .max)]
            as [(UInt64, Int)]
        {
            #expect(!region.holds(offset, count))
        }
        #expect(!RegionInfo(index: 0, size: 0, offset: 0).holds(0, 1))
    }
}
