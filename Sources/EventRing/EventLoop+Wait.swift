internal import CKernel

// Waiting: sleep, spin, or spin and then sleep. One system call submits what is due, fetches what is ready, and waits.
extension EventLoop {
    /// Waits until `next` may have something, the loop is to stop, a signal interrupted the wait, or time is up.
    ///
    /// The first wait binds the loop to the calling thread.
    /// - Parameter timeout: In nanoseconds; 0 looks without waiting.
    /// - Throws: `EPERM` on another thread than the loop's; an errno of io_uring_enter or epoll_wait that leaves
    ///   nothing to retry.
    public mutating func wait(timeout: UInt64 = .max) throws(RingError) {
        if owner != irqmux_this_thread() { try bind() }
        if !serving { serve() }
        // Whoever asked for attention may have meant the owner of this loop, who looks after the wait: so it is a look.
        let attended = control.wantsAttention
        if attended { attend() }
        queue.consume(upTo: position)
        if firstWork != .max { flushWork() }
        if options.instrumented { account() }
        board.publish(&statistics)
        let pending = position != queue.end || direct.hasReady
        // Work is left when the kernel takes no more before completions were reaped.
        let hurry = pending || stopped || attended || firstWork != .max
        let limit = hurry ? 0 : Self.reasonable(min(timeout, untilTimer()))
        let start = options.instrumented ? clock.now : 0
        // Nothing is added to a batch that was stopped in the middle: epoll's queue has room for one of each source.
        if !pending, fullFetches >= Self.burst, try fetchMany() {
            // A burst goes on.
        } else if limit == 0 {
            if !pending || backend.unsubmitted > 0 || backend.overflowed { try check(enter()) }
            if direct.count > 0 { _ = readDirectly() }
        } else {
            switch waiting {
            case .block: try sleep(limit)
            case .spin: _ = try spin(limit)
            case .adaptive(let most): try spinThenSleep(limit, most)
            }
        }
        expireTimers()
        mayRefill = true
        if options.instrumented {
            arrival = clock.now
            (waitStart, waitEnd, waited) = (start, arrival, limit > 0)
        }
    }

    /// Books the last wait. Not at its end, where somebody waits for his event, but before the next one begins.
    mutating func account() {
        let elapsed = clock.nanoseconds(waitEnd &- waitStart)
        if waited { statistics.idleNanoseconds &+= elapsed } else { statistics.kernelNanoseconds &+= elapsed }
        waitEnd = waitStart
        if clock.isDue(waitStart) {
            let source = clock.source
            clock.discipline()
            // Stamps of the counter that was given up mean nothing any more.
            if clock.source != source {
                let now = clock.now
                (batchStart, stamp, waitStart, waitEnd) = (now, now, now, now)
            }
        }
    }

    /// More than 36 years are for ever: the kernel and the clock count in numbers that would overflow.
    private static func reasonable(_ nanoseconds: UInt64) -> UInt64 { nanoseconds < longest ? nanoseconds : .max }

    private static var longest: UInt64 { 1 << 60 }

    /// Makes the calling thread the loop's, unless another one is.
    @inline(never)
    private mutating func bind() throws(RingError) {
        guard owner == 0 else { throw Self.foreignThread }
        try backend.bind()
        owner = irqmux_this_thread()
    }

    private static var foreignThread: RingError {
        RingError("waiting", errno: EPERM, remedy: "a loop belongs to the thread on which it first waited")
    }

    /// Commands of other threads are welcome from now on.
    @inline(never)
    private mutating func serve() {
        control.commands.bind()
        serving = true
    }

    /// Does what other threads asked for. Kept out of line: this part may retain and release, waiting may not.
    @inline(never)
    private mutating func attend() {
        control.acknowledgeAttention()
        if control.takeStopRequest() { stopped = true }
        statistics.commands &+= control.commands.carryOut(on: &self)
    }

    /// The kernel runs 20 deferred completions an entry (Linux 6.18), so 2048 ready sources are 103 system calls. In
    /// the middle of a burst many are asked for at once. Not before: with fewer there than asked for, the kernel sets
    /// up a timer, which costs more than it saves.
    private mutating func fetchMany() throws(RingError) -> Bool {
        statistics.systemCalls &+= 1
        let result = backend.enter(many: min(fullFetches &* Self.fullFetch, Self.most), sources)
        if backend.overflowed { statistics.overflows &+= 1 }
        if result == -ETIME { fullFetches = 0 }
        try check(result)
        return position != queue.end
    }

