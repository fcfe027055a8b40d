import TestSupport
import Testing

@testable import EventRing

@Suite("layout and cost", .hangLimit)
struct LayoutTests {
    @Test("a source is one cache line, and its counter is where the kernel is told to write")
    func source() {
        #expect(MemoryLayout<Source>.size == 64)
        #expect(MemoryLayout<Source>.stride == 64)
        #expect(MemoryLayout<Source>.offset(of: \.counter) == Source.counterOffset)
        #expect(MemoryLayout<Completion>.size == 16)
    }

    @Test("statistics are nothing but 64-bit words, as the board that publishes them assumes")
    func statistics() {
        let mirror = Mirror(reflecting: LoopStatistics())
        #expect(mirror.children.allSatisfy { $0.value is UInt64 })
        #expect(MemoryLayout<LoopStatistics>.size == mirror.children.count * 8)
        let board = StatisticsBoard()
        var statistics = LoopStatistics()
        statistics.notifications = 1
        statistics.idleNanoseconds = 2
        statistics.overflows = .max
        // SAFETY: the board outlives its one writer.
        unsafe StatisticsWriter(board).publish(&statistics)
        let read = board.read()
        #expect(read.notifications == 1 && read.idleNanoseconds == 2 && read.overflows == .max && read.stale == 0)
    }

    @Test("a token keeps kind, place and generation, and names only its own life")
    func token() {
        for generation in [0, 1, Token.generationMask] as [UInt32] {
            let token = Token(.source, index: 32767, generation: generation)
            #expect(token.index == 32767 && token.generation == generation)
            var source = Source()
            source.generation = generation
            #expect(token.names(source))
            source.generation = (generation + 1) & Token.generationMask
            #expect(!token.names(source))
            source.generation = generation
            #expect(!Token(.cancel, index: 32767, generation: generation).names(source))
        }
    }

    @Test(
        "no event allocates, whatever its delivery and tier",
        .enabled(if: allocationsAreCounted, "sanitizer: it stands in for malloc, so allocations are not counted"),
        arguments: RingTier.allCases, [Delivery.edge, .counted])
    func noAllocation(tier: RingTier, delivery: Delivery) throws {
        var loop = try makeLoop(tier)
        let eventfd = try EventFD()
        for tag in 0..<16 as Range<UInt64> { _ = try loop.add(eventfd.number, tag: tag, delivery: delivery) }
        _ = try loop.addTimer(after: 0, every: 1000, tag: 99)
        var events = 0
        func round() throws(RingError) {
            try eventfd.signal(16)
            try loop.wait(timeout: 0)
            while loop.next() != nil { events += 1 }
        }
        for _ in 0..<20 { try round() }
        let before = events
        let count = try allocations { () throws(RingError) in for _ in 0..<200 { try round() } }
        #expect(events - before >= 200)
        #expect(count == 0)
    }

    @Test(
        "adding, arming, disarming and removing allocate nothing",
        .enabled(if: allocationsAreCounted, "sanitizer: it stands in for malloc, so allocations are not counted"),
        arguments: RingTier.allCases)
    func changesAllocateNothing(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let eventfd = try EventFD()
        let adding = try allocations { () throws(RingError) in
            let source = try loop.add(eventfd.number, tag: 1)
            try loop.wait(timeout: 0)
            try loop.disarm(source)
            try loop.wait(timeout: 0)
            try loop.remove(source)
            try loop.wait(timeout: 0)
        }
        #expect(adding == 0)
    }
}
