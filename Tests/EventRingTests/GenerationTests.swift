import EventRing
import Glibc
import Synchronization
import Testing

@Suite("generations: what was removed is never heard of again", .hangLimit)
struct GenerationTests {
    static let deliveries: [Delivery] = [.edge, .counted, .acknowledged]

    @Test(
        "an event of another source, queued in the batch, is not delivered after its removal",
        arguments: RingTier.allCases, deliveries)
    func removeOther(tier: RingTier, delivery: Delivery) throws {
        var loop = try makeLoop(tier)
        let eventfds = try (0..<8).map { _ in try EventFDBox() }
        var sources: [SourceID] = []
        for tag in 0..<8 {
            sources.append(try loop.add(eventfds[tag].number, tag: UInt64(tag), delivery: delivery))
        }
        #expect(try loop.drain().isEmpty)
        for eventfd in eventfds { eventfd.signal() }
        var removed = false
        let events = try loop.drain { event, loop in
            if removed { return }
            removed = true
            for source in sources where source != event.source { try? loop.remove(source) }
        }
        #expect(events.count == 1)
        #expect(loop.room == 63)
    }

    @Test("a handler may remove its own source", arguments: RingTier.allCases, deliveries)
    func removeOwn(tier: RingTier, delivery: Delivery) throws {
        var loop = try makeLoop(tier)
        let eventfd = try EventFD()
        _ = try loop.add(eventfd.number, tag: 1, delivery: delivery)
        try eventfd.signal()
        let events = try loop.drain { event, loop in
            #expect(errno(of: { () throws(RingError) in try loop.remove(event.source) }) == 0)
            #expect(errno(of: { () throws(RingError) in try loop.remove(event.source) }) == ENOENT)
            try? eventfd.signal()
        }
        #expect(events.count == 1)
        #expect(loop.room == 64)
    }

    @Test(
        "a place used again does not inherit what was queued for its last owner", arguments: RingTier.allCases,
        deliveries)
    func samePlaceSameBatch(tier: RingTier, delivery: Delivery) throws {
        var loop = try makeLoop(tier) { $0.capacity = 2 }
        let fresh = try EventFD()
        for round in 0..<50 {
            let first = try EventFD()
            let second = try EventFD()
            var sources = [try loop.add(first.number, tag: 1, delivery: delivery)]
            sources.append(try loop.add(second.number, tag: 2, delivery: delivery))
            #expect(try loop.drain().isEmpty)
            try first.signal()
            try second.signal()
            var added: [SourceID] = []
            let events = try loop.drain { event, loop in
                if event.tag > 2 { return }
                for source in sources { try? loop.remove(source) }
                // Both places are taken until the kernel has let go: whichever comes free is used at once.
                if let source = try? loop.add(fresh.number, tag: 100, delivery: delivery) { added.append(source) }
            }
            #expect(events.map(\.tag).filter { $0 == 100 }.isEmpty, "round \(round)")
            #expect(events.count == 1)
            for source in added { try loop.remove(source) }
            #expect(try loop.drain().isEmpty)
            #expect(loop.room == 2)
        }
    }

    @Test("the same eventfd can be removed and added again at once", arguments: RingTier.allCases, deliveries)
    func addAgain(tier: RingTier, delivery: Delivery) throws {
        var loop = try makeLoop(tier)
        let eventfd = try EventFD()
        var source = try loop.add(eventfd.number, tag: 0, delivery: delivery)
        for tag in 1...20 as ClosedRange<UInt64> {
            if tag % 2 == 0 { _ = try loop.drain() }
            try loop.remove(source)
            source = try loop.add(eventfd.number, tag: tag, delivery: delivery)
        }
        _ = try loop.drain()
        try eventfd.signal()
        let events = try loop.drain()
        #expect(events.map(\.tag) == [20])
        #expect(loop.room == 63)
    }

    @Test(
        "removal takes no signal out of the eventfd that it did not hand out", arguments: RingTier.allCases, deliveries)
    func removalKeepsSignals(tier: RingTier, delivery: Delivery) throws {
        var loop = try makeLoop(tier)
        let kept = try EventFD()
        let other = try EventFD()
        let source = try loop.add(kept.number, tag: 1, delivery: delivery)
        _ = try loop.add(other.number, tag: 2)
        #expect(try loop.drain().isEmpty)
        try other.signal()
        try kept.signal(3)
        try loop.wait(timeout: 0)
        try loop.remove(source)
        #expect(try loop.drain().map(\.tag) == [2])
        #expect(try kept.peek() == 3)
    }

