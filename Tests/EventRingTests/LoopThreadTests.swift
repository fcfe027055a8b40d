import EventRing
import Foundation
import Synchronization
import Testing

@Suite("a loop on its own thread", .hangLimit)
struct LoopThreadTests {
    private struct Counter: EventHandler {
        var count = 0
        var thread: pthread_t?
        mutating func handle(_ event: Event, on loop: inout EventLoop) {
            count += 1
            thread = pthread_self()
        }
    }

    @Test("stop gives the handler back as the loop left it", arguments: RingTier.allCases)
    func stop(tier: RingTier) throws {
        var options = LoopOptions()
        options.bestTier = tier
        let eventfd = try EventFDBox()
        let running = try LoopThread(options, handler: Counter()) { (loop, _) throws(RingError) in
            _ = try loop.add(eventfd.number, tag: 1)
        }
        let remote = running.remote
        for round in 1...5 as ClosedRange<UInt64> {
            eventfd.signal()
            eventually { remote.statistics.notifications >= round }
        }
        let outcome = running.stop()
        #expect(outcome.error == nil)
        #expect(outcome.handler.count >= 5)
        #expect(outcome.handler.thread != nil && outcome.handler.thread != pthread_self())
        #expect(errno(of: { () throws(RingError) in try remote.perform { _ in } }) == ECANCELED)
    }

    @Test("going out of scope stops and joins")
    func scope() throws {
        let remote: LoopRemote
        do {
            let running = try LoopThread(handler: Counter())
            remote = running.remote
            eventually { (try? remote.perform { _ in }) != nil }
        }
        #expect(errno(of: { () throws(RingError) in try remote.perform { _ in } }) == ECANCELED)
    }

    @Test("the thread runs on the processor that was asked for")
    func pinned() throws {
        let running = try LoopThread(cpu: 0, handler: Counter())
        eventually { (try? running.remote.perform { _ in }) != nil }
        let status = try running.remote.perform { _ in
            (try? String(contentsOfFile: "/proc/thread-self/status", encoding: .utf8)) ?? ""
        }
        #expect(status.contains("Cpus_allowed_list:\t0\n"))
        #expect(running.stop().error == nil)
    }

    @Test("a processor that does not exist is refused with EINVAL", arguments: [-1, 4095, 1 << 20, Int.max, Int.min])
    func noSuchProcessor(cpu: Int) {
        #expect(errno(of: { () throws(RingError) in _ = try LoopThread(cpu: cpu, handler: Counter()) }) == EINVAL)
    }

    @Test("what setUp throws comes out, and nothing runs")
    func failingSetUp() {
        let error = errno(of: { () throws(RingError) in
            _ = try LoopThread(handler: Counter()) { (loop, _) throws(RingError) in _ = try loop.add(-1, tag: 1) }
        })
        #expect(error == EBADF)
    }
}
