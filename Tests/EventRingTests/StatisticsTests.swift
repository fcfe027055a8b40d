import EventRing
import Testing

@Suite("statistics: what was handed out is what is counted", .hangLimit)
struct StatisticsTests {
    @Test("every event is counted once, with instruments and without", arguments: RingTier.allCases, [true, false])
    func countedOnce(tier: RingTier, instrumented: Bool) throws {
        var loop = try makeLoop(tier) { $0.instrumented = instrumented }
        let eventfds = try (0..<20).map { _ in try EventFDBox() }
        for (tag, eventfd) in eventfds.enumerated() { _ = try loop.add(eventfd.number, tag: UInt64(tag)) }
        var handed: UInt64 = 0
        for round in 0..<5 {
            for eventfd in eventfds[0...round * 4] { eventfd.signal() }
            handed += UInt64(try loop.drain().count)
        }
        #expect(handed == 1 + 5 + 9 + 13 + 17)
        #expect(loop.remote.statistics.notifications == handed)
        #expect(loop.remote.dispatchDelays.total == (instrumented ? handed : 0))
    }

    @Test("a run that ends after its last batch has counted that batch once", arguments: [true, false])
    func endOfRun(instrumented: Bool) throws {
        var loop = try makeLoop(.deferred) { $0.instrumented = instrumented }
        let eventfd = try EventFD()
        _ = try loop.add(eventfd.number, tag: 1)
        try eventfd.signal()
        let remote = loop.remote
        var recorder = Recorder()
        // The stop is seen by the next wait, when the batch has long been drained.
        recorder.reaction = { _, _ in remote.stop() }
        try loop.run(&recorder)
        #expect(recorder.events.count == 1)
        #expect(loop.remote.statistics.notifications == 1)
        #expect(loop.remote.dispatchDelays.total == (instrumented ? 1 : 0))
    }
}
