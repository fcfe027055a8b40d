internal import CKernel

// Being driven by another event loop. An eventfd registered with the ring tells of completions. It does not work with
// DEFER_TASKRUN: there the kernel signals it from within the source's own wake-up, where an eventfd may not be
// signalled (fs/eventfd.c), so it does that later, and Linux 6.18 does it for the first time only. With COOP_TASKRUN
// completions are made, and told of, by the thread itself when the source's signal has interrupted its poll(2).
extension EventLoop {
    /// The descriptor that becomes readable when `process` has work; for poll, epoll or another ring. Level-triggered.
    ///
    /// It does not tell of timers: pass `untilNextTimer` as the time limit of the wait.
    /// - Returns: −1 unless the loop was made with `LoopOptions.embedded`.
    public var pollableDescriptor: Int32 {
        switch notifier {
        case .some(let notifier): return notifier.number
        case .none: return options.embedded ? backend.pollable : -1
        }
    }

    /// Nanoseconds until `process` is due because of a timer; `UInt64.max` without one.
    public var untilNextTimer: UInt64 { untilTimer() }

    /// Hands out what is ready without waiting, and leaves the loop so that `pollableDescriptor` tells of what comes.
    ///
    /// When it was stopped before the last event, `pollableDescriptor` stays readable for the rest.
    /// - Returns: How many events there were.
    /// - Throws: As `wait`.
    @discardableResult
    public mutating func process<Handler: EventHandler & ~Copyable>(_ handler: inout Handler) throws(RingError) -> Int {
        var count = 0
        stopped = false
        try prepareProcessing()
        while !stopped {
            while !stopped, let event = next() {
                handler.handle(event, on: &self)
                count += 1
            }
            guard !stopped, try finishProcessing() else { break }
        }
        if stopped { try rouse() }
        return count
    }

    /// Makes the pollable descriptor readable.
    package func rouse() throws(RingError) {
        switch notifier {
        case .some(let notifier): try notifier.signal()
        case .none: try control.wake.signal()
        }
    }

    /// Takes the notification before looking, so that whatever comes during processing notifies again.
    package mutating func prepareProcessing() throws(RingError) {
        control.woke()
        switch notifier {
        case .some(let notifier): _ = try notifier.take()
        case .none: break
        }
        try wait(timeout: 0)
    }

    /// Submits what handlers asked for and announces sleep. True when something came meanwhile.
    package mutating func finishProcessing() throws(RingError) -> Bool {
        armWakeUp()
        let attention = !control.prepareToSleep()
        try wait(timeout: 0)
        return attention || position != queue.end
    }
}
