internal import EventRing

/// A mux that runs on a thread of its own, with the handler it was given.
///
///     let running = try MuxThread(handler: Counter()) { (mux, _) throws(MuxError) in
///         try mux.connect(mux.attach(device), .msix, 0..<4)
///     }
///     let statistics = running.remote.statistics
///     let counter = running.stop().handler
///
/// Stops and joins when it goes out of scope; must not be stopped, nor go out of scope, on its own thread.
public struct MuxThread<Handler: VectorHandler & ~Copyable>: ~Copyable {
    /// How a mux on its own thread ended.
    public struct Outcome: ~Copyable {
        /// The handler, as the mux left it.
        public var handler: Handler
        /// The error that ended the mux; `nil` when it was stopped.
        public let error: MuxError?
    }

    /// The mux, for any thread.
    public let remote: MuxRemote
    private let body: MuxThreadBody<Handler>

    /// Makes a mux and runs it on a new thread. `remote` takes commands as soon as this returns.
    ///
    /// - Parameters:
    ///   - cpu: The processor to pin the thread to; `nil` leaves that to the scheduler.
    ///   - setUp: Called on the calling thread before the mux runs: the place to attach devices and connect vectors.
    /// - Throws: As `Mux.init` and `setUp`; `EAGAIN` when no thread could be made, `EINVAL` for a processor that does
    ///   not exist.
    public init(
        _ options: MuxOptions = MuxOptions(), cpu: Int? = nil, handler: consuming Handler,
        setUp: (inout Mux, inout Handler) throws(MuxError) -> Void = { (_, _) throws(MuxError) in }
    ) throws(MuxError) {
        var mux = try Mux(options)
        try setUp(&mux, &handler)
        let remote = mux.remote
        mux.commands.announce()
        let body = MuxThreadBody(mux: mux, handler: handler)
        try body.start(cpu: cpu)
        self.remote = remote
        self.body = body
    }

    deinit {
        remote.stop()
        body.join()
    }

    /// Stops the mux, waits for its thread to end, and gives the handler back. The mux is gone then: its devices are
    /// disabled and its vectors' eventfds closed. Ask `remote` for a last ledger before.
    public consuming func stop() -> Outcome {
        remote.stop()
        body.join()
        return body.outcome()
    }
}

/// What the thread works on. Touched by the new thread until it ends, and only then by the one that joins it.
private final class MuxThreadBody<Handler: VectorHandler & ~Copyable>: @unchecked Sendable {
    private var mux: Mux?
    private var handler: Handler?
    private var error: MuxError?
    private let thread = OwnedThread()

    init(mux: consuming Mux, handler: consuming Handler) {
        self.mux = consume mux
        self.handler = consume handler
    }

    func start(cpu: Int?) throws(MuxError) {
        do throws(RingError) {
            try thread.start("irqmux-mux", cpu: cpu) { [self] in run() }
        } catch { throw MuxError(error) }
    }

    private func run() {
        guard var mux = mux.take(), var handler = handler.take() else { return }
        do throws(MuxError) { try mux.run(&handler) } catch { self.error = error }
        self.handler = consume handler
    }

    func join() { thread.join() }

    func outcome() -> MuxThread<Handler>.Outcome { .init(handler: handler.take()!, error: error) }
}
