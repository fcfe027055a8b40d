internal import CKernel

// The hot path. One event costs: two loads from the completion queue, one look at the source's cache line, one counter,
// and an eighth of a time stamp. The gate (Scripts/hot-symbols.txt) fails the build if anything here allocates,
// retains, locks or copies memory.
extension EventLoop {
    /// The next event of the batch at hand; `nil` when there is none, and then `wait` is due.
    ///
    /// A batch is what was there when it began: completions that come meanwhile are the next wait's, so that handlers
    /// which signal for ever keep neither timers nor other threads waiting.
    /// Never enters the kernel and never waits.
    public mutating func next() -> Event? {
        while true {
            guard position != end || refill() else { break }
            let completion = queue[position]
            position &+= 1
            fetchAhead()
            let token = Token(bits: completion.userData)
            let index = token.index
            if completion.flags & Self.more != 0, completion.result & Self.pollIn != 0, completion.result > 0,
                token.names(sources[index]), sources[index].phase == .armed
            {
                sources[index].notifications &+= 1
                return makeEvent(index)
            }
            if let event = settle(completion, token) { return event }
        }
        // In line: an event of its own that only passes through here would be copied by words wider than those that it
        // was written by, and wait for them.
        if let (index, count) = direct.takeReady() { return nextDirect(index, count) }
        return nextTimer()
    }

    /// Asks for the cache line of the source four events on: with thousands of sources the table does not fit the first
    /// cache, and the kernel's own work has filled it besides.
    @inline(__always)
    private mutating func fetchAhead() {
        let ahead = position &+ 3
        guard end &- ahead &- 1 < UInt32.max / 2 else { return }
        let index = Token(bits: queue[ahead].userData).index
        // SAFETY: only an address is computed, and a prefetch of any address is harmless.
        unsafe irqmux_prefetch(sources.base + Int(index))
    }

    @inline(__always)
    private mutating func makeEvent(_ index: UInt32, kind: Event.Kind = .signal, count: UInt64 = 0) -> Event {
        takeStamp()
        return Event(
            kind: kind, source: SourceID(index: index, generation: sources[index].generation), count: count,
            tag: sources[index].tag, ticks: stamp)
    }

    /// Takes what has come, once a wait. One acquire and one release a batch.
    @inline(__always)
    private mutating func refill() -> Bool {
        guard mayRefill else { return false }
        mayRefill = false
        queue.consume(upTo: position)
        end = queue.end
        guard position != end else { return false }
        fullFetches = end &- position < Self.fullFetch ? 0 : fullFetches &+ 1
        beginBatch()
        return true
    }

    /// What the loop read itself.
    @inline(__always)
    private mutating func nextDirect(_ index: UInt32, _ count: UInt64) -> Event {
        if !inBatch { beginBatch() }
        sources[index].taken &+= count
        sources[index].notifications &+= 1
        let delivery = sources[index].delivery
        if delivery == .acknowledged {
            direct.remove(index)
            sources[index].phase = .idle
        }
        return makeEvent(index, count: delivery == .edge ? 0 : count)
    }

    /// A timer that is due. Ends the batch when there is none.
    @inline(never)
    private mutating func nextTimer() -> Event? {
        if let timer = timers.takeDue() {
            if !inBatch { beginBatch() }
            takeStamp()
            statistics.timers &+= 1
            return Event(
                kind: .timer, source: SourceID(index: .max, generation: 0), count: timer.intervals, tag: timer.tag,
                ticks: stamp)
        }
        if inBatch { endBatch() }
        return nil
    }

    /// Everything but an armed edge source's notification: the end of a request, a count, a wake-up, an answer to a
    /// cancellation, something stale.
    @inline(never)
    private mutating func settle(_ completion: Completion, _ token: Token) -> Event? {
        switch token.kindBits {
        case Token.Kind.wakeUp.rawValue:
            wakeUpArmed = backend.settleWakeUp(control.wake)
            return nil
        case Token.Kind.cancel.rawValue:
            settleCancel(completion, token)
            return nil
        case Token.Kind.source.rawValue where token.names(sources[token.index]):
            return settleSource(completion, token.index)
        default:
            statistics.stale &+= 1
            return nil
        }
    }

