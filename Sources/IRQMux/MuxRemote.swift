public import EventRing
public import InterruptModel

/// A mux as other threads see it. Copies are cheap; it outlives the mux, and then refuses everything.
public struct MuxRemote: Sendable {
    let commands: CommandQueue<Mux>
    let loop: LoopRemote

    /// Runs `body` on the mux's thread between two batches and returns what it returns, or throws what it throws.
    /// Blocks until then.
    ///
    /// - Throws: `EDEADLK` on the mux's own thread (there, use the mux that the handler was given); `EAGAIN` when the
    ///   mux is not running; `ECANCELED` when it is gone.
    public func perform<Value>(
        _ body: @escaping @Sendable (inout Mux) throws(MuxError) -> Value
    ) throws(MuxError) -> Value {
        let loop = loop
        let result: Result<Value, MuxError>
        do throws(RingError) {
            result = try commands.perform({ mux in
                Result { () throws(MuxError) in try body(&mux) }
            }) { loop.wakeUp() }
        } catch { throw MuxError(error) }
        return try result.get()
    }

    /// Masks a vector; see `Mux.mask`. When this returns, no handler is called for it. Errors as there and as
    /// `perform`.
    public func mask(_ id: VectorID) throws(MuxError) {
        try perform { (mux) throws(MuxError) in try mux.mask(id) }
    }

    /// Unmasks a vector; see `Mux.unmask`. Errors as there and as `perform`.
    public func unmask(_ id: VectorID) throws(MuxError) {
        try perform { (mux) throws(MuxError) in try mux.unmask(id) }
    }

    /// Changes a route; see `Mux.route`. Errors as there and as `perform`.
    public func route(_ id: VectorID, to route: Route) throws(MuxError) {
        try perform { (mux) throws(MuxError) in try mux.route(id, to: route) }
    }

    /// The account of a device; see `Mux.ledger`. Errors as there and as `perform`.
    public func ledger(_ id: DeviceID) throws(MuxError) -> Ledger {
        try perform { (mux) throws(MuxError) in try mux.ledger(id) }
    }

    /// Ends `Mux.run` after the batch at hand; remembered when the mux is not running. Never blocks.
    public func stop() { loop.stop() }

    /// What the loop has done so far. Never blocks, never stops the loop; published once a batch.
    public var statistics: LoopStatistics { loop.statistics }

    /// Delays from the arrival of a batch to each event's turn in it, in nanoseconds. Never stops the loop.
    public var dispatchDelays: HistogramSnapshot { loop.dispatchDelays }
}
