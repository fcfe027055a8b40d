// The difference between what the registers say and what was carried out, as operations.
extension MSIXTable {
    /// Emits what has to be done about the accesses since the last call, vector by vector in ascending order, and takes
    /// the sink's answers over. Nothing when nothing changed. Linear in the vectors touched, after 32 words at most.
    public mutating func synchronise<Sink: MessageSink & ~Copyable>(_ sink: inout Sink) {
        synchronise { sink.perform($0) }
    }

    /// The same, where the sink is a closure: it is called at once and not kept. Its answer is that of
    /// `MessageSink.perform`.
    public mutating func synchronise(_ sink: (MessageOperation) -> Bool) {
        guard isDirty else { return }
        isDirty = false
        if wasDisabled { carryDisable(sink) }
        if isEnabled, !isCarriedEnabled {
            isCarriedEnabled = perform(.enable(vectors: 0), sink)
            // Refused: no vector can be used either; the next unmasking, or `retry`, asks again.
            guard isCarriedEnabled else { return }
        }
        for word in 0..<dirty.count {
            var bits = dirty[word]
            guard bits != 0 else { continue }
            dirty[word] = 0
            while bits != 0 {
                let bit = bits.trailingZeroBitCount
                bits &= bits - 1
                let isDone = carry(word * 64 + bit, sink)
                note(word * 64 + bit, refused: !isDone)
            }
        }
    }

    /// Makes `synchronise` ask again for what was refused.
    ///
    /// - Returns: Whether there is something to ask for.
    @discardableResult
    public mutating func retry() -> Bool {
        if isEnabled, !isCarriedEnabled { isDirty = true }
        guard refused > 0 else { return isDirty }
        for index in 0..<entries.count where entries[index].flags.isRefused {
            dirty[index >> 6] |= 1 << UInt64(index & 63)
        }
        isDirty = true
        return true
    }

    private mutating func carryDisable(_ sink: (MessageOperation) -> Bool) {
        wasDisabled = false
        isCarriedEnabled = false
        _ = perform(.disable, sink)
        for index in 0..<entries.count {
            entries[index].flags.inUse = false
            entries[index].flags.isHeld = false
            entries[index].flags.isRefused = false
        }
        inUse = 0
        refused = 0
    }

    /// Brings one vector to what the registers say; false when the sink refused a step.
    private mutating func carry(_ index: Int, _ sink: (MessageOperation) -> Bool) -> Bool {
        let vector = UInt32(index)
        let entry = entries[index]
        guard !isMasked(vector) else {
            guard entry.flags.inUse, !entry.flags.isHeld else { return true }
            guard perform(.mask(vector: vector), sink) else { return false }
            entries[index].flags.isHeld = true
            return true
        }
        if !entry.flags.inUse {
            guard perform(.use(vector: vector, message: entry.message), sink) else { return false }
            entries[index].flags.inUse = true
            entries[index].flags.isHeld = false
            inUse += 1
            setCarried(index)
        } else if !entry.isCarried {
            guard perform(.message(vector: vector, message: entry.message), sink) else { return false }
            setCarried(index)
        }
        if entries[index].flags.isHeld {
            guard perform(.unmask(vector: vector), sink) else { return false }
            entries[index].flags.isHeld = false
        }
        guard isPending(vector) else { return true }
        guard perform(.deliver(vector: vector, message: entry.message), sink) else { return false }
        clearPending(vector)
        return true
    }

    private mutating func setCarried(_ index: Int) {
        entries[index].carriedAddress = entries[index].address
        entries[index].carriedData = entries[index].data
    }

    private mutating func note(_ index: Int, refused isRefused: Bool) {
        guard entries[index].flags.isRefused != isRefused else { return }
        entries[index].flags.isRefused = isRefused
        if isRefused { refused += 1 } else { refused -= 1 }
    }

    private mutating func perform(_ operation: MessageOperation, _ sink: (MessageOperation) -> Bool) -> Bool {
        let isDone = sink(operation)
        if isDone { statistics.operations &+= 1 }
        return isDone
    }
}
