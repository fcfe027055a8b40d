import CKernel
import EventRing
import Glibc
import Testing

@Suite("waiting", .hangLimit)
struct WaitingTests {
    static let modes: [WaitMode] = [.block, .spin, .adaptive]

    @Test("a wait ends when its time is up, and not before", arguments: RingTier.allCases, modes)
    func timeout(tier: RingTier, waiting: WaitMode) throws {
        var loop = try makeLoop(tier) { $0.waiting = waiting }
        let eventfd = try EventFD()
        _ = try loop.add(eventfd.number, tag: 1)
        #expect(try loop.drain().isEmpty)
        for nanoseconds in [1, 1000, 300_000, 2_000_000] as [UInt64] {
            // Less a thousandth: the spinning wait measures with the cycle counter, which is calibrated that well.
            // More than once: the kernel takes a ring down later, and interrupts the threads that used it then, which
            // ends an epoll_wait as a signal does.
            var elapsed: UInt64 = 0
            for _ in 0..<5 where elapsed < nanoseconds - nanoseconds / 1000 {
                let start = irqmux_monotonic_ns()
                try loop.wait(timeout: nanoseconds)
                elapsed = irqmux_monotonic_ns() - start
                #expect(loop.next() == nil)
            }
            #expect(elapsed >= nanoseconds - nanoseconds / 1000)
        }
    }

    @Test(
        "a wait without end, or of centuries, ends with the signal", arguments: RingTier.allCases,
        modes + [.adaptive(limit: .max), .adaptive(limit: 0)])
    func farTimeouts(tier: RingTier, waiting: WaitMode) throws {
        var loop = try makeLoop(tier) { $0.waiting = waiting }
        let eventfd = try EventFDBox()
        _ = try loop.add(eventfd.number, tag: 1)
        #expect(try loop.drain().isEmpty)
        for timeout in [UInt64.max, UInt64.max - 1, 1 << 63, 1 << 60] as [UInt64] {
            for _ in 0..<3 {
                let thread = TestThread {
                    usleep(300)
                    eventfd.signal()
                }
                var events = 0
                var waits = 0
                while events == 0 {
                    try loop.wait(timeout: timeout)
                    waits += 1
                    while loop.next() != nil { events += 1 }
                }
                thread.join()
                #expect(waits < 10)
            }
        }
    }

    @Test("a signal handler ends a blocking wait without an error", arguments: RingTier.allCases)
    func interrupted(tier: RingTier) throws {
        var action = sigaction()
        // SAFETY: the structure is valid for the call; the handler does nothing.
        unsafe action.__sigaction_handler.sa_handler = { _ in }
        _ = unsafe sigaction(SIGUSR2, &action, nil)
        let box = LoopBox(try makeLoop(tier))
        let returned = Flag()
        let thread = TestThread {
            // Threads of a dispatch queue block every signal, and hand that on to those they start.
            var signals = sigset_t()
            // SAFETY: the set is valid for the calls.
            _ = unsafe sigaddset(&signals, SIGUSR2)
            _ = unsafe pthread_sigmask(SIG_UNBLOCK, &signals, nil)
            box.with { loop in
                #expect(errno(of: { () throws(RingError) in try loop.wait() }) == 0)
                #expect(loop.next() == nil)
            }
            returned.set()
        }
        eventually {
            pthread_kill(thread.handle, SIGUSR2)
            return returned.isSet
        }
        thread.join()
    }

    @Test("changing how to wait loses nothing", arguments: RingTier.allCases)
    func changeMode(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let eventfds = try (0..<2).map { _ in try EventFDBox() }
        for tag in 0..<2 { _ = try loop.add(eventfds[tag].number, tag: UInt64(tag), delivery: .counted) }
        var sum: UInt64 = 0
        for round in 0..<300 {
            loop.waitMode = Self.modes[round % 3]
            for eventfd in eventfds { eventfd.signal() }
            try loop.wait(timeout: 100_000)
            while let event = loop.next() { sum += event.count }
        }
        sum += try loop.drain().reduce(0) { $0 + $1.count }
        #expect(sum == 600)
    }

    @Test("adaptive waiting counts hits and misses, and sleeps after a miss", arguments: RingTier.allCases)
    func adaptive(tier: RingTier) throws {
        var loop = try makeLoop(tier) { $0.waiting = .adaptive(limit: 100_000) }
        let eventfd = try EventFD()
        _ = try loop.add(eventfd.number, tag: 1)
        _ = try loop.drain()
        for _ in 0..<5 { try loop.wait(timeout: 3_000_000) }
        try loop.wait(timeout: 0)
        let missed = loop.remote.statistics
        #expect(missed.spinMisses == 5)
        #expect(missed.spinHits == 0)
        #expect(missed.sleeps == 5)
        for _ in 0..<5 {
            try eventfd.signal()
            try loop.wait(timeout: 3_000_000)
            while loop.next() != nil {}
        }
        try loop.wait(timeout: 0)
        let hit = loop.remote.statistics
        #expect(hit.spinHits + hit.sleeps - missed.sleeps <= 5)
        #expect(hit.spinMisses == 5)
    }

    @Test("a spinning loop never sleeps, a blocking one never spins", arguments: RingTier.allCases)
    func modesAreDistinct(tier: RingTier) throws {
        for waiting in [WaitMode.block, .spin] {
            var loop = try makeLoop(tier) { $0.waiting = waiting }
            try loop.wait(timeout: 1_000_000)
            try loop.wait(timeout: 0)
            let statistics = loop.remote.statistics
            #expect(statistics.sleeps == (waiting == .block ? 1 : 0))
            #expect(statistics.spinHits + statistics.spinMisses == 0)
        }
    }

    // Linux since 6.13 does the deferred work of at most twenty requests a call (IO_LOCAL_TW_DEFAULT_MAX).
    @Test(
        "one system call fetches all that is ready, or twenty events of a deferred ring", arguments: RingTier.allCases)
    func oneCallABatch(tier: RingTier) throws {
        var loop = try makeLoop(tier) { $0.capacity = 200 }
        let eventfds = try (0..<200).map { _ in try EventFDBox() }
        for tag in 0..<200 { _ = try loop.add(eventfds[tag].number, tag: UInt64(tag)) }
        _ = try loop.drain()
        let before = loop.remote.statistics
        for _ in 0..<10 {
            for eventfd in eventfds { eventfd.signal() }
            var events = 0
            while events < 200 {
                try loop.wait()
                while loop.next() != nil { events += 1 }
            }
        }
        try loop.wait(timeout: 0)
        let after = loop.remote.statistics
        #expect(after.notifications - before.notifications == 2000)
        let calls: UInt64 = tier == .deferred ? 10 : 1
        #expect(after.systemCalls - before.systemCalls <= 10 * calls + 2)
        #expect(10...10 * calls ~= after.batches - before.batches)
    }
}