    /// How many completions one entry into the kernel brings at most, so that more may be there.
    package static var fullFetch: UInt32 { 20 }
    private static var burst: UInt32 { 8 }
    private static var most: UInt32 { 512 }

    /// Submits and fetches without waiting.
    private mutating func enter() -> Int32 {
        statistics.systemCalls &+= 1
        let result = backend.enter(sources)
        if backend.overflowed { statistics.overflows &+= 1 }
        return result
    }

    private mutating func sleep(_ limit: UInt64) throws(RingError) {
        armWakeUp()
        // Not to be woken is worse than not to sleep.
        guard wakeUpArmed || backend.hearsWakeUps, control.prepareToSleep() else { return try check(enter()) }
        statistics.sleeps &+= 1
        statistics.systemCalls &+= 1
        let result = backend.wait(timeout: limit, sources)
        control.woke()
        if backend.overflowed { statistics.overflows &+= 1 }
        try check(result)
    }

    /// Whether a source that the loop reads itself was signalled.
    private mutating func readDirectly() -> Bool {
        statistics.systemCalls &+= UInt64(direct.count)
        return direct.poll()
    }

    /// Looks again and again. True when something came before `limit` nanoseconds had passed.
    private mutating func spin(_ limit: UInt64) throws(RingError) -> Bool {
        let timed = limit != .max
        let deadline = timed ? clock.now &+ clock.ticks(limit) : 0
        // The clock is looked at every eighth time, which is every other microsecond.
        let rounds: UInt64 = timed ? 8 : 1 << 16
        while true {
            if backend.unsubmitted > 0 {
                try check(enter())
            } else if direct.count < Int(sourceCount) || cancelling > 0 {
                // Also when sources are read: a busy one must not starve those that the ring serves.
                try fetch(rounds: direct.count > 0 ? 1 : rounds)
                if direct.count > 0 { _ = readDirectly() }
            } else if direct.count > 0 {
                statistics.systemCalls &+= direct.spin(rounds: rounds, control) &* UInt64(direct.count)
            } else {
                irqmux_pause()
            }
            if direct.hasReady || queue.end != position || control.wantsAttention { return true }
            if timed && clock.now &- deadline < UInt64.max / 2 { return false }
        }
    }

    /// Fetches up to `rounds` times, until something came or somebody wants attention.
    private mutating func fetch(rounds: UInt64) throws(RingError) {
        let (result, taken) = backend.spin(past: position, queue, control, rounds: rounds, sources)
        statistics.systemCalls &+= taken
        if backend.overflowed { statistics.overflows &+= 1 }
        try check(result)
    }

    /// The budget doubles when spinning paid, up to `most`, and halves when it did not: a busy loop spins, an idle one
    /// sleeps. A sixteenth of `most` is always tried, or a loop that once slept would never find out that spinning
    /// pays.
    private mutating func spinThenSleep(_ limit: UInt64, _ most: UInt64) throws(RingError) {
        let most = min(max(most, 1), Self.longest)
        let least = max(most / 16, 1)
        spinBudget = min(max(spinBudget, least), most)
        if try spin(min(limit, spinBudget)) {
            statistics.spinHits &+= 1
            spinBudget = min(spinBudget * 2, most)
            return
        }
        statistics.spinMisses &+= 1
        let spent = spinBudget
        spinBudget = max(spinBudget / 2, least)
        if limit > spent { try sleep(limit == .max ? .max : limit - spent) }
    }

    // Mutating, like every helper on the waiting path: for a borrowed `self` of this size the compiler makes a copy.
    /// Sorts the kernel's answers into those that mean "come again" and those that mean trouble.
    private mutating func check(_ result: Int32) throws(RingError) {
        switch result {
        case 0...: return
        // Time is up; a signal came; completions overflowed and have to be reaped before more can be submitted.
        case -ETIME, -EINTR, -EBUSY, -EAGAIN: return
        case -EEXIST: throw Self.foreignThread
        default: throw RingError(report.tier == .epoll ? "epoll_wait" : "io_uring_enter", errno: -result)
        }
    }
}