    /// The kernel's answer to a cancellation. `-EALREADY` means that the request was just firing: a multishot poll then
    /// stays armed, so it has to be cancelled again.
    private mutating func settleCancel(_ completion: Completion, _ token: Token) {
        let index = token.index
        guard sources[index].generation & Token.generationMask == token.generation,
            sources[index].phase == .cancelling, completion.result == -EALREADY
        else { return }
        sources[index].cancelDue = true
        enqueue(index)
    }

    private mutating func settleSource(_ completion: Completion, _ index: UInt32) -> Event? {
        let ended = completion.flags & Self.more == 0
        switch sources[index].phase {
        case .armed:
            return ended ? settleEnd(completion, index) : signalled(completion, index)
        case .cancelling where ended:
            cancelling -= 1
            if sources[index].removed { statistics.stale &+= completion.result > 0 ? 1 : 0 }
            if completion.result == 8, sources[index].delivery != .edge {
                // A READ that completed although it was being cancelled: the count goes back to where it was, and the
                // next arming finds it. (A removed source's descriptor may be somebody else's by now.)
                _ = irqmux_eventfd_signal(sources[index].keeper, sources[index].counter)
            }
            finishCancelling(index)
            return nil
        case .cancelling:
            // Seen while disarming. The counter still holds the signal, so arming reports it.
            if sources[index].removed { statistics.stale &+= 1 }
            return nil
        case .free, .idle, .arming, .direct:
            statistics.stale &+= 1
            return nil
        }
    }

    func releaseKeeper(_ index: UInt32) {
        guard sources[index].keeper >= 0 else { return }
        _ = irqmux_close(sources[index].keeper)
        sources[index].keeper = -1
    }

    private mutating func finishCancelling(_ index: UInt32) {
        sources[index].cancelDue = false
        if sources[index].removed {
            // Still in the work list when the answer overtook a second cancellation: then the flush frees it.
            if sources[index].listed { sources[index].phase = .arming } else { free(index) }
        } else if sources[index].wanted {
            enqueueArming(index)
        } else {
            sources[index].phase = .idle
        }
    }

    /// A request that ended by itself: a READ with its count, a poll that overflowed, an error.
    private mutating func settleEnd(_ completion: Completion, _ index: UInt32) -> Event? {
        let edge = sources[index].delivery == .edge
        sources[index].phase = .idle
        if completion.result < 0, completion.result != -EAGAIN, completion.result != -ECANCELED {
            return makeEvent(index, kind: .failed(errno: -completion.result))
        }
        statistics.rearms &+= edge || completion.result < 0 ? 1 : 0
        if completion.result < 0 {
            enqueueArming(index)
            return nil
        }
        if sources[index].delivery != .acknowledged { enqueueArming(index) }
        guard edge else { return counted(sources[index].counter, index) }
        // Nobody polls the eventfd at this moment, so its counter may be taken. What is taken here is told by this
        // event; what comes later is found by the next arming. Left in place, it would be reported twice.
        takeCounter(index)
        return signalled(completion, index)
    }

    private mutating func signalled(_ completion: Completion, _ index: UInt32) -> Event? {
        // POLLERR alone: the counter has reached its end, which only happens to one that nobody has ever read.
        sources[index].notifications &+= 1
        return makeEvent(index)
    }

    mutating func counted(_ count: UInt64, _ index: UInt32) -> Event {
        sources[index].taken &+= count
        sources[index].notifications &+= 1
        return makeEvent(index, count: count)
    }

    private mutating func takeCounter(_ index: UInt32) {
        var count: UInt64 = 0
        // SAFETY: the pointer is valid for the call.
        if unsafe irqmux_eventfd_take_without_waiting(sources[index].descriptor, &count) == 0 {
            sources[index].taken &+= count
        }
    }

    private static var more: UInt32 { 1 << 1 }  // IORING_CQE_F_MORE
    private static var pollIn: Int32 { 1 }  // POLLIN
}

extension Token {
    /// Whether this is a request of the life that `source` is in.
    @inline(__always) func names(_ source: Source) -> Bool {
        UInt32(truncatingIfNeeded: bits &>> 32)
            == UInt32(Kind.source.rawValue) << 24 | source.generation & Self.generationMask
    }
}
