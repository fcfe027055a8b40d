import Testing

@testable import EventRing

@Suite("overflow and arming again", .hangLimit)
struct OverflowTests {
    @Test(
        "two thousand sources on a completion queue of sixteen: all are heard, again and again",
        arguments: RingTier.allCases)
    func survived(tier: RingTier) throws {
        var loop = try makeLoop(tier) {
            $0.capacity = 2000
            $0.completions = 16
        }
        let eventfds = try (0..<2000).map { _ in try EventFDBox() }
        for tag in 0..<2000 { _ = try loop.add(eventfds[tag].number, tag: UInt64(tag)) }
        #expect(try loop.drain().isEmpty)
        for _ in 0..<3 {
            for eventfd in eventfds { eventfd.signal() }
            #expect(Set(try loop.drain().map(\.tag)).count == 2000)
        }
        let statistics = loop.remote.statistics
        #expect((statistics.overflows > 0) == (tier != .epoll))
        #expect((statistics.rearms > 0) == (tier != .epoll))
    }

    @Test("counts survive an overflow exactly", arguments: RingTier.allCases)
    func countsSurvive(tier: RingTier) throws {
        var loop = try makeLoop(tier) {
            $0.capacity = 500
            $0.completions = 8
        }
        let eventfds = try (0..<500).map { _ in try EventFDBox() }
        for tag in 0..<500 { _ = try loop.add(eventfds[tag].number, tag: UInt64(tag), delivery: .counted) }
        #expect(try loop.drain().isEmpty)
        for _ in 0..<3 {
            for tag in 0..<500 { eventfds[tag].signal(UInt64(tag) + 1) }
            let events = try loop.drain()
            #expect(events.allSatisfy { $0.count == $0.tag + 1 })
            #expect(events.count == 500)
        }
    }

    @Test("disarming and removing amid an overflow leave nothing armed", arguments: RingTier.allCases)
    func changesAmidOverflow(tier: RingTier) throws {
        var loop = try makeLoop(tier) {
            $0.capacity = 100
            $0.completions = 4
        }
        let eventfds = try (0..<100).map { _ in try EventFDBox() }
        var sources: [SourceID] = []
        for tag in 0..<100 { sources.append(try loop.add(eventfds[tag].number, tag: UInt64(tag))) }
        #expect(try loop.drain().isEmpty)
        for eventfd in eventfds { eventfd.signal() }
        try loop.wait(timeout: 0)
        for tag in 0..<100 { tag % 2 == 0 ? try loop.remove(sources[tag]) : try loop.disarm(sources[tag]) }
        #expect(try loop.drain().isEmpty)
        for eventfd in eventfds { eventfd.signal() }
        #expect(try loop.drain().isEmpty)
        for tag in 0..<100 where tag % 2 == 1 { try loop.arm(sources[tag]) }
        // A source may be told of twice when an overflow ends its request, and none is left out.
        let heard = Set(try loop.drain().map(\.tag))
        for tag in 0..<100 {
            let phase = loop.sources[sources[tag].index].phase
            #expect(heard.contains(UInt64(tag)) == (tag % 2 == 1), "\(tag): \(phase)")
        }
        #expect(loop.room == 50)
    }

    @Test("in normal operation nothing is armed again", arguments: RingTier.allCases)
    func noRearms(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let eventfds = try (0..<64).map { _ in try EventFDBox() }
        for tag in 0..<64 { _ = try loop.add(eventfds[tag].number, tag: UInt64(tag)) }
        _ = try loop.drain()
        for _ in 0..<50 {
            for eventfd in eventfds { eventfd.signal() }
            _ = try loop.drain()
        }
        try loop.wait(timeout: 0)
        #expect(loop.remote.statistics.rearms == 0)
        #expect(loop.remote.statistics.overflows == 0)
        #expect(loop.remote.statistics.stale == 0)
    }

    @Test("a batch that is not handed out is not added to, so that the queue of epoll never runs over")
    func stoppedBatch() throws {
        var loop = try makeLoop(.epoll) { $0.capacity = 64 }
        let eventfds = try (0..<64).map { _ in try EventFDBox() }
        var ids: [SourceID] = []
        for (tag, eventfd) in eventfds.enumerated() { ids.append(try loop.add(eventfd.number, tag: UInt64(tag))) }
        _ = try loop.drain()
        // A burst: many full batches in a row.
        for _ in 0..<20 {
            for eventfd in eventfds { eventfd.signal() }
            try loop.wait(timeout: 0)
            while loop.next() != nil {}
        }
        // Source 0 is signalled once, before the others; then nobody takes what comes for a while.
        eventfds[0].signal()
        try loop.wait(timeout: 0)
        for _ in 0..<20 {
            for eventfd in eventfds.dropFirst() { eventfd.signal() }
            try loop.wait(timeout: 0)
        }
        for id in ids.dropFirst() { try loop.remove(id) }
        #expect(try loop.drain().map(\.tag) == [0])
        #expect(loop.unsettled == 0 && loop.room == 63)
    }
}
