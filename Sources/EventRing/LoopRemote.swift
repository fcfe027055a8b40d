/// A loop as other threads see it. Copies are cheap; it outlives the loop, and then refuses everything.
public struct LoopRemote: Sendable {
    let control: LoopControl

    /// Runs `body` on the loop's thread between two batches and returns what it returns. Blocks until then.
    ///
    /// - Throws: `EDEADLK` on the loop's own thread (there, use the loop that the handler was given); `EAGAIN` when the
    ///   loop is not running: before it first waits, and after `run` has returned; `ECANCELED` when it is gone.
    public func perform<Value>(_ body: @escaping @Sendable (inout EventLoop) -> Value) throws(RingError) -> Value {
        let control = control
        return try control.commands.perform(body) { control.attract() }
    }

    /// Adds a source; see `EventLoop.add`. Errors as there and as `perform`.
    public func add(_ descriptor: Int32, tag: UInt64, delivery: Delivery = .edge) throws(RingError) -> SourceID {
        try perform { loop in
            Result { () throws(RingError) in try loop.add(descriptor, tag: tag, delivery: delivery) }
        }.get()
    }

    /// Removes a source. When this returns, no handler will be called for it any more. Errors as `EventLoop.remove` and
    /// `perform`.
    public func remove(_ source: SourceID) throws(RingError) {
        try perform { loop in Result { () throws(RingError) in try loop.remove(source) } }.get()
    }

    /// Ends `EventLoop.run` after the batch at hand; remembered when the loop is not running. Never blocks.
    public func stop() { control.requestStop() }

    /// Makes a sleeping loop come round once. Never blocks.
    public func wakeUp() { control.attract() }

    /// What the loop has done so far. Never blocks, never stops the loop; published once a batch.
    public var statistics: LoopStatistics { control.board.read() }

    /// Delays from the arrival of a batch to each event's turn in it, in nanoseconds. Never stops the loop.
    public var dispatchDelays: HistogramSnapshot { control.delays.snapshot() }
}
