import EventRing
import TestSupport
import Testing

@Suite(
    "allocations, counted a thread",
    .enabled(if: allocationsAreCounted, "sanitizer: it stands in for malloc, so allocations are not counted"))
struct AllocationTests {
    @Test("the counter sees a Swift array's storage, and its growth")
    func countsArrays() {
        var kept: [UInt64] = []
        let once = allocations { kept = [UInt64](repeating: 1, count: Int.random(in: 100...200)) }
        #expect(once >= 1)
        let growth = allocations { for value in 0..<100_000 { kept.append(UInt64(value)) } }
        #expect(growth >= 5)
        #expect(kept.count > 100_000)
    }

    @Test("the counter sees a class instance")
    func countsClasses() {
        final class Box { var value = Int.random(in: 0...9) }
        var kept: [Box] = []
        kept.reserveCapacity(100)
        #expect(allocations { for _ in 0..<100 { kept.append(Box()) } } >= 100)
        #expect(kept.count == 100)
    }

    @Test("what another thread allocates is not counted here")
    func countsThisThreadOnly() {
        // Arithmetic only: nothing here allocates, whatever the tests beside it do meanwhile.
        var sum: UInt64 = 0
        #expect(allocations { for value in 0..<1_000_000 { sum = sum &* 31 &+ UInt64(value) } } == 0)
        #expect(sum != 0)
    }

    @Test("a histogram allocates when it is made and never when it records")
    func histogramRecordsWithoutAllocating() {
        let histogram = Histogram()
        histogram.record(1)
        #expect(allocations { _ = Histogram() } == 1)
        let count = allocations { for value in 0..<10_000 { histogram.record(UInt64(value) &* 977) } }
        #expect(count == 0)
        #expect(histogram.snapshot().total == 10_001)
    }

    @Test("an eventfd's signal and take allocate nothing")
    func eventFDAllocatesNothing() throws {
        let eventfd = try EventFD()
        try eventfd.signal()
        _ = try eventfd.take()
        var taken: UInt64 = 0
        let count = try allocations { () throws(RingError) in
            for _ in 0..<1000 {
                try eventfd.signal()
                taken += try eventfd.take()
            }
        }
        #expect(count == 0)
        #expect(taken == 1000)
    }
}
