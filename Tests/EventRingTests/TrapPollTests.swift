import CKernel
import EventRing
import Glibc
import Testing

// The pitfall register, traps about polls: what the kernel does, and that the loop copes.
@Suite("traps: polls", .hangLimit)
struct TrapPollTests {
    @Test("trap 1: a multishot poll dies on CQ overflow; the loop arms it again", arguments: RingTier.allCases)
    func overflow(tier: RingTier) throws {
        let eventfds = try (0..<6).map { _ in try EventFDBox() }
        let ring = try KernelRing(entries: 4, completions: 4)
        for token in 0..<6 {
            ring.poll(eventfds[token].number, token: UInt64(token))
            ring.enter()
        }
        for eventfd in eventfds { eventfd.signal() }
        ring.enter()
        #expect(ring.overflowed)
        let answers = ring.fetch() + ring.fetch()
        #expect(answers.count == 6)
        let dead = answers.filter { !$0.more }.map(\.token)
        #expect(dead.count == 2)
        for eventfd in eventfds { eventfd.signal() }
        #expect(Set(ring.fetch().map(\.token)).isDisjoint(with: dead))

        var loop = try makeLoop(tier) {
            $0.capacity = 6
            $0.completions = 4
        }
        for tag in 0..<6 { _ = try loop.add(eventfds[tag].number, tag: UInt64(tag)) }
        _ = try loop.drain()
        for _ in 0..<10 {
            for eventfd in eventfds { eventfd.signal() }
            #expect(Set(try loop.drain().map(\.tag)) == Set(0..<6))
        }
    }

    @Test("trap 2: a notification may find an empty counter, so reading never blocks", arguments: RingTier.allCases)
    func spuriousNotification(tier: RingTier) throws {
        let eventfd = try EventFD()
        #expect(irqmux_fd_flags(eventfd.number) & O_NONBLOCK != 0)
        var loop = try makeLoop(tier)
        _ = try loop.add(eventfd.number, tag: 1)
        #expect(try loop.drain().isEmpty)
        try eventfd.signal()
        try loop.wait(timeout: 0)
        #expect(try eventfd.take() == 1)
        // The event is under way although the counter is empty by now.
        #expect(try loop.drain().count == 1)
        #expect(try eventfd.take() == 0)
    }

    @Test("trap 2b: reading an armed eventfd may swallow its notification; looking at it by peek does not")
    func swallowed() throws {
        let eventfd = try EventFD()
        var loop = try makeLoop(.deferred)
        _ = try loop.add(eventfd.number, tag: 1)
        #expect(try loop.drain().isEmpty)
        // The kernel has queued its work. After one wake-up it remembers the event; after several it looks at the
        // counter again when the loop enters, and finds nothing.
        try eventfd.signal()
        try eventfd.signal()
        #expect(try eventfd.take() == 2)
        #expect(try loop.drain().isEmpty)
        try eventfd.signal()
        #expect(try eventfd.peek() == 1)
        #expect(try loop.drain().count == 1)
    }

    @Test(
        "trap 3: a poll that is added again without draining completes at once; the loop does not spin",
        arguments: RingTier.allCases)
    func noSpinning(tier: RingTier) throws {
        let eventfd = try EventFD(initial: 1)
        let ring = try KernelRing()
        for token in 0..<10 as Range<UInt64> {
            ring.poll(eventfd.number, token: token, multishot: false)
            #expect(try ring.answer(to: token).result == POLLIN)
        }
        var loop = try makeLoop(tier)
        _ = try loop.add(eventfd.number, tag: 1)
        var events = 0
        for _ in 0..<100 {
            try loop.wait(timeout: 0)
            while loop.next() != nil { events += 1 }
        }
        #expect(events == 1)
        #expect(try eventfd.peek() == 1)
    }

    @Test("trap 4: level-triggered polls are refused with EINVAL, and an update does not make a poll multishot")
    func levelAndUpdate() throws {
        let eventfd = try EventFD()
        let ring = try KernelRing()
        ring.poll(eventfd.number, token: 1, level: true)
        #expect(try ring.answer(to: 1).result == -EINVAL)
        ring.poll(eventfd.number, token: 2, multishot: false)
        #expect(ring.fetch().isEmpty)
        ring.updateToMultishot(2, token: 3)
        _ = ring.fetch()
        try eventfd.signal()
        _ = ring.fetch()
        try eventfd.signal()
        #expect(ring.fetch().filter { $0.token == 2 && $0.more }.isEmpty)
    }

