import CKernel
import EventRing
import Testing

@Suite("delivery", .hangLimit)
struct DeliveryTests {
    @Test("one signal is one event, with its source and tag", arguments: RingTier.allCases)
    func oneSignal(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let eventfd = try EventFD()
        let source = try loop.add(eventfd.number, tag: 7)
        var recorder = Recorder(stopAfter: 1)
        try eventfd.signal()
        try loop.run(&recorder)
        recorder.stopAfter = 2
        try eventfd.signal()
        try loop.run(&recorder)
        #expect(recorder.tags == [7, 7])
        #expect(recorder.events.allSatisfy { $0.source == source && $0.kind == .signal && $0.count == 0 })
    }

    @Test("an edge event stands for one signal or more, and the counter keeps them", arguments: RingTier.allCases)
    func edgeCoalesces(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let eventfd = try EventFD()
        _ = try loop.add(eventfd.number, tag: 1)
        #expect(try loop.drain().isEmpty)
        for _ in 0..<5 { try eventfd.signal() }
        // Where the kernel completes on its own, a completion may come for each; where the loop fetches, there is one.
        let most = tier == .deferred || tier == .epoll ? 1 : 5
        #expect(1...most ~= (try loop.drain().count))
        #expect(try eventfd.peek() == 5)
        try eventfd.signal()
        #expect(try loop.drain().count == 1)
        #expect(try eventfd.take() == 6)
    }

    @Test("arming reports at once what was signalled before", arguments: RingTier.allCases, [Delivery.edge, .counted])
    func armingIsLevel(tier: RingTier, delivery: Delivery) throws {
        var loop = try makeLoop(tier)
        let eventfd = try EventFD(initial: 3)
        _ = try loop.add(eventfd.number, tag: 1, delivery: delivery)
        let events = try loop.drain()
        #expect(events.count == 1)
        #expect(events.first?.count == (delivery == .counted ? 3 : 0))
    }

    @Test("what was read and not handed out is known", arguments: RingTier.allCases, [Delivery.counted, .acknowledged])
    func readAhead(tier: RingTier, delivery: Delivery) throws {
        var loop = try makeLoop(tier)
        let eventfd = try EventFD()
        let source = try loop.add(eventfd.number, tag: 1, delivery: delivery)
        #expect(try loop.drain().isEmpty)
        for size in [3, 5] as [UInt64] {
            try eventfd.signal(size)
            try loop.wait(timeout: 1_000_000_000)
            let (known, left) = (try loop.readAhead(of: source), try eventfd.peek())
            #expect(known + left == size)
            #expect(loop.next()?.tag == 1)
            #expect(try loop.readAhead(of: source) == 0)
            try loop.arm(source)
        }
        #expect(try loop.counts(of: source).taken == 8)
    }

    @Test("a counted event says how many signals it stands for, and the counter is taken", arguments: RingTier.allCases)
    func counted(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let eventfd = try EventFD()
        let source = try loop.add(eventfd.number, tag: 1, delivery: .counted)
        #expect(try loop.drain().isEmpty)
        for size in [1, 5, 1000] as [UInt64] {
            for _ in 0..<size { try eventfd.signal() }
            let events = try loop.drain()
            #expect(events.reduce(0) { $0 + $1.count } == size)
            #expect(try eventfd.peek() == 0)
        }
        #expect(try loop.counts(of: source).taken == 1006)
        #expect(try loop.readAhead(of: source) == 0)
    }

    @Test("an acknowledged source is silent until it is armed again, and loses nothing", arguments: RingTier.allCases)
    func acknowledged(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let eventfd = try EventFD()
        let source = try loop.add(eventfd.number, tag: 1, delivery: .acknowledged)
        try eventfd.signal()
        #expect(try loop.drain().map(\.count) == [1])
        try eventfd.signal(2)
        #expect(try loop.drain().isEmpty)
        try loop.arm(source)
        #expect(try loop.drain().map(\.count) == [2])
        #expect(try loop.drain().isEmpty)
        try loop.arm(source)
        #expect(try loop.drain().isEmpty)
        try eventfd.signal(4)
        #expect(try loop.drain().map(\.count) == [4])
    }

    @Test(
        "a disarmed source is silent and its signals stay in the eventfd",
        arguments: RingTier.allCases, [Delivery.edge, .counted, .acknowledged])
    func disarmed(tier: RingTier, delivery: Delivery) throws {
        var loop = try makeLoop(tier)
        let eventfd = try EventFD()
        let source = try loop.add(eventfd.number, tag: 1, delivery: delivery)
        #expect(try loop.drain().isEmpty)
        try loop.disarm(source)
        try eventfd.signal(3)
        #expect(try loop.drain().isEmpty)
        #expect(try eventfd.peek() == 3)
        try loop.arm(source)
        let events = try loop.drain()
        #expect(events.count == 1)
        #expect(events.first?.count == (delivery == .edge ? 0 : 3))
    }

