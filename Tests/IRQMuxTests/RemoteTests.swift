import CKernel
import EventRing
import Exerciser
import Foundation
import IRQMux
import InterruptModel
import Synchronization
import Testing

/// Counts what it is given, for another thread to read, and notes deliveries of what ought to be masked.
final class Tally: Sendable {
    let events = Atomic<UInt64>(0)
    let last = Atomic<UInt64>(0)
    let forbidden = Atomic<UInt64>(.max)
    let violations = Atomic<UInt64>(0)
    var count: UInt64 { events.load(ordering: .sequentiallyConsistent) }
}

struct Tallying: VectorHandler {
    let tally: Tally
    let device: Exerciser

    mutating func handle(_ event: VectorEvent, on mux: inout Mux) {
        if event.tag == tally.forbidden.load(ordering: .sequentiallyConsistent) {
            tally.violations.add(1, ordering: .sequentiallyConsistent)
        }
        tally.last.store(device.raisedCount(event.vector) ?? 0, ordering: .sequentiallyConsistent)
        tally.events.add(1, ordering: .sequentiallyConsistent)
    }
}

@Suite("A mux as other threads use it", .timeLimit(.minutes(5)))
struct RemoteTests {
    /// A mux on a thread of its own with four vectors of `device`.
    static func start(
        _ device: Exerciser, _ tally: Tally, _ options: MuxOptions = smallOptions()
    ) throws -> Running {
        var attached: DeviceID?
        var ids: [VectorID] = []
        let running = try MuxThread(options, handler: Tallying(tally: tally, device: device)) {
            (mux, _) throws(MuxError) in
            let id = try mux.attach(device)
            attached = id
            ids = try mux.connect(id, .msix, 0..<4)
        }
        guard let attached else { throw Unexpected() }
        return Running(thread: running, attached: attached, ids: ids)
    }

    @Test(
        "masked from another thread: once mask returns no handler is called; unmasked, nothing was lost",
        arguments: allListening)
    func masks(tier: RingTier, waiting: WaitMode) throws {
        let device = try Exerciser()
        let tally = Tally()
        var options = smallOptions(tier, waiting: waiting)
        options.silenceAfter = 8
        let running = try Self.start(device, tally, options)
        let attached = running.attached
        let ids = running.ids
        let remote = running.thread.remote
        try device.start(RaisePlan(msix(1), count: 20_000))
        var rounds = 0
        while device.isBusy || rounds < 20 {
            try remote.mask(ids[1])
            tally.forbidden.store(1, ordering: .sequentiallyConsistent)
            if rounds % 4 == 0 { usleep(200) }
            tally.forbidden.store(.max, ordering: .sequentiallyConsistent)
            try remote.unmask(ids[1])
            rounds += 1
        }
        device.waitUntilIdle()
        eventually { tally.last.load(ordering: .sequentiallyConsistent) == 20_000 }
        #expect(tally.violations.load(ordering: .sequentiallyConsistent) == 0)
        let ledger = try remote.ledger(attached)
        #expect(ledger.unexplained == 0 && ledger.raised == 20_000, "\(ledger)")
        let outcome = running.thread.stop()
        #expect(outcome.error == nil)
    }

    @Test("routed from another thread while signals fly; the ledger of another thread closes")
    func routes() throws {
        let device = try Exerciser()
        let tally = Tally()
        let target = try EventFD()
        let running = try Self.start(device, tally)
        let attached = running.attached
        let ids = running.ids
        let remote = running.thread.remote
        let routes = [Route.handler, .parked, .fanOut([target.number])]
        try device.start(RaisePlan(msix(0), width: 4, .roundRobin, count: 20_000))
        var random = SplitMix(seed: 5)
        while device.isBusy {
            try remote.route(ids[random.below(4)], to: routes[random.below(3)])
            // The device counts a signal before it writes it, and may be interrupted in between.
            #expect((0...1).contains(try remote.ledger(attached).unexplained), "while it runs")
        }
        device.waitUntilIdle()
        for id in ids { try remote.route(id, to: .handler) }
        var ledger = try remote.ledger(attached)
        try eventually {
            ledger = try remote.ledger(attached)
            return ledger.pending == 0
        }
        expectSettled(ledger, raised: 20_000)
        #expect(try ledger.delivered == tally.count + target.take())
        #expect(errno { () throws(MuxError) in try remote.route(ids[0], to: .fanOut([-1])) } == EBADF)
    }

    @Test("statistics are read while the mux runs, and only grow")
    func statistics() throws {
        let device = try Exerciser()
        let tally = Tally()
        let running = try Self.start(device, tally)
        var last = running.thread.remote.statistics
        try device.start(RaisePlan(msix(0), count: 50_000))
        while device.isBusy {
            let now = running.thread.remote.statistics
            #expect(now.notifications >= last.notifications && now.systemCalls >= last.systemCalls)
            last = now
        }
        device.waitUntilIdle()
        eventually { tally.last.load(ordering: .sequentiallyConsistent) == 50_000 }
        eventually { running.thread.remote.statistics.notifications == tally.count }
        eventually { running.thread.remote.dispatchDelays.total == tally.count }
    }

