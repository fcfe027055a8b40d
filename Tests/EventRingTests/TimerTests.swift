import CKernel
import EventRing
import Glibc
import Testing

@Suite("timers", .hangLimit)
struct TimerTests {
    @Test("timers fire in the order of their deadlines, whatever the order of adding", arguments: RingTier.allCases)
    func order(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        // Adding takes its time on a busy machine, so a deadline lies between two.
        var earliest: [UInt64: UInt64] = [:]
        var latest: [UInt64: UInt64] = [:]
        for tag in [5, 2, 9, 1, 7, 3] as [UInt64] {
            earliest[tag] = irqmux_monotonic_ns() + tag * 1_000_000
            _ = try loop.addTimer(after: tag * 1_000_000, tag: tag)
            latest[tag] = irqmux_monotonic_ns() + tag * 1_000_000
        }
        let events = try loop.collect(6)
        #expect(events.map(\.tag).sorted() == [1, 2, 3, 5, 7, 9])
        for (first, second) in zip(events, events.dropFirst()) {
            #expect(try #require(earliest[first.tag]) <= #require(latest[second.tag]), "\(events.map(\.tag))")
        }
        #expect(events.allSatisfy { $0.kind == .timer && $0.count == 1 })
    }

    @Test("no timer fires early", arguments: RingTier.allCases, [WaitMode.block, .spin, .adaptive])
    func neverEarly(tier: RingTier, waiting: WaitMode) throws {
        var loop = try makeLoop(tier) { $0.waiting = waiting }
        for round in 0..<20 as Range<UInt64> {
            let delay = 50_000 + round * 37_017
            let earliest = irqmux_monotonic_ns() + delay
            _ = try loop.addTimer(after: delay, tag: round)
            #expect(try loop.collect(1).map(\.tag) == [round])
            #expect(irqmux_monotonic_ns() >= earliest)
        }
    }

    @Test("a periodic timer says how many intervals have passed, and keeps its grid", arguments: RingTier.allCases)
    func missedIntervals(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let start = irqmux_monotonic_ns()
        let timer = try loop.addTimer(after: 1_000_000, every: 1_000_000, tag: 1)
        usleep(10_500)
        let first = try loop.collect(1)
        #expect((first.first?.count ?? 0) >= 10)
        var intervals = first.first?.count ?? 0
        while intervals < 30 { intervals += try loop.collect(1).first?.count ?? 0 }
        // Never ahead of its grid: after n intervals at least n milliseconds have passed.
        #expect(irqmux_monotonic_ns() - start >= intervals * 1_000_000)
        try loop.removeTimer(timer)
        usleep(2000)
        #expect(try loop.drain().isEmpty)
    }

    @Test("a removed timer does not fire, not even when it is due already", arguments: RingTier.allCases)
    func removal(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let first = try loop.addTimer(after: 0, tag: 1)
        let second = try loop.addTimer(after: 1, tag: 2)
        usleep(100)
        var events: [Event] = []
        events = try loop.drain { event, loop in
            try? loop.removeTimer(event.tag == 1 ? second : first)
        }
        #expect(events.map(\.tag) == [1])
        #expect(errno(of: { () throws(RingError) in try loop.removeTimer(first) }) == ENOENT)
        #expect(errno(of: { () throws(RingError) in try loop.removeTimer(second) }) == ENOENT)
    }

    @Test("an identity is refused when its place is another timer's by now", arguments: RingTier.allCases)
    func oldIdentity(tier: RingTier) throws {
        var loop = try makeLoop(tier) { $0.timers = 1 }
        let old = try loop.addTimer(after: 1_000_000_000, tag: 1)
        #expect(errno(of: { () throws(RingError) in _ = try loop.addTimer(after: 1, tag: 2) }) == ENOSPC)
        try loop.removeTimer(old)
        let new = try loop.addTimer(after: 1_000_000_000, tag: 2)
        #expect(errno(of: { () throws(RingError) in try loop.removeTimer(old) }) == ENOENT)
        try loop.removeTimer(new)
    }

    @Test("a loop made for no timers refuses them with ENOSPC")
    func noTimers() throws {
        var loop = try makeLoop(.deferred) { $0.timers = 0 }
        #expect(errno(of: { () throws(RingError) in _ = try loop.addTimer(after: 1, tag: 2) }) == ENOSPC)
        #expect(try loop.drain().isEmpty)
    }

    @Test(
        "a timer that a handler adds without delay comes in a later batch, so that sources have their turn",
        arguments: RingTier.allCases)
    func fromHandler(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let eventfd = try EventFD()
        _ = try loop.add(eventfd.number, tag: 1)
        _ = try loop.addTimer(after: 0, tag: 2)
        var recorder = Recorder(stopAfter: 2000)
        recorder.reaction = { event, loop in
            if event.kind == .timer {
                _ = try? loop.addTimer(after: 0, tag: 2)
                try? eventfd.signal()
            } else {
                loop.stop()
            }
        }
        try loop.run(&recorder)
        #expect(recorder.tags.last == 1)
    }

    @Test(
        "timers and sources share a loop; neither waits for the other", arguments: RingTier.allCases,
        [WaitMode.block, .spin, .adaptive])
    func withSources(tier: RingTier, waiting: WaitMode) throws {
        var loop = try makeLoop(tier) { $0.waiting = waiting }
        let eventfd = try EventFD()
        _ = try loop.add(eventfd.number, tag: 1, delivery: .counted)
        _ = try loop.addTimer(after: 200_000, every: 200_000, tag: 2)
        var recorder = Recorder()
        var signalled: UInt64 = 0
        recorder.reaction = { event, loop in
            if event.kind == .timer, signalled < 20 {
                try? eventfd.signal()
                signalled += 1
            }
        }
        recorder.stopAfter = 60
        try loop.run(&recorder)
        #expect(recorder.events.filter { $0.kind == .signal }.reduce(0) { $0 + $1.count } == signalled)
        #expect(signalled == 20)
    }

    @Test("a timer at the end of time never fires", arguments: [UInt64.max, UInt64.max - 1, UInt64.max / 2])
    func endOfTime(delay: UInt64) throws {
        var loop = try makeLoop(.deferred)
        let timer = try loop.addTimer(after: delay, tag: 1)
        _ = try loop.addTimer(after: 1000, every: .max, tag: 2)
        #expect(try loop.collect(1).map(\.tag) == [2])
        usleep(1000)
        #expect(try loop.drain().isEmpty)
        try loop.removeTimer(timer)
    }

    @Test("random adding and removing fires exactly what is left, in order", arguments: seeds(4))
    func property(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var loop = try makeLoop(.deferred) { $0.timers = 200 }
        var alive: [(id: TimerID, tag: UInt64, delay: UInt64)] = []
        for tag in 0..<200 as Range<UInt64> {
            let delay = UInt64.random(in: 0...3_000_000, using: &generator)
            alive.append((try loop.addTimer(after: delay, tag: tag), tag, delay))
            if tag % 3 == 0 {
                let gone = alive.remove(at: Int.random(in: 0..<alive.count, using: &generator))
                try loop.removeTimer(gone.id)
            }
        }
        let fired = try loop.collect(alive.count).map(\.tag)
        #expect(fired.sorted() == alive.map(\.tag).sorted(), "seed \(seed)")
        #expect(try loop.drain().isEmpty, "seed \(seed)")
    }
}
