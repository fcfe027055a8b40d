internal import CEngines
internal import Dispatch
internal import Glibc

/// libdispatch: one read source an eventfd, all on one serial queue, and a read in the handler.
///
/// libdispatch listens on a thread of its own and runs handlers on another; the reader sleeps on a semaphore meanwhile.
/// It has no way to spin. Its threads are made from the pinned reader's, so they run on the reader's processor. The
/// queue stands still between two calls of `drain`: otherwise handlers would run while the eventfds are still being
/// signalled, outside the measured time. What libdispatch's own thread takes off epoll meanwhile is not counted, in its
/// favour.
///
/// In Swift, not in C, because the toolchain's libdispatch headers are not on the C compiler's path.
@safe final class DispatchEngine: Engine, @unchecked Sendable {
    private let queue = DispatchQueue(label: "irqmux.bench")
    private let reached = DispatchSemaphore(value: 0)
    private let cancelled = DispatchGroup()
    /// Written only while the queue stands still.
    private var until = UInt64.max
    private let sink: UnsafeMutablePointer<bench_sink>
    private let descriptors: [Int32]
    private var armed: [any DispatchSourceRead] = []

    static let kind = EngineKind(
        name: "libdispatch", about: "libdispatch: read sources on a serial queue, and a read; cannot spin",
        abilities: [.drain, .block], largest: .max, missing: nil
    ) { sources, _ in DispatchEngine(sources) }

    init(_ sources: Sources) {
        // SAFETY: the harness keeps the sink in place until it has let go of the engine.
        unsafe sink = sources.sink
        // SAFETY: the first `count` descriptors are open.
        descriptors = (0..<sources.count).map { unsafe sources.descriptors[$0] }
        queue.suspend()
    }

    // A queue must not be destroyed while it is suspended.
    deinit { queue.resume() }

    func arm() {
        armed = descriptors.enumerated().map { index, descriptor in
            let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
            source.setEventHandler { [unowned self] in readable(descriptor, UInt32(index)) }
            source.setCancelHandler { [cancelled] in cancelled.leave() }
            cancelled.enter()
            source.resume()
            return source
        }
        // A source is registered from its queue, so the queue has to run once.
        queue.resume()
        queue.sync {}
        queue.suspend()
    }

    func disarm() {
        queue.resume()
        for source in armed { source.cancel() }
        cancelled.wait()
        armed = []
        queue.suspend()
    }

    func drain(until total: UInt64) { wait(until: total) }

    func block(until total: UInt64) { wait(until: total) }

    func spin(until total: UInt64) { preconditionFailure("libdispatch cannot spin; see its abilities") }

    private func wait(until total: UInt64) {
        until = total
        queue.resume()
        reached.wait()
        queue.suspend()
    }

    private func readable(_ descriptor: Int32, _ index: UInt32) {
        var count: UInt64 = 0
        // SAFETY: the pointer is valid for the call, which writes 8 bytes at most.
        guard unsafe read(descriptor, &count, 8) == 8 else { return }
        // SAFETY: the queue is serial, and the reader looks at the sink only while the queue stands still.
        unsafe bench_note(sink, index)
        // SAFETY: as above.
        if unsafe sink.pointee.total == until { reached.signal() }
    }
}
