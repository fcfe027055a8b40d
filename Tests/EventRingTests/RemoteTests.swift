import EventRing
import Glibc
import Synchronization
import Testing

@Suite("other threads", .hangLimit)
struct RemoteTests {
    /// Runs `loop` on a thread of its own until `body` has done what it wants.
    private func running(
        _ loop: consuming EventLoop, _ handler: Recorder = Recorder(), _ body: (LoopRemote) throws -> Void
    ) throws -> Recorder {
        let remote = loop.remote
        let box = LoopBox(loop)
        let result = Mutex<Recorder?>(nil)
        let started = SendableRecorder(handler)
        let thread = TestThread {
            var recorder = started.recorder
            box.with { loop in #expect(errno(of: { () throws(RingError) in try loop.run(&recorder) }) == 0) }
            let last = SendableRecorder(recorder)
            result.withLock { $0 = last.recorder }
        }
        eventually { (try? remote.perform { _ in true }) == true }
        defer {
            remote.stop()
            thread.join()
        }
        try body(remote)
        remote.stop()
        thread.join()
        return result.withLock { $0! }
    }

    @Test(
        "add, remove and perform from another thread", arguments: RingTier.allCases, [WaitMode.block, .spin, .adaptive])
    func addRemovePerform(tier: RingTier, waiting: WaitMode) throws {
        let eventfd = try EventFD()
        var handler = Recorder()
        let counting = Counting()
        handler.reaction = { _, _ in counting.add() }
        let recorder = try running(try makeLoop(tier) { $0.waiting = waiting }, handler) { remote in
            let source = try remote.add(eventfd.number, tag: 3, delivery: .counted)
            try eventfd.signal(2)
            eventually { counting.count == 1 }
            #expect(try remote.perform { $0.room } == 63)
            try remote.remove(source)
            // From here on no handler is called for it.
            let before = counting.count
            try eventfd.signal(1)
            for _ in 0..<5 { _ = try remote.perform { _ in } }
            #expect(counting.count == before)
            #expect(errno(of: { () throws(RingError) in try remote.remove(source) }) == ENOENT)
            #expect(errno(of: { () throws(RingError) in _ = try remote.add(-1, tag: 1) }) == EBADF)
        }
        #expect(recorder.events.map(\.count) == [2])
    }

    @Test("a command from the loop's own thread is refused with EDEADLK", arguments: RingTier.allCases)
    func ownThread(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let remote = loop.remote
        let eventfd = try EventFD(initial: 1)
        _ = try loop.add(eventfd.number, tag: 1)
        var recorder = Recorder(stopAfter: 1)
        recorder.reaction = { _, _ in
            #expect(errno(of: { () throws(RingError) in try remote.perform { _ in } }) == EDEADLK)
        }
        try loop.run(&recorder)
        #expect(recorder.events.count == 1)
    }

    @Test(
        "a loop that is not running refuses with EAGAIN, and one that is gone with ECANCELED",
        arguments: RingTier.allCases)
    func notRunning(tier: RingTier) throws {
        let box = LoopBox(try makeLoop(tier))
        let remote = box.with { $0.remote }
        #expect(errno(of: { () throws(RingError) in try remote.perform { _ in } }) == EAGAIN)
        try box.with { loop in
            remote.stop()
            var recorder = Recorder()
            try loop.run(&recorder)
        }
        #expect(errno(of: { () throws(RingError) in try remote.perform { _ in } }) == EAGAIN)
        box.destroy()
        #expect(errno(of: { () throws(RingError) in try remote.perform { _ in } }) == ECANCELED)
        remote.stop()
        remote.wakeUp()
        _ = remote.statistics
    }

    @Test("a loop that runs a second time takes commands again", arguments: RingTier.allCases)
    func secondRun(tier: RingTier) throws {
        let box = LoopBox(try makeLoop(tier))
        let remote = box.with { $0.remote }
        let thread = TestThread {
            for _ in 0..<3 {
                var recorder = Recorder()
                box.with { loop in try? loop.run(&recorder) }
            }
        }
        for _ in 0..<3 {
            eventually { (try? remote.perform { loop in loop.stop() }) != nil }
        }
        thread.join()
    }

    @Test("stop before run is remembered", arguments: RingTier.allCases)
    func stopBeforeRun(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let eventfd = try EventFD(initial: 1)
        _ = try loop.add(eventfd.number, tag: 1)
        loop.remote.stop()
        var recorder = Recorder()
        try loop.run(&recorder)
        #expect(recorder.events.isEmpty)
        recorder.stopAfter = 1
        try loop.run(&recorder)
        #expect(recorder.events.count == 1)
    }

    @Test("stop from a handler leaves the rest of the batch for the next run", arguments: RingTier.allCases)
    func stopFromHandler(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let eventfds = try (0..<10).map { _ in try EventFDBox() }
        for tag in 0..<10 { _ = try loop.add(eventfds[tag].number, tag: UInt64(tag)) }
        for eventfd in eventfds { eventfd.signal() }
        var recorder = Recorder(stopAfter: 1)
        for round in 1...10 {
            recorder.stopAfter = round
            try loop.run(&recorder)
            #expect(recorder.events.count == round)
        }
        #expect(recorder.tags.sorted() == (0..<10).map { UInt64($0) })
        // All of them have been counted, also those after which the loop stopped.
        #expect(loop.remote.statistics.notifications == 10)
    }

    @Test("a poster is never left waiting when the loop stops beneath it", arguments: RingTier.allCases)
    func stopBeneathPosters(tier: RingTier) throws {
        let box = LoopBox(try makeLoop(tier))
        let remote = box.with { $0.remote }
        let ended = Flag()
        let posters = (0..<2).map { _ in
            TestThread {
                while !ended.isSet {
                    let error = errno(of: { () throws(RingError) in try remote.perform { _ in } })
                    if error != 0 && error != EAGAIN { Issue.record("errno \(error)") }
                }
            }
        }
        TestThread {
            for _ in 0..<300 {
                remote.stop()
                var recorder = Recorder()
                box.with { loop in try? loop.run(&recorder) }
            }
        }.join()
        // The loop lives, is stopped, and will not run again: the posters must come back by themselves.
        ended.set()
        for poster in posters { poster.join() }
        #expect(errno(of: { () throws(RingError) in try remote.perform { _ in } }) == EAGAIN)
    }

    @Test("destruction refuses the commands that are waiting", arguments: RingTier.allCases)
    func destructionRefuses(tier: RingTier) throws {
        let box = LoopBox(try makeLoop(tier))
        let remote = box.with { $0.remote }
        try box.with { try $0.wait(timeout: 0) }
        // Bound and between two waits: commands wait for the next one, which never comes.
        let results = Mutex<[Int32]>([])
        let posters = (0..<3).map { _ in
            TestThread {
                let error = errno(of: { () throws(RingError) in try remote.perform { _ in } })
                results.withLock { $0.append(error) }
            }
        }
        usleep(20_000)
        box.destroy()
        for poster in posters { poster.join() }
        #expect(results.withLock { $0 } == [ECANCELED, ECANCELED, ECANCELED])
    }

    @Test("a storm of a hundred thousand wake-ups is few completions", arguments: RingTier.allCases)
    func wakeUpStorm(tier: RingTier) throws {
        let loop = try makeLoop(tier)
        let remote = loop.remote
        _ = try running(loop) { (remote) throws in
            let storms = (0..<2).map { _ in TestThread { for _ in 0..<50_000 { remote.wakeUp() } } }
            for storm in storms { storm.join() }
            #expect(try remote.perform { _ in 42 } == 42)
        }
        // One an attempt to sleep at most, and most wishes come while the loop is awake. Without the handshake each of
        // them would be a completion.
        let statistics = remote.statistics
        #expect(statistics.batches <= statistics.systemCalls)
        #expect(statistics.batches < 50_000)
        #expect(statistics.notifications == 0)
    }

    @Test("commands are carried out under a storm of signals", arguments: RingTier.allCases, [WaitMode.block, .spin])
    func commandsUnderStorm(tier: RingTier, waiting: WaitMode) throws {
        var loop = try makeLoop(tier) { $0.waiting = waiting }
        let eventfds = try (0..<4).map { _ in try EventFDBox() }
        for tag in 0..<4 { _ = try loop.add(eventfds[tag].number, tag: UInt64(tag)) }
        var handler = Recorder()
        // Every handler signals: on tiers whose completions come by themselves a batch must still end.
        handler.reaction = { event, _ in eventfds[Int(event.tag)].signal() }
        for eventfd in eventfds { eventfd.signal() }
        _ = try running(loop, handler) { (remote) throws in
            for value in 0..<20 { #expect(try remote.perform { _ in value } == value) }
        }
    }

    @Test("handlers that signal for ever do not keep timers waiting", arguments: RingTier.allCases)
    func timersUnderStorm(tier: RingTier) throws {
        var loop = try makeLoop(tier)
        let eventfds = try (0..<4).map { _ in try EventFDBox() }
        for tag in 0..<4 { _ = try loop.add(eventfds[tag].number, tag: UInt64(tag)) }
        _ = try loop.addTimer(after: 2_000_000, tag: 9)
        var recorder = Recorder(stopAfter: 2_000_000)
        recorder.reaction = { event, loop in
            if event.kind == .timer { loop.stop() } else { eventfds[Int(event.tag)].signal() }
        }
        for eventfd in eventfds { eventfd.signal() }
        try loop.run(&recorder)
        #expect(recorder.events.last?.kind == .timer)
    }

    @Test("a loop may be destroyed on another thread than its own", arguments: RingTier.allCases)
    func destroyedElsewhere(tier: RingTier) throws {
        for _ in 0..<20 {
            let box = LoopBox(try makeLoop(tier))
            let eventfd = try EventFD()
            TestThread {
                box.with { loop in
                    _ = try? loop.add(eventfd.number, tag: 1, delivery: .counted)
                    _ = try? loop.drain()
                }
            }.join()
            // The new thread has a loop too, in the same place of its own table of registered rings.
            let other = LoopBox(try makeLoop(tier))
            let failure = Atomic<Int32>(0)
            let thread = TestThread {
                other.with { loop in _ = try? loop.drain() }
                box.destroy()
                other.with { loop in
                    failure.store(errno(of: { () throws(RingError) in try loop.wait(timeout: 0) }), ordering: .relaxed)
                }
                other.destroy()
            }
            thread.join()
            #expect(failure.load(ordering: .relaxed) == 0)
        }
    }

    @Test(
        "a foreign thread's wait is refused with EPERM, and the loop goes on", arguments: RingTier.allCases,
        [true, false])
    func foreignWait(tier: RingTier, waiting: Bool) throws {
        let box = LoopBox(try makeLoop(tier))
        let eventfd = try EventFD()
        try box.with { loop in
            _ = try loop.add(eventfd.number, tag: 1)
            #expect(try loop.drain().isEmpty)
        }
        TestThread {
            box.with { loop in
                let error = errno(of: { () throws(RingError) in try loop.wait(timeout: waiting ? 1_000_000 : 0) })
                #expect(error == EPERM)
            }
        }.join()
        try eventfd.signal()
        #expect(try box.with { try $0.drain().count } == 1)
    }
}

/// Carries a recorder, whose reaction is not Sendable, to the one thread that uses it.
struct SendableRecorder: @unchecked Sendable {
    let recorder: Recorder
    init(_ recorder: Recorder) { self.recorder = recorder }
}

/// A number that one thread raises and others read.
final class Counting: Sendable {
    private let value = Atomic<Int>(0)
    var count: Int { value.load(ordering: .acquiring) }
    func add() { value.add(1, ordering: .releasing) }
}
