/// A loop that runs on a thread of its own, with the handler it was given.
///
///     let running = try LoopThread(options, handler: counter) { loop, counter in … add the first sources … }
///     let statistics = running.remote.statistics
///     let counter = running.stop().handler
///
/// Stops and joins when it goes out of scope.
public struct LoopThread<Handler: EventHandler & ~Copyable>: ~Copyable {
    /// How a loop on its own thread ended.
    public struct Outcome: ~Copyable {
        /// The handler, as the loop left it.
        public var handler: Handler
        /// The error that ended the loop; `nil` when it was stopped.
        public let error: RingError?
    }

    /// The loop, for any thread.
    public let remote: LoopRemote
    private let body: ThreadBody<Handler>

    /// Makes a loop and runs it on a new thread.
    ///
    /// - Parameters:
    ///   - cpu: The processor to pin the thread to; `nil` leaves that to the scheduler.
    ///   - setUp: Called on the calling thread before the loop runs: the place to add the first sources.
    /// - Throws: As `EventLoop.init` and `setUp`; `EAGAIN` when no thread could be made, `EINVAL` for a processor that
    ///   does not exist.
    public init(
        _ options: LoopOptions = LoopOptions(), cpu: Int? = nil, handler: consuming Handler,
        setUp: (inout EventLoop, inout Handler) throws(RingError) -> Void = { (_, _) throws(RingError) in }
    ) throws(RingError) {
        var loop = try EventLoop(options)
        try setUp(&loop, &handler)
        let remote = loop.remote
        let body = ThreadBody(loop: loop, handler: handler)
        try body.start(cpu: cpu)
        self.remote = remote
        self.body = body
    }

    deinit {
        remote.stop()
        body.join()
    }

    /// Stops the loop, waits for its thread to end, and gives the handler back.
    public consuming func stop() -> Outcome {
        remote.stop()
        body.join()
        return body.outcome()
    }
}

/// What the thread works on. Touched by the new thread until it ends, and only then by the one that joins it.
private final class ThreadBody<Handler: EventHandler & ~Copyable>: @unchecked Sendable {
    private var loop: EventLoop?
    private var handler: Handler?
    private var error: RingError?
    private let thread = OwnedThread()

    init(loop: consuming EventLoop, handler: consuming Handler) {
        self.loop = consume loop
        self.handler = consume handler
    }

    func start(cpu: Int?) throws(RingError) {
        try thread.start("irqmux-loop", cpu: cpu) { [self] in run() }
    }

    private func run() {
        guard var loop = loop.take(), var handler = handler.take() else { return }
        do throws(RingError) { try loop.run(&handler) } catch { self.error = error }
        self.handler = consume handler
    }

    func join() { thread.join() }

    func outcome() -> LoopThread<Handler>.Outcome { .init(handler: handler.take()!, error: error) }
}