    @Test("an identity is refused for ever once its source is removed", arguments: RingTier.allCases)
    func oldIdentity(tier: RingTier) throws {
        var loop = try makeLoop(tier) { $0.capacity = 1 }
        let eventfd = try EventFD()
        let old = try loop.add(eventfd.number, tag: 1)
        try loop.remove(old)
        _ = try loop.drain()
        let new = try loop.add(eventfd.number, tag: 2)
        #expect(old != new)
        #expect(errno(of: { () throws(RingError) in try loop.remove(old) }) == ENOENT)
        #expect(errno(of: { () throws(RingError) in try loop.arm(old) }) == ENOENT)
        #expect(errno(of: { () throws(RingError) in try loop.disarm(old) }) == ENOENT)
        #expect(errno(of: { () throws(RingError) in _ = try loop.counts(of: old) }) == ENOENT)
        try loop.disarm(new)
    }

    @Test(
        "places of sources that were removed before the kernel heard of them are free at once",
        arguments: RingTier.allCases)
    func reclaimed(tier: RingTier) throws {
        var loop = try makeLoop(tier) { $0.capacity = 8 }
        let eventfd = try EventFD()
        let kept = try loop.add(eventfd.number, tag: 1)
        for _ in 0..<5 {
            let added = try (0..<7).map { try loop.add(eventfd.number, tag: UInt64(10 + $0)) }
            #expect(errno(of: { () throws(RingError) in _ = try loop.add(eventfd.number, tag: 99) }) == ENOSPC)
            for source in added { try loop.remove(source) }
        }
        try eventfd.signal()
        #expect(try loop.drain().map(\.tag) == [1], "the one that stayed was not forgotten")
        #expect(loop.room == 7)
        try loop.remove(kept)
    }

    @Test("a source added and removed before the kernel heard of it leaves no trace", arguments: RingTier.allCases)
    func neverArmed(tier: RingTier) throws {
        var loop = try makeLoop(tier) { $0.capacity = 4 }
        let eventfd = try EventFD(initial: 1)
        for _ in 0..<4 {
            for _ in 0..<4 {
                let source = try loop.add(eventfd.number, tag: 1)
                try loop.disarm(source)
                try loop.arm(source)
                try loop.remove(source)
                if loop.room == 4 { _ = try loop.drain() }
            }
        }
        #expect(try loop.drain().isEmpty)
        #expect(loop.room == 4)
    }

    @Test(
        "a descriptor closed from outside while armed still reports: the kernel keeps the eventfd",
        arguments: RingTier.allCases, [WaitMode.block, .spin])
    func closedWhileArmed(tier: RingTier, waiting: WaitMode) throws {
        var loop = try makeLoop(tier) { $0.waiting = waiting }
        let eventfd = try EventFD()
        let listened = dup(eventfd.number)
        _ = try loop.add(listened, tag: 1)
        #expect(try loop.drain().isEmpty)
        close(listened)
        try eventfd.signal()
        #expect(try loop.collect(1).map(\.kind) == [.signal])
    }

    @Test(
        "a descriptor that is not open is refused, and one closed before arming fails", arguments: RingTier.allCases,
        [WaitMode.block, .spin])
    func closedBeforeArming(tier: RingTier, waiting: WaitMode) throws {
        var loop = try makeLoop(tier) { $0.waiting = waiting }
        #expect(errno(of: { () throws(RingError) in _ = try loop.add(-1, tag: 1) }) == EBADF)
        let high = duplicateFarAway(try EventFD())
        let source = try loop.add(high, tag: 9)
        close(high)
        let events = try loop.collect(1)
        #expect(events.map(\.kind) == [.failed(errno: EBADF)])
        #expect(events.map(\.source) == [source])
        #expect(try loop.drain().isEmpty)
        try loop.remove(source)
        #expect(loop.room == 64)
    }
}

/// Duplicates `eventfd` to a high number that no other test is given, not even after it was closed.
private func duplicateFarAway(_ eventfd: borrowing EventFD) -> Int32 {
    let least = nextFarAway.add(1, ordering: .relaxed).newValue
    return fcntl(eventfd.number, F_DUPFD_CLOEXEC, Int32(least))
}

private let nextFarAway = Atomic<Int>(600)
