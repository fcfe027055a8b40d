internal import CEngines
internal import EventRing

/// irqmux's own loop, instrumentation on, as a program would use it: `wait`, then `next` until it is empty.
@safe final class EventLoopEngine: Engine {
    // Behind a pointer: a stored property of a class would cost an exclusivity check a call, which a program that keeps
    // its loop in a variable does not have.
    private let loop: UnsafeMutablePointer<EventLoop>
    private let sink: UnsafeMutablePointer<bench_sink>
    private let descriptors: [Int32]
    private var ids: [SourceID] = []

    static let kind = EngineKind(
        name: Results.ours, about: "irqmux: its EventLoop, instrumented, and its Mux",
        abilities: [.drain, .spin, .block, .mask, .maskTable, .mux, .callback],
        largest: 32768,
        missing: nil
    ) { sources, ability in
        do {
            return try EventLoopEngine(sources, waiting: ability == .spin ? .spin : .block)
        } catch let error as RingError {
            throw EngineError(engine: Results.ours, operation: "create", errno: error.errno)
        }
    }

    init(_ sources: Sources, waiting: WaitMode) throws {
        // SAFETY: the harness keeps the sink in place until it has let go of the engine.
        unsafe sink = sources.sink
        // SAFETY: the first `count` descriptors are open.
        descriptors = (0..<sources.count).map { unsafe sources.descriptors[$0] }
        var options = LoopOptions()
        options.capacity = sources.count
        options.waiting = waiting
        options.instrumented = true
        let made = try EventLoop(options)
        // SAFETY: allocated for one loop and initialised at once; deinit takes both back.
        unsafe loop = .allocate(capacity: 1)
        // SAFETY: as above.
        unsafe loop.initialize(to: made)
    }

    deinit {
        // SAFETY: initialised in init, used by nobody any more.
        unsafe loop.deinitialize(count: 1)
        // SAFETY: allocated in init.
        unsafe loop.deallocate()
    }

    func arm() throws {
        if ids.isEmpty {
            ids.reserveCapacity(descriptors.count)
            for (index, descriptor) in descriptors.enumerated() {
                // SAFETY: the loop lives as long as the engine.
                ids.append(try unsafe loop.pointee.add(descriptor, tag: UInt64(index)))
            }
        } else {
            // SAFETY: as above.
            for id in ids { try unsafe loop.pointee.arm(id) }
        }
        // SAFETY: as above. Requests go to the kernel with the next wait.
        try unsafe loop.pointee.wait(timeout: 0)
    }

    func disarm() throws {
        // SAFETY: the loop lives as long as the engine.
        for id in ids { try unsafe loop.pointee.disarm(id) }
        while true {
            // SAFETY: as above. Sends the cancellations, and settles the kernel's answers.
            try unsafe loop.pointee.wait(timeout: 0)
            dispatch()
            // SAFETY: as above.
            guard unsafe loop.pointee.unsettled > 0 else { return }
        }
    }

    func drain(until total: UInt64) throws {
        // SAFETY: loop and sink live as long as the engine.
        while unsafe sink.pointee.total < total {
            // SAFETY: as above.
            try unsafe loop.pointee.wait(timeout: 0)
            dispatch()
        }
    }

    func spin(until total: UInt64) throws { try waitAndDispatch(until: total) }

    func block(until total: UInt64) throws { try waitAndDispatch(until: total) }

    private func waitAndDispatch(until total: UInt64) throws {
        // SAFETY: loop and sink live as long as the engine.
        while unsafe sink.pointee.total < total {
            // SAFETY: as above.
            try unsafe loop.pointee.wait()
            dispatch()
        }
    }

    @inline(__always)
    private func dispatch() {
        // SAFETY: loop and sink live as long as the engine; the tag is the source's index.
        while let event = unsafe loop.pointee.next() {
            // SAFETY: as above.
            unsafe bench_note(sink, UInt32(truncatingIfNeeded: event.tag))
        }
    }
}
