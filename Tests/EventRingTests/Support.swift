import CKernel
import EventRing
import Foundation
import Synchronization
import Testing

/// Keeps what came, and may react to it.
struct Recorder: EventHandler {
    var events: [Event] = []
    var stopAfter = Int.max
    var reaction: (Event, inout EventLoop) -> Void = { _, _ in }

    var tags: [UInt64] { events.map(\.tag) }
    var count: UInt64 { events.reduce(0) { $0 + $1.count } }

    mutating func handle(_ event: Event, on loop: inout EventLoop) {
        events.append(event)
        reaction(event, &loop)
        if events.count >= stopAfter { loop.stop() }
    }
}

/// A loop of exactly this tier: a lower one than asked for would test something else.
func makeLoop(_ tier: RingTier, _ adjust: (inout LoopOptions) -> Void = { _ in }) throws -> EventLoop {
    var options = LoopOptions()
    options.bestTier = tier
    options.capacity = 64
    adjust(&options)
    let loop = try EventLoop(options)
    try #require(loop.report.tier == tier)
    return loop
}

extension EventLoop {
    /// Everything that comes without anybody signalling any more: until four looks in a row found nothing, not even the
    /// end of a request.
    mutating func drain(_ reaction: (Event, inout EventLoop) -> Void = { _, _ in }) throws -> [Event] {
        var events: [Event] = []
        var quiet = 0
        var batches: UInt64 = 0
        while quiet < 4 {
            try wait(timeout: 0)
            quiet = remote.statistics.batches == batches ? quiet + 1 : 0
            batches = remote.statistics.batches
            while let event = next() {
                quiet = 0
                events.append(event)
                reaction(event, &self)
            }
        }
        return events
    }

    /// The next `count` events, however long they take: a test's time limit ends it.
    mutating func collect(_ count: Int) throws -> [Event] {
        var events: [Event] = []
        while events.count < count {
            try wait(timeout: 50_000_000)
            while events.count < count, let event = next() { events.append(event) }
        }
        return events
    }
}

/// A thread of a test; joined when it goes out of scope at the latest.
final class TestThread {
    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    private var thread = pthread_t()
    private var joined = false

    init(_ run: @escaping @Sendable () -> Void) {
        // SAFETY: the reference is taken over by the new thread, which always starts: create's result is checked.
        let body = unsafe Unmanaged.passRetained(Body(run))
        let result = unsafe irqmux_thread_start(
            &thread, "test", -1,
            { context in
                // SAFETY: the context is what was passed above, once.
                unsafe Unmanaged<Body>.fromOpaque(context!).takeRetainedValue().run()
                return nil
            }, body.toOpaque())
        precondition(result == 0, "no thread")
    }

    /// The thread, for pthread_kill.
    var handle: pthread_t { thread }

    func join() {
        if joined { return }
        joined = true
        // Started once, joined once.
        pthread_join(thread, nil)
    }

    deinit { join() }
}

/// Carries a loop from one thread to another; one thread at a time touches it.
final class LoopBox: @unchecked Sendable {
    private var loop: EventLoop?

    init(_ loop: consuming EventLoop) { self.loop = consume loop }

    func with<Value>(_ body: (inout EventLoop) throws -> Value) rethrows -> Value {
        try body(&loop!)
    }

    func destroy() { _ = loop.take() }
}

/// A flag that several threads see.
final class Flag: Sendable {
    private let value = Atomic<Bool>(false)
    var isSet: Bool { value.load(ordering: .acquiring) }
    func set() { value.store(true, ordering: .releasing) }
}

/// Waits until something holds; a test's time limit ends it.
func eventually(_ condition: () -> Bool) {
    while !condition() { usleep(200) }
}

/// The errno of what `body` throws; 0 when it does not.
func errno(of body: () throws(RingError) -> Void) -> Int32 {
    do throws(RingError) { try body() } catch { return error.errno }
    return 0
}

/// Small and repeatable: the seed names the whole sequence.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        // SplitMix64 (public domain, Sebastiano Vigna).
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

/// Seeds of a run: new ones each time, so that every run looks somewhere else; a failure prints its own.
/// An emulated processor is so slow that one of each has to do there.
func seeds(_ count: Int) -> [UInt64] {
    let isEmulated = ProcessInfo.processInfo.environment["IRQMUX_MACHINE"] != nil
    return (0..<(isEmulated ? 1 : count)).map { _ in UInt64.random(in: 0..<1 << 48) }
}
