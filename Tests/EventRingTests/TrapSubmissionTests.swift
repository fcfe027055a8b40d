import CKernel
import Glibc
import Testing

@testable import EventRing

// The pitfall register, traps about reading, submitting and threads.
@Suite("traps: reads, submissions, threads", .hangLimit)
struct TrapSubmissionTests {
    @Test(
        "trap 6: a READ of an eventfd is exactly eight bytes, and an empty one waits instead of failing",
        arguments: [true, false])
    func eightBytes(nonblocking: Bool) throws {
        let listened = EventFD(owning: eventfd(0, nonblocking ? Int32(EFD_NONBLOCK) : 0))
        let ring = try KernelRing()
        try listened.signal(3)
        ring.read(listened.number, token: 1, length: 4)
        #expect(try ring.answer(to: 1).result == -EINVAL)
        ring.read(listened.number, token: 2)
        #expect(try ring.answer(to: 2).result == 8)
        #expect(ring.word(2) == 3)
        ring.read(listened.number, token: 3)
        #expect(ring.fetch().isEmpty)
        try listened.signal(5)
        #expect(try ring.answer(to: 3).result == 8)
        #expect(ring.word(3) == 5)
    }

    @Test(
        "trap 9: a submission may be cut short by a bad request; nothing of ours is forgotten",
        arguments: RingTier.allCases)
    func shortSubmission(tier: RingTier) throws {
        let eventfd = try EventFD(initial: 1)
        let ring = try KernelRing(flags: 0)
        ring.nonsense(token: 1)
        ring.poll(eventfd.number, token: 2)
        #expect(ring.submit() < 2)
        #expect(ring.unsubmitted == 1)
        ring.submit()
        #expect(ring.fetch().contains { $0.token == 2 && $0.result == POLLIN })

        // More sources than the submission queue holds.
        var loop = try makeLoop(tier) {
            $0.capacity = 300
            $0.completions = 8
        }
        for tag in 0..<300 as Range<UInt64> { _ = try loop.add(eventfd.number, tag: tag) }
        #expect(Set(try loop.drain().map(\.tag)) == Set(0..<300))
    }

    @Test("trap 10: completions that overflowed are reaped before more is submitted", arguments: RingTier.allCases)
    func reapFirst(tier: RingTier) throws {
        let eventfds = try (0..<64).map { _ in try EventFDBox() }
        for eventfd in eventfds { eventfd.signal() }
        var loop = try makeLoop(tier) {
            $0.capacity = 64
            $0.completions = 2
        }
        var added = 0
        while added < 8 {
            _ = try loop.add(eventfds[added].number, tag: UInt64(added))
            added += 1
        }
        let events = try loop.drain { _, loop in
            if added < 64 {
                _ = try? loop.add(eventfds[added].number, tag: UInt64(added))
                added += 1
            }
        }
        #expect(Set(events.map(\.tag)) == Set(0..<64))
    }

    @Test(
        "trap 11: waiting for more than one completion delays the first; the loop waits for one",
        arguments: RingTier.allCases)
    func waitsForOne(tier: RingTier) throws {
        let eventfd = try EventFD()
        let ring = try KernelRing()
        ring.poll(eventfd.number, token: 1)
        ring.enter()
        try eventfd.signal()
        let start = irqmux_monotonic_ns()
        _ = ring.wait(for: 2, milliseconds: 5)
        #expect(irqmux_monotonic_ns() - start >= 5_000_000)

        var loop = try makeLoop(tier)
        let others = try (0..<10).map { _ in try EventFDBox() }
        for other in others { _ = try loop.add(other.number, tag: 2) }
        _ = try loop.drain()
        let one = others[5]
        let thread = TestThread {
            usleep(2000)
            one.signal()
        }
        var events = 0
        while events == 0 {
            try loop.wait()
            while loop.next() != nil { events += 1 }
        }
        thread.join()
        #expect(events == 1)
    }

