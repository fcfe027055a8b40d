import EventRing
import Glibc
import Testing

@Suite("driven by another loop", .hangLimit)
struct EmbeddingTests {
    /// Those that an embedded loop can have.
    private static let tiers: [RingTier] = [.cooperative, .plain, .epoll]

    @Test("an embedded loop never has the deferred tier, whose notifications the kernel loses")
    func neverDeferred() throws {
        var options = LoopOptions()
        options.embedded = true
        #expect(try EventLoop(options).report.tier == .cooperative)
    }

    @Test("trap 7b: a deferred ring's notification eventfd is not told of every signal")
    func deferredNotification() throws {
        let eventfd = try EventFD()
        let notifier = try EventFD()
        let ring = try KernelRing()
        #expect(ring.register(eventfd: notifier.number) == 0)
        ring.poll(eventfd.number, token: 1)
        ring.enter()
        // Intermittent: a property of the kernel, which other versions need not have.
        withKnownIssue(isIntermittent: true) {
            for round in 1...3 {
                try eventfd.signal()
                #expect(readable(notifier.number, within: 200), "round \(round)")
                #expect(ring.fetch().count == 1)
                while try notifier.take() > 0 {}
            }
        }
    }

    /// Whether the descriptor is readable within `milliseconds`.
    private func readable(_ descriptor: Int32, within milliseconds: Int32) -> Bool {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        // SAFETY: one entry, valid for the call.
        return unsafe poll(&entry, 1, milliseconds) == 1
    }

    private func embedded(_ tier: RingTier) throws -> EventLoop { try makeLoop(tier) { $0.embedded = true } }

    @Test("a loop that is not embedded has no descriptor", arguments: tiers)
    func notEmbedded(tier: RingTier) throws {
        #expect(try makeLoop(tier).pollableDescriptor == -1)
    }

    @Test("the descriptor tells of each signal, and is quiet after processing", arguments: tiers)
    func tells(tier: RingTier) throws {
        var loop = try embedded(tier)
        let descriptor = loop.pollableDescriptor
        let eventfd = try EventFD()
        _ = try loop.add(eventfd.number, tag: 1)
        var recorder = Recorder()
        #expect(try loop.process(&recorder) == 0)
        for round in 1...50 {
            try eventfd.signal()
            try #require(readable(descriptor, within: 5000), "round \(round)")
            while recorder.events.count < round {
                try #require(readable(descriptor, within: 5000), "round \(round)")
                try loop.process(&recorder)
            }
            // Quiet, at the latest after a second look: the kernel's notification may come late for what was fetched.
            var looks = 0
            while readable(descriptor, within: 0), looks < 100 {
                #expect(try loop.process(&recorder) == 0)
                looks += 1
            }
            #expect(looks < 100)
        }
        #expect(recorder.events.count == 50)
    }

    @Test("signals of another thread reach a loop that sits in poll", arguments: tiers)
    func fromAnotherThread(tier: RingTier) throws {
        var loop = try embedded(tier)
        let eventfd = try EventFDBox()
        _ = try loop.add(eventfd.number, tag: 1, delivery: .counted)
        var recorder = Recorder()
        try loop.process(&recorder)
        let thread = TestThread {
            for _ in 0..<200 {
                eventfd.signal()
                usleep(50)
            }
        }
        while recorder.count < 200 {
            #expect(readable(loop.pollableDescriptor, within: 5000))
            try loop.process(&recorder)
        }
        thread.join()
        #expect(recorder.count == 200)
    }

    @Test("a remote command reaches a loop that sits in poll", arguments: tiers)
    func remoteCommand(tier: RingTier) throws {
        var loop = try embedded(tier)
        let remote = loop.remote
        var recorder = Recorder()
        try loop.process(&recorder)
        let done = Flag()
        let thread = TestThread {
            for value in 0..<200 { #expect((try? remote.perform { _ in value }) == value) }
            done.set()
        }
        while !done.isSet {
            if readable(loop.pollableDescriptor, within: 100) { try loop.process(&recorder) }
        }
        thread.join()
        try loop.process(&recorder)
        #expect(remote.statistics.commands == 200)
    }

    @Test("a handler that stops leaves the descriptor readable for the rest", arguments: tiers)
    func stopLeavesReadable(tier: RingTier) throws {
        var loop = try embedded(tier)
        let eventfds = try (0..<3).map { _ in try EventFDBox() }
        for tag in 0..<3 { _ = try loop.add(eventfds[tag].number, tag: UInt64(tag)) }
        var recorder = Recorder()
        try loop.process(&recorder)
        for eventfd in eventfds { eventfd.signal() }
        for count in 1...3 {
            #expect(readable(loop.pollableDescriptor, within: 5000))
            recorder.stopAfter = count
            while recorder.events.count < count { try loop.process(&recorder) }
            #expect(recorder.events.count == count)
        }
        // Signals and commands are heard again after a stop.
        recorder.stopAfter = .max
        try loop.process(&recorder)
        eventfds[0].signal()
        #expect(readable(loop.pollableDescriptor, within: 5000))
        while recorder.events.count < 4 { try loop.process(&recorder) }
    }

    @Test("more sources than one look fetches are all handed out", arguments: tiers)
    func many(tier: RingTier) throws {
        var loop = try makeLoop(tier) {
            $0.embedded = true
            $0.capacity = 700
        }
        let eventfd = try EventFD()
        for tag in 0..<700 as Range<UInt64> { _ = try loop.add(eventfd.number, tag: tag) }
        var recorder = Recorder()
        try loop.process(&recorder)
        try eventfd.signal()
        while recorder.events.count < 700 {
            #expect(readable(loop.pollableDescriptor, within: 5000))
            try loop.process(&recorder)
        }
        #expect(Set(recorder.tags).count == 700)
    }

    @Test("timers of an embedded loop: untilNextTimer is the limit of the wait", arguments: tiers)
    func timers(tier: RingTier) throws {
        var loop = try embedded(tier)
        #expect(loop.untilNextTimer == .max)
        _ = try loop.addTimer(after: 3_000_000, tag: 4)
        #expect(loop.untilNextTimer <= 3_000_000)
        var recorder = Recorder()
        while recorder.events.isEmpty {
            usleep(UInt32(loop.untilNextTimer / 1000 + 1))
            try loop.process(&recorder)
        }
        #expect(recorder.tags == [4])
    }

    @Test("a loop may listen to an embedded loop", arguments: tiers)
    func nested(tier: RingTier) throws {
        var inner = try embedded(tier)
        var outer = try makeLoop(tier)
        let eventfd = try EventFD()
        _ = try inner.add(eventfd.number, tag: 1)
        var recorder = Recorder()
        try inner.process(&recorder)
        guard tier != .epoll else { return }  // an epoll descriptor is no eventfd: poll(2) it, or add it to an epoll
        _ = try outer.add(inner.pollableDescriptor, tag: 2)
        for round in 1...20 {
            try eventfd.signal()
            while recorder.events.count < round {
                _ = try outer.collect(1)
                try inner.process(&recorder)
            }
        }
        #expect(recorder.events.count == 20)
    }
}