    @Test("trap 5: what is linked behind a multishot poll waits for its end, so the loop links nothing")
    func linked() throws {
        let eventfd = try EventFD()
        let ring = try KernelRing()
        ring.poll(eventfd.number, token: 1, linked: true)
        ring.noOperation(token: 2)
        for _ in 0..<3 {
            try eventfd.signal()
            #expect(ring.fetch().filter { $0.token == 2 }.isEmpty)
        }
        ring.cancel(1, token: 3)
        let ended = ring.fetch() + ring.fetch()
        #expect(ended.contains { $0.token == 2 && $0.result == -ECANCELED })
    }

    @Test("trap 7: a poll of the ring's own notification eventfd is no storm; a loop listens to another loop's instead")
    func nestedWake() throws {
        let notifier = try EventFD()
        let eventfd = try EventFD()
        let ring = try KernelRing()
        #expect(ring.register(eventfd: notifier.number) == 0)
        ring.poll(notifier.number, token: 1)
        ring.poll(eventfd.number, token: 2)
        #expect(ring.fetch().isEmpty)
        try eventfd.signal()
        var answers = 0
        for _ in 0..<200 { answers += ring.fetch().count }
        #expect(1..<100 ~= answers)
    }

    @Test("trap 8: a poll of a ring's descriptor is always one-shot; an embedded loop's descriptor keeps telling")
    func ringDescriptor() throws {
        let eventfd = try EventFD()
        let inner = try KernelRing(flags: 0)
        let outer = try KernelRing()
        inner.poll(eventfd.number, token: 1)
        inner.enter()
        outer.poll(inner.descriptor, token: 2)
        #expect(outer.fetch().isEmpty)
        try eventfd.signal()
        eventually { inner.enter() >= 0 && outer.unsubmitted == 0 }
        var answers: [KernelRing.Answer] = []
        while answers.isEmpty { answers = outer.fetch() }
        #expect(answers.map(\.more) == [false])
    }

    @Test("trap 12: closing a descriptor does not end its request", arguments: RingTier.allCases)
    func closedIsNotCancelled(tier: RingTier) throws {
        let eventfd = try EventFD()
        let copy = dup(eventfd.number)
        let ring = try KernelRing()
        ring.poll(copy, token: 1)
        #expect(ring.fetch().isEmpty)
        close(copy)
        #expect(ring.fetch().isEmpty)
        try eventfd.signal()
        #expect(ring.fetch().map(\.result) == [Int32(POLLIN)])

        var loop = try makeLoop(tier)
        let second = dup(eventfd.number)
        let source = try loop.add(second, tag: 1)
        _ = try loop.drain()
        close(second)
        try eventfd.signal()
        #expect(try loop.drain().count == 1)
        try loop.remove(source)
        try eventfd.signal()
        #expect(try loop.drain().isEmpty)
        #expect(loop.room == 64)
    }

    @Test(
        "trap 15: a counter at its end is reported like any other", arguments: RingTier.allCases,
        [Delivery.edge, .counted])
    func fullCounter(tier: RingTier, delivery: Delivery) throws {
        let eventfd = try EventFD()
        var loop = try makeLoop(tier)
        _ = try loop.add(eventfd.number, tag: 1, delivery: delivery)
        #expect(try loop.drain().isEmpty)
        try eventfd.signal(.max - 1)
        // Full: this one is not added, and is no error, for a signal is waiting already.
        try eventfd.signal()
        let events = try loop.drain()
        #expect(!events.isEmpty)
        #expect(events.allSatisfy { $0.kind == .signal })
        if delivery == .counted { #expect(events.first?.count == UInt64.max - 1) }
    }

    @Test(
        "removing a poll that is firing answers EALREADY and leaves it armed; disarming still ends it",
        arguments: RingTier.allCases)
    func alreadyFiring(tier: RingTier) throws {
        let eventfd = try EventFD()
        let ring = try KernelRing()
        ring.poll(eventfd.number, token: 1)
        #expect(ring.fetch().isEmpty)
        try eventfd.signal()
        ring.removePoll(1, token: 2)
        let answers = ring.fetch() + ring.fetch()
        #expect(answers.first { $0.token == 2 }?.result == -EALREADY)
        #expect(answers.first { $0.token == 1 }?.more == true)

        var loop = try makeLoop(tier)
        let source = try loop.add(eventfd.number, tag: 1)
        _ = try loop.drain()
        for _ in 0..<20 {
            try loop.disarm(source)
            try eventfd.signal()
            #expect(try loop.drain().isEmpty)
            try loop.arm(source)
            #expect(try loop.drain().count == 1)
        }
    }
}