    @Test("trap 13: what a foreign thread wrote stays queued after EEXIST and is the owner's next submission")
    func foreignSubmission() throws {
        let box = RingBox(try KernelRing())
        let ring = box.ring
        ring.noOperation(token: 1)
        ring.submit()
        TestThread {
            box.ring.noOperation(token: 2)
            #expect(box.ring.submit() == -EEXIST)
        }.join()
        ring.noOperation(token: 3)
        #expect(ring.submit() == 2)
        #expect(ring.fetch().map(\.token) == [1, 2, 3])
    }

    @Test("trap 13b: a foreign thread's wait writes nothing into the loop's ring", arguments: RingTier.allCases)
    func foreignWaitWritesNothing(tier: RingTier) throws {
        let box = LoopBox(try makeLoop(tier))
        let eventfd = try EventFD()
        try box.with { loop in
            #expect(try loop.drain().isEmpty)
            _ = try loop.add(eventfd.number, tag: 1)
        }
        TestThread {
            box.with { loop in
                #expect(errno(of: { () throws(RingError) in try loop.wait(timeout: 0) }) == EPERM)
                #expect(loop.backend.unsubmitted == 0)
            }
        }.join()
        try eventfd.signal()
        #expect(try box.with { try $0.drain().count } == 1)
    }

    @Test(
        "trap 14: the kernel may count a sleeping ring as waiting for a disk; the loop calls it idle",
        arguments: RingTier.allCases)
    func idleIsIdle(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let eventfd = try EventFD()
        _ = try loop.add(eventfd.number, tag: 1)
        var sleeps: UInt64 = 0
        let start = irqmux_monotonic_ns()
        while irqmux_monotonic_ns() - start < 20_000_000 {
            try loop.wait(timeout: 20_000_000)
            sleeps += 1
        }
        try loop.wait(timeout: 0)
        let statistics = loop.remote.statistics
        #expect(statistics.idleNanoseconds >= 15_000_000)
        #expect(statistics.sleeps == sleeps)
    }

    @Test("trap 16: counts stay exact without provided buffers", arguments: RingTier.allCases)
    func exactWithoutBuffers(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let eventfds = try (0..<8).map { _ in try EventFDBox() }
        for eventfd in eventfds { _ = try loop.add(eventfd.number, tag: 1, delivery: .counted) }
        var sum: UInt64 = 0
        var signalled: UInt64 = 0
        for round in 0..<200 as Range<UInt64> {
            for eventfd in eventfds { eventfd.signal(round % 7 + 1) }
            signalled += (round % 7 + 1) * 8
            sum += try loop.drain().reduce(0) { $0 + $1.count }
        }
        #expect(sum == signalled)
    }

    @Test("trap 17: the kernel does not signal within a signal: a ring's own notification comes all the same")
    func nestedSignal() throws {
        let eventfd = try EventFD()
        let notifier = try EventFD()
        let ring = try KernelRing(flags: 0)
        #expect(ring.register(eventfd: notifier.number) == 0)
        ring.poll(eventfd.number, token: 1)
        ring.enter()
        _ = try notifier.take()
        try eventfd.signal()
        eventually { (try? notifier.take()) ?? 0 > 0 }
    }

    @Test(
        "trap 17b: two eventfds that answer each other do so through handlers, as often as wanted",
        arguments: RingTier.allCases)
    func pingPong(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let eventfds = try (0..<2).map { _ in try EventFDBox() }
        for tag in 0..<2 { _ = try loop.add(eventfds[tag].number, tag: UInt64(tag)) }
        var recorder = Recorder(stopAfter: 1000)
        recorder.reaction = { event, _ in eventfds[1 - Int(event.tag)].signal() }
        eventfds[0].signal()
        try loop.run(&recorder)
        #expect(recorder.tags == (0..<1000).map { UInt64($0 % 2) })
    }
}

/// Shows a ring to a second thread: what must not be done, and what it does.
private final class RingBox: @unchecked Sendable {
    let ring: KernelRing
    init(_ ring: KernelRing) { self.ring = ring }
}
