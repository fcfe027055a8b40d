import CKernel
import EventRing
import Glibc
import Testing

// A spinning loop reads its sources itself while there are one or two of them.
@Suite("direct reading", .hangLimit)
struct DirectReadingTests {
    private func spinning(_ tier: RingTier) throws -> EventLoop { try makeLoop(tier) { $0.waiting = .spin } }

    @Test("one source is read directly: its counter is taken, whatever its delivery", arguments: RingTier.allCases)
    func readsDirectly(tier: RingTier) throws {
        var loop = try spinning(tier)
        let eventfd = try EventFD()
        let source = try loop.add(eventfd.number, tag: 1)
        try eventfd.signal(3)
        #expect(try loop.collect(1).map(\.count) == [0])
        #expect(try eventfd.peek() == 0)
        #expect(try loop.counts(of: source).taken == 3)
    }

    @Test("a look without waiting reads too", arguments: RingTier.allCases, [Delivery.edge, .counted, .acknowledged])
    func looksWithoutWaiting(tier: RingTier, delivery: Delivery) throws {
        var loop = try spinning(tier)
        let eventfd = try EventFD()
        _ = try loop.add(eventfd.number, tag: 1, delivery: delivery)
        #expect(try loop.drain().isEmpty)
        try eventfd.signal()
        #expect(try loop.drain().count == 1)
    }

    @Test(
        "the third source moves all to the ring, and back when it goes; nothing is lost", arguments: RingTier.allCases)
    func movesToTheRingAndBack(tier: RingTier) throws {
        var loop = try spinning(tier)
        let eventfds = try (0..<3).map { _ in try EventFDBox() }
        var counts: [UInt64] = [0, 0, 0]
        func run(_ loop: inout EventLoop) throws {
            for event in try loop.drain() { counts[Int(event.tag)] += event.count }
        }
        for tag in 0..<2 { _ = try loop.add(eventfds[tag].number, tag: UInt64(tag), delivery: .counted) }
        for _ in 0..<20 {
            for eventfd in eventfds.prefix(2) { eventfd.signal() }
            try run(&loop)
            for eventfd in eventfds { eventfd.signal() }
            let third = try loop.add(eventfds[2].number, tag: 2, delivery: .counted)
            for eventfd in eventfds { eventfd.signal() }
            try run(&loop)
            for eventfd in eventfds { eventfd.signal() }
            try run(&loop)
            try loop.remove(third)
        }
        try run(&loop)
        #expect(counts == [80, 80, 60])
    }

    @Test(
        "what was read and not handed out yet goes back when its source is disarmed",
        arguments: RingTier.allCases, [Delivery.edge, .counted, .acknowledged])
    func disarmAfterReading(tier: RingTier, delivery: Delivery) throws {
        var loop = try spinning(tier)
        let eventfd = try EventFD()
        let source = try loop.add(eventfd.number, tag: 1, delivery: delivery)
        #expect(try loop.drain().isEmpty)
        try eventfd.signal(2)
        try loop.wait(timeout: 1_000_000_000)
        try loop.disarm(source)
        #expect(try loop.drain().isEmpty)
        #expect(try eventfd.peek() == 2)
        try loop.arm(source)
        #expect(try loop.drain().map(\.count) == [delivery == .edge ? 0 : 2])
    }

    @Test(
        "what was read and not handed out yet survives a third source and a change of waiting",
        arguments: RingTier.allCases, [true, false])
    func moveAfterReading(tier: RingTier, byMode: Bool) throws {
        var loop = try spinning(tier)
        let eventfd = try EventFD()
        let others = try (0..<2).map { _ in try EventFDBox() }
        _ = try loop.add(eventfd.number, tag: 1, delivery: .counted)
        #expect(try loop.drain().isEmpty)
        try eventfd.signal(2)
        try loop.wait(timeout: 1_000_000_000)
        if byMode { loop.waitMode = .block } else { for other in others { _ = try loop.add(other.number, tag: 9) } }
        #expect(try loop.drain().map(\.count) == [2])
    }

    @Test("a busy source does not starve the other", arguments: RingTier.allCases)
    func noStarvation(tier: RingTier) throws {
        var loop = try spinning(tier)
        let busy = try EventFD(initial: 1)
        let quiet = try EventFD(initial: 1)
        _ = try loop.add(busy.number, tag: 1)
        _ = try loop.add(quiet.number, tag: 2)
        var recorder = Recorder(stopAfter: 100)
        recorder.reaction = { event, _ in if event.tag == 1 { try? busy.signal() } }
        try loop.run(&recorder)
        #expect(recorder.tags.prefix(4).contains(2))
    }

    @Test("a busy source that is read does not starve one that the ring serves", arguments: RingTier.allCases)
    func noStarvationOfTheRing(tier: RingTier) throws {
        var loop = try spinning(tier)
        let busy = try EventFD(initial: 1)
        let blocking = EventFD(owning: eventfd(1, 0))
        _ = try loop.add(busy.number, tag: 1)
        _ = try loop.add(blocking.number, tag: 2)
        var recorder = Recorder(stopAfter: 1000)
        recorder.reaction = { event, _ in if event.tag == 1 { try? busy.signal() } }
        try loop.run(&recorder)
        #expect(recorder.tags.contains(2))
    }

    @Test("a busy source that is read does not starve timers and commands", arguments: RingTier.allCases)
    func noStarvationOfTimers(tier: RingTier) throws {
        var loop = try spinning(tier)
        let busy = try EventFD(initial: 1)
        _ = try loop.add(busy.number, tag: 1)
        _ = try loop.addTimer(after: 1_000_000, tag: 2)
        let remote = loop.remote
        let done = Flag()
        let sawTimer = Flag()
        let thread = TestThread {
            eventually { (try? remote.perform { _ in true }) != nil }
            done.set()
        }
        var recorder = Recorder()
        recorder.reaction = { event, loop in
            if event.tag == 1 { try? busy.signal() }
            if done.isSet && sawTimer.isSet { loop.stop() }
            if event.kind == .timer { sawTimer.set() }
        }
        try loop.run(&recorder)
        thread.join()
        #expect(recorder.events.contains { $0.kind == .timer })
    }

    @Test("direct reading does not starve the source, however often a timer is due", arguments: RingTier.allCases)
    func noStarvationByTimers(tier: RingTier) throws {
        var loop = try spinning(tier)
        let eventfd = try EventFD()
        _ = try loop.add(eventfd.number, tag: 1)
        _ = try loop.addTimer(after: 0, every: 1, tag: 2)
        var recorder = Recorder()
        recorder.reaction = { event, loop in
            if event.tag == 2 { try? eventfd.signal() } else { loop.stop() }
        }
        try loop.run(&recorder)
        #expect(recorder.tags.last == 1)
    }
}