    @Test(
        "a command on the mux's own thread is EDEADLK, before it runs and afterwards EAGAIN, when it is gone ECANCELED")
    func refusals() throws {
        var mux = try Mux(smallOptions())
        let remote = mux.remote
        func attempt() -> Int32 { errno { () throws(MuxError) in _ = try remote.perform { _ in 0 } } }
        #expect(attempt() == EAGAIN)
        _ = try mux.addTimer(after: 0, tag: 1)
        var seen: Int32 = 0
        var handler = Reacting { (_, mux) throws(MuxError) in
            seen = attempt()
            mux.stop()
        }
        try mux.run(&handler)
        #expect(seen == EDEADLK)
        #expect(attempt() == EAGAIN)
        _ = consume mux
        #expect(attempt() == ECANCELED)
        remote.stop()
    }

    @Test("errors of the mux come back to the thread that asked")
    func errors() throws {
        let device = try Exerciser()
        let running = try Self.start(device, Tally())
        let attached = running.attached
        let ids = running.ids
        let gone = try running.thread.remote.perform { mux in
            errno { () throws(MuxError) in
                try mux.disconnect(ids[0])
                try mux.disconnect(ids[0])
            }
        }
        #expect(gone == ENOENT)
        #expect(errno { () throws(MuxError) in try running.thread.remote.mask(ids[0]) } == ENOENT)
        #expect(errno { () throws(MuxError) in try running.thread.remote.unmask(ids[0]) } == ENOENT)
        #expect(errno { () throws(MuxError) in try running.thread.remote.route(ids[0], to: .parked) } == ENOENT)
        _ = try running.thread.remote.perform { mux in errno { () throws(MuxError) in try mux.detach(attached) } }
        #expect(errno { () throws(MuxError) in _ = try running.thread.remote.ledger(attached) } == ENOENT)
    }

    @Test("commands from several threads while runs begin and end: each is carried out or refused, none waits for ever")
    func commandsAroundRuns() throws {
        // Each run ends by a timer; the commands race with its end.
        let counted = Atomic<UInt64>(0)
        let refused = Atomic<UInt64>(0)
        let done = Switch()
        var mux = try Mux(smallOptions())
        let remote = mux.remote
        try withThreads(3) {
            while !done.isOn {
                do throws(MuxError) {
                    _ = try remote.perform { _ in 0 }
                    counted.add(1, ordering: .relaxed)
                } catch {
                    #expect(error.errno == EAGAIN)
                    refused.add(1, ordering: .relaxed)
                }
            }
        } while: {
            var handler = Reacting { (_, mux) throws(MuxError) in mux.stop() }
            var runs = 0
            while runs < 1000 || counted.load(ordering: .relaxed) == 0 || refused.load(ordering: .relaxed) == 0 {
                _ = try mux.addTimer(after: 1, tag: 1)
                try mux.run(&handler)
                runs += 1
            }
            done.isOn = true
        }
    }

    @Test("waiting on another thread than the mux's is EPERM, and leaves the mux to its own")
    func wrongThread() throws {
        var mux = try Mux(smallOptions())
        try mux.settle()
        mux.endRun()
        // The first wait bound the mux to this thread.
        let box = Handed(mux)
        withThreads(1) {
            var mux = box.take()
            #expect(errno { () throws(MuxError) in try mux.wait(timeout: 0) } == EPERM)
            let remote = mux.remote
            #expect(errno { () throws(MuxError) in _ = try remote.perform { _ in 0 } } == EAGAIN)
            box.put(mux)
        } while: {
        }
        mux = box.take()
        try mux.settle()
        let remote = mux.remote
        #expect(errno { () throws(MuxError) in _ = try remote.perform { _ in 0 } } == EDEADLK)
    }

    @Test("a mux on its own thread ends when it goes out of scope, and gives its devices back")
    func scope() throws {
        let device = try Exerciser()
        do { _ = try Self.start(device, Tally()) }
        if case .signal = device.raise(msix(0)) { Issue.record("still assigned") }
    }

    @Test("a processor that does not exist is refused", arguments: [-1, 100_000, Int.max])
    func noSuchProcessor(cpu: Int) {
        #expect(errno { () throws(MuxError) in _ = try MuxThread(cpu: cpu, handler: Reacting { _, _ in }) } == EINVAL)
    }
}

/// A mux on a thread of its own, and four vectors of a device.
struct Running: ~Copyable {
    let thread: MuxThread<Tallying>
    let attached: DeviceID
    let ids: [VectorID]
}

/// A mux on its way from one thread to another.
final class Handed: @unchecked Sendable {
    private var mux: Mux?
    init(_ mux: consuming Mux) { self.mux = consume mux }
    func take() -> Mux { mux.take()! }
    func put(_ mux: consuming Mux) { self.mux = consume mux }
}

/// Runs `body` on threads while this thread runs `main`, and waits for them.
func withThreads(_ count: Int, _ body: @escaping @Sendable () -> Void, while main: () throws -> Void) rethrows {
    let group = DispatchGroup()
    for _ in 0..<count {
        group.enter()
        let thread = Thread {
            body()
            group.leave()
        }
        thread.start()
    }
    defer { group.wait() }
    try main()
}