    @Test(
        "an event that was queued when its source was disarmed comes after arming",
        arguments: RingTier.allCases, [Delivery.edge, .counted, .acknowledged])
    func disarmedWithEventQueued(tier: RingTier, delivery: Delivery) throws {
        var loop = try makeLoop(tier)
        let first = try EventFD()
        let second = try EventFD()
        let one = try loop.add(first.number, tag: 1, delivery: delivery)
        let two = try loop.add(second.number, tag: 2, delivery: delivery)
        #expect(try loop.drain().isEmpty)
        try first.signal()
        try second.signal()
        var disarmed = false
        let events = try loop.drain { event, loop in
            if disarmed { return }
            disarmed = true
            try? loop.disarm(event.tag == 1 ? two : one)
        }
        #expect(events.count == 1)
        let other = events.first?.tag == 1 ? two : one
        let silenced: UInt64 = try events.first?.tag == 1 ? second.peek() : first.peek()
        #expect(silenced == 1)
        try loop.arm(other)
        let later = try loop.drain()
        #expect(later.map(\.source) == [other])
        #expect(later.first?.count == (delivery == .edge ? 0 : 1))
    }

    @Test(
        "arming and disarming many times before the kernel hears of it is the last word", arguments: RingTier.allCases)
    func lastWordCounts(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let eventfd = try EventFD()
        let source = try loop.add(eventfd.number, tag: 1)
        for _ in 0..<10 {
            try loop.disarm(source)
            try loop.arm(source)
        }
        try eventfd.signal()
        #expect(try loop.drain().count == 1)
        for _ in 0..<10 {
            try loop.arm(source)
            try loop.disarm(source)
        }
        try eventfd.signal()
        #expect(try loop.drain().isEmpty)
    }

    @Test("one eventfd may be two sources", arguments: RingTier.allCases)
    func oneEventfdTwice(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let eventfd = try EventFD()
        _ = try loop.add(eventfd.number, tag: 1)
        _ = try loop.add(eventfd.number, tag: 2)
        #expect(try loop.drain().isEmpty)
        try eventfd.signal()
        #expect(Set(try loop.drain().map(\.tag)) == [1, 2])
    }

    @Test("each of many ready sources is reported once", arguments: RingTier.allCases)
    func manyReady(tier: RingTier) throws {
        var loop = try makeLoop(tier) { $0.capacity = 600 }
        var eventfds: [EventFDBox] = []
        for tag in 0..<600 {
            eventfds.append(try EventFDBox())
            _ = try loop.add(eventfds[tag].number, tag: UInt64(tag))
        }
        #expect(try loop.drain().isEmpty)
        for eventfd in eventfds { eventfd.signal() }
        #expect(try loop.drain().map(\.tag).sorted() == (0..<600).map { UInt64($0) })
    }

    @Test("sources on blocking eventfds and on semaphores are served too", arguments: RingTier.allCases)
    func otherFlags(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let blocking = EventFD(owning: eventfd(0, 0))
        let semaphore = EventFD(owning: eventfd(0, Int32(EFD_SEMAPHORE | EFD_NONBLOCK)))
        _ = try loop.add(blocking.number, tag: 1, delivery: .counted)
        _ = try loop.add(semaphore.number, tag: 2, delivery: .counted)
        #expect(try loop.drain().isEmpty)
        try blocking.signal(5)
        try semaphore.signal(3)
        let events = try loop.drain()
        #expect(events.filter { $0.tag == 1 }.map(\.count) == [5])
        #expect(events.filter { $0.tag == 2 }.map(\.count) == [1, 1, 1])
    }

    @Test("a full table refuses with ENOSPC, and room says so", arguments: RingTier.allCases)
    func full(tier: RingTier) throws {
        var loop = try makeLoop(tier) { $0.capacity = 2 }
        let eventfd = try EventFD()
        let first = try loop.add(eventfd.number, tag: 1)
        _ = try loop.add(eventfd.number, tag: 2)
        #expect(loop.room == 0)
        #expect(throws: RingError.self) { try loop.add(eventfd.number, tag: 3) }
        try loop.remove(first)
        #expect(loop.room == 1)
        // The place is free again when the kernel has let go of it.
        _ = try loop.drain()
        _ = try loop.add(eventfd.number, tag: 3)
        #expect(loop.room == 0)
    }

    @Test("options out of range are refused with EINVAL")
    func badOptions() {
        for adjust: (inout LoopOptions) -> Void in [
            { $0.capacity = 0 }, { $0.capacity = 32769 }, { $0.timers = -1 }, { $0.timers = 65537 },
            { $0.completions = -1 }, { $0.completions = 65537 },
        ] {
            var options = LoopOptions()
            adjust(&options)
            #expect(errno(of: { () throws(RingError) in _ = try EventLoop(options) }) == EINVAL)
        }
    }
}

/// An eventfd that an array can hold.
final class EventFDBox: Sendable {
    private let eventfd: EventFD
    init() throws { eventfd = try EventFD() }
    var number: Int32 { eventfd.number }
    func signal(_ count: UInt64 = 1) { try? eventfd.signal(count) }
    func take() -> UInt64 { (try? eventfd.take()) ?? 0 }
    func peek() -> UInt64 { (try? eventfd.peek()) ?? 0 }
}
