internal import EventRing

// Being driven by another event loop, such as a VMM's.
extension Mux {
    /// The descriptor that becomes readable when `process` has work; for poll, epoll or another ring. Level-triggered.
    ///
    /// It does not tell of timers: pass `untilNextTimer` as the time limit of the wait.
    /// - Returns: −1 unless the mux was made with `MuxOptions.loop.embedded`.
    public var pollableDescriptor: Int32 { loop.pollableDescriptor }

    /// Nanoseconds until `process` is due because of a timer; `UInt64.max` without one.
    public var untilNextTimer: UInt64 { loop.untilNextTimer }

    /// Hands out what is ready without waiting, and leaves the mux so that `pollableDescriptor` tells of what comes.
    ///
    /// When it was stopped before the last event, `pollableDescriptor` stays readable for the rest.
    /// - Returns: How many events there were.
    /// - Throws: As `wait`.
    @discardableResult
    public mutating func process<Handler: VectorHandler & ~Copyable>(_ handler: inout Handler) throws(MuxError) -> Int {
        var count = 0
        try beginProcessing()
        repeat {
            try wait(timeout: 0)
            while !isStopping, let event = next() {
                handler.handle(event, on: &self)
                count += 1
            }
        } while try continueProcessing()
        return count
    }

    /// Begins a round of `process`: what comes from here on notifies again.
    package mutating func beginProcessing() throws(MuxError) {
        beginRun()
        do throws(RingError) { try loop.prepareProcessing() } catch { throw MuxError(error) }
    }

    /// Announces that this mux will look no more by itself; true when something came meanwhile, and a wait is due. When
    /// it was stopped, the descriptor stays readable.
    package mutating func continueProcessing() throws(MuxError) -> Bool {
        do throws(RingError) {
            guard !isStopping else {
                try loop.rouse()
                return false
            }
            if try loop.finishProcessing() { return true }
            if isStopping { try loop.rouse() }
            return false
        } catch { throw MuxError(error) }
    }
}
