internal import CKernel

// Adding, removing, arming and disarming: bookkeeping only. Requests to the kernel are collected in the work list and
// go out together with the next wait, so that a change of 2048 sources costs a handful of system calls.
extension EventLoop {
    /// Bytes that each place in the table of sources takes.
    public static var bytesPerSource: Int { MemoryLayout<Source>.stride }

    /// Adds an eventfd and arms it.
    ///
    /// The descriptor stays the caller's. The kernel keeps the eventfd itself while it is armed, so closing the
    /// descriptor does not end the source: remove it first. With `edge`, a counter that is not zero is reported at
    /// once. One eventfd may be several `edge` sources; after an overflow of completions its counter is taken by one of
    /// them, and what the others had not been told of by then, they are not.
    ///
    /// - Parameters:
    ///   - descriptor: An eventfd, of any flags; a spinning loop serves O_NONBLOCK ones fastest.
    ///   - tag: Comes back with each event.
    /// - Throws: `ENOSPC` when the table is full; `EBADF`; with another delivery than `edge` `EMFILE`, for then the
    ///   loop keeps a descriptor of its own.
    public mutating func add(_ descriptor: Int32, tag: UInt64, delivery: Delivery = .edge) throws(RingError) -> SourceID
    {
        let flags = irqmux_fd_flags(descriptor)
        guard flags >= 0 else {
            throw RingError("adding a source", errno: -flags, remedy: "the descriptor is not open")
        }
        if firstFree == .max { reclaim() }
        guard firstFree != .max else {
            throw RingError(
                "adding a source", errno: ENOSPC, remedy: "make the loop with a greater LoopOptions.capacity")
        }
        // Where a count is put back that was read and is nobody's any more: the caller's descriptor may be closed by
        // then, and when the source is removed there may be none left to duplicate it with.
        let keeper = delivery == .edge ? -1 : irqmux_duplicate(descriptor)
        guard delivery == .edge || keeper >= 0 else {
            throw RingError("adding a source", errno: -keeper, remedy: "raise RLIMIT_NOFILE (ulimit -n)")
        }
        let index = firstFree
        firstFree = sources[index].link
        sources[index] = Source(
            descriptor: descriptor, generation: sources[index].generation, tag: tag, delivery: delivery,
            nonblocking: flags & O_NONBLOCK != 0, keeper: keeper)
        sourceCount += 1
        enqueueArming(index)
        reconsiderDirectReading()
        return SourceID(index: index, generation: sources[index].generation)
    }

    /// Removes a source. No event of it is handed out any more, also none that is queued already.
    ///
    /// Signals that were not handed out stay in the eventfd, or are put back there by the next wait; then the place is
    /// free. The descriptor may be closed at once.
    ///
    /// - Throws: `ENOENT` when it was removed before.
    public mutating func remove(_ source: SourceID) throws(RingError) {
        let index = try sources.locate(source, "removing a source")
        let phase = sources[index].phase
        sourceCount -= 1
        sources[index].removed = true
        switch phase {
        case .idle where !sources[index].listed: free(index)
        case .direct:
            direct.remove(index)
            free(index)
        case .idle, .arming: sources[index].phase = .arming  // the flush finds `removed` and frees it
        case .armed: cancel(index)
        case .cancelling, .free: sources[index].wanted = false
        }
        reconsiderDirectReading()
    }

    /// Listens again to a source that was disarmed, or whose `acknowledged` event was dealt with. No effect when armed.
    ///
    /// Signals that came meanwhile are reported at once. With `edge` so are signals reported before, once: their number
    /// is not known, and reporting twice is better than not at all.
    ///
    /// - Throws: `ENOENT` when it was removed.
    public mutating func arm(_ source: SourceID) throws(RingError) {
        let index = try sources.locate(source, "arming a source")
        switch sources[index].phase {
        case .idle: enqueueArming(index)
        case .cancelling: sources[index].wanted = true
        case .arming, .armed, .direct, .free: break
        }
    }

    /// Stops listening. Signals stay in the eventfd; none is handed out until `arm`. No effect when disarmed.
    ///
    /// - Throws: `ENOENT` when it was removed.
    public mutating func disarm(_ source: SourceID) throws(RingError) {
        let index = try sources.locate(source, "disarming a source")
        switch sources[index].phase {
        case .arming: sources[index].phase = .idle
        case .armed: cancel(index)
        case .cancelling: sources[index].wanted = false
        case .direct:
            direct.remove(index)
            sources[index].phase = .idle
        case .idle, .free: break
        }
    }

    /// How many events were handed out for a source, and how many signals were counted by reading it.
    ///
    /// - Throws: `ENOENT` when it was removed.
    public func counts(of source: SourceID) throws(RingError) -> (notifications: UInt64, taken: UInt64) {
        let index = try sources.locate(source, "reading a source's counts")
        return (sources[index].notifications, sources[index].taken)
    }

    /// Signals that were read, and whose event has not been handed out yet: neither the eventfd's counter nor `counts`
    /// has them. They are handed out next, or put back into the eventfd.
    ///
    /// - Throws: `ENOENT` when it was removed.
    public func readAhead(of source: SourceID) throws(RingError) -> UInt64 {
        let index = try sources.locate(source, "reading a source's counts")
        switch sources[index].phase {
        case .armed, .cancelling: return sources[index].delivery == .edge ? 0 : sources[index].counter
        case .direct: return direct.readAhead(of: index)
        case .free, .idle, .arming: return 0
        }
    }

    // MARK: The work list

    mutating func enqueueArming(_ index: UInt32) {
        sources[index].phase = .arming
        enqueue(index)
    }

    mutating func enqueue(_ index: UInt32) {
        guard !sources[index].listed else { return }
        sources[index].listed = true
        sources[index].link = .max
        if lastWork == .max { firstWork = index } else { sources[lastWork].link = index }
        lastWork = index
    }

    mutating func cancel(_ index: UInt32) {
        sources[index].phase = .cancelling
        sources[index].cancelDue = true
        sources[index].wanted = false
        cancelling += 1
        enqueue(index)
    }

    /// Gives a place back. The generation grows here, so that whatever still names the old life is recognised.
    mutating func free(_ index: UInt32) {
        releaseKeeper(index)
        sources[index].generation &+= 1
        sources[index].phase = .free
        sources[index].link = firstFree
        firstFree = index
    }
}

extension Slab<Source> {
    /// The place of a source that is alive.
    func locate(_ source: SourceID, _ operation: StaticString) throws(RingError) -> UInt32 {
        guard source.index < UInt32(count), self[source.index].generation == source.generation,
            self[source.index].phase != .free, !self[source.index].removed
        else { throw RingError(operation, errno: ENOENT, remedy: "the source was removed") }
        return source.index
    }
}
