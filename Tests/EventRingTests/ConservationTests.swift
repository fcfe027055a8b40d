import EventRing
import Glibc
import Synchronization
import Testing

// Whatever is done to the sources while signals fly: every signal is counted once, or still in its eventfd, and after
// the last signal comes an event.
@Suite("conservation, by random sequences", .hangLimit)
struct ConservationTests {
    private static let cases = RingTier.allCases.flatMap { tier in
        [WaitMode.block, .spin, .adaptive].flatMap { mode in seeds(2).map { (tier, mode, $0) } }
    }

    @Test("counted: the sum of all counts is the number of signals", arguments: cases)
    func counted(tier: RingTier, waiting: WaitMode, seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let width = waiting == .spin && seed % 2 == 0 ? 2 : 6
        let eventfds = try (0..<width).map { _ in try EventFDBox() }
        var loop = try makeLoop(tier) { $0.waiting = waiting }
        var sources: [SourceID?] = []
        for tag in 0..<width {
            sources.append(try loop.add(eventfds[tag].number, tag: UInt64(tag), delivery: .counted))
        }
        let signals = 4000
        let writer = TestThread {
            var generator = SeededGenerator(seed: ~seed)
            for _ in 0..<signals { eventfds[Int.random(in: 0..<width, using: &generator)].signal() }
        }
        var sum: UInt64 = 0
        func change(_ loop: inout EventLoop) throws {
            let tag = Int.random(in: 0..<width, using: &generator)
            switch (sources[tag], Int.random(in: 0..<6, using: &generator)) {
            case (.some(let source), 0), (.some(let source), 1): try loop.disarm(source)
            case (.some(let source), 2), (.some(let source), 3): try loop.arm(source)
            case (.some(let source), 4):
                try loop.remove(source)
                sources[tag] = nil
            case (.none, _) where loop.room > 0:
                sources[tag] = try loop.add(eventfds[tag].number, tag: UInt64(tag), delivery: .counted)
            default:
                if seed % 3 == 0 { loop.waitMode = Bool.random(using: &generator) ? waiting : .block }
            }
        }
        for _ in 0..<1500 {
            try loop.wait(timeout: UInt64.random(in: 0...20_000, using: &generator))
            while let event = loop.next() {
                sum += event.count
                if Int.random(in: 0..<3, using: &generator) == 0 { try change(&loop) }
            }
            try change(&loop)
        }
        writer.join()
        for source in sources { if let source { try loop.arm(source) } }
        sum += try loop.drain().reduce(0) { $0 + $1.count }
        let left = eventfds.reduce(0) { $0 + $1.take() }
        #expect(sum + left == UInt64(signals), "seed \(seed)")
        // What is armed has left nothing behind.
        for tag in 0..<width where sources[tag] != nil { #expect(eventfds[tag].take() == 0, "seed \(seed)") }
    }

    @Test("edge: after the last signal of an armed source comes an event", arguments: cases)
    func edge(tier: RingTier, waiting: WaitMode, seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let width = 5
        let eventfds = try (0..<width).map { _ in try EventFDBox() }
        var loop = try makeLoop(tier) { $0.waiting = waiting }
        var sources: [SourceID] = []
        for tag in 0..<width { sources.append(try loop.add(eventfds[tag].number, tag: UInt64(tag))) }
        for _ in 0..<40 {
            let writer = TestThread {
                for round in 0..<100 { eventfds[round % width].signal() }
            }
            // What the handler takes from the counter was signalled before the event; nothing may remain at the end.
            for _ in 0..<20 {
                try loop.wait(timeout: 5000)
                while loop.next() != nil {
                    let tag = Int.random(in: 0..<width, using: &generator)
                    try loop.disarm(sources[tag])
                    if Bool.random(using: &generator) { try loop.arm(sources[tag]) }
                }
            }
            writer.join()
            for source in sources { try loop.arm(source) }
            _ = try loop.drain()
            // Quiet now: one more signal each, and each must be heard.
            for eventfd in eventfds { eventfd.signal() }
            #expect(Set(try loop.drain().map(\.tag)) == Set((0..<width).map { UInt64($0) }), "seed \(seed)")
        }
    }

    @Test("remote changes under a storm of signals lose no count", arguments: RingTier.allCases, seeds(2))
    func remote(tier: RingTier, seed: UInt64) throws {
        let eventfd = try EventFDBox()
        let total = Atomic<UInt64>(0)
        let box = LoopBox(try makeLoop(tier))
        let remote = box.with { $0.remote }
        let thread = TestThread {
            var summing = Summing()
            box.with { loop in try? loop.run(&summing) }
            total.store(summing.sum, ordering: .releasing)
        }
        let signals = 3000
        let writer = TestThread { for _ in 0..<signals { eventfd.signal() } }
        eventually { (try? remote.perform { _ in }) != nil }
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<60 {
            let source = try remote.add(eventfd.number, tag: 1, delivery: .counted)
            for _ in 0..<Int.random(in: 0..<4, using: &generator) {
                _ = try remote.perform { loop in try? loop.disarm(source) }
                _ = try remote.perform { loop in try? loop.arm(source) }
            }
            try remote.remove(source)
        }
        writer.join()
        eventually { (try? remote.perform { $0.room }) == 64 }
        for _ in 0..<5 { _ = try remote.perform { _ in } }
        remote.stop()
        thread.join()
        box.with { loop in _ = try? loop.drain() }
        #expect(total.load(ordering: .acquiring) + eventfd.take() == UInt64(signals), "seed \(seed)")
    }
}

private struct Summing: EventHandler {
    var sum: UInt64 = 0
    mutating func handle(_ event: Event, on loop: inout EventLoop) { sum += event.count }
}
