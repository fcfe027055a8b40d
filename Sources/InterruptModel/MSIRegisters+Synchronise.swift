// The difference between what the registers say and what was carried out, as operations.
extension MSIRegisters {
    /// Emits what has to be done about the accesses since the last call, vector by vector in ascending order, and takes
    /// the sink's answers over. Nothing when nothing changed.
    public mutating func synchronise<Sink: MessageSink & ~Copyable>(_ sink: inout Sink) {
        synchronise { sink.perform($0) }
    }

    /// The same, where the sink is a closure: it is called at once and not kept. Its answer is that of
    /// `MessageSink.perform`.
    public mutating func synchronise(_ sink: (MessageOperation) -> Bool) {
        guard isDirty else { return }
        isDirty = false
        if wasDisabled {
            wasDisabled = false
            isCarriedEnabled = false
            _ = perform(.disable, sink)
            inUseBits = 0
            heldBits = 0
            refusedBits = 0
        }
        guard isEnabled else { return }
        if !isCarriedEnabled {
            isCarriedEnabled = perform(.enable(vectors: enabledVectors), sink)
            guard isCarriedEnabled else { return }
        }
        for vector in 0..<enabledVectors {
            if carry(vector, sink) { refusedBits &= ~(1 << vector) } else { refusedBits |= 1 << vector }
        }
    }

    /// Makes `synchronise` ask again for what was refused.
    ///
    /// - Returns: Whether there is something to ask for.
    @discardableResult
    public mutating func retry() -> Bool {
        if refusedBits != 0 || isEnabled && !isCarriedEnabled { isDirty = true }
        return isDirty
    }

    private mutating func carry(_ vector: UInt32, _ sink: (MessageOperation) -> Bool) -> Bool {
        let bit: UInt32 = 1 << vector
        guard !isMasked(vector) else {
            guard inUseBits & bit != 0, heldBits & bit == 0 else { return true }
            guard perform(.mask(vector: vector), sink) else { return false }
            heldBits |= bit
            return true
        }
        let message = message(vector)
        if inUseBits & bit == 0 {
            guard perform(.use(vector: vector, message: message), sink) else { return false }
            inUseBits |= bit
            carried[Int(vector)] = message
        } else if message != carried[Int(vector)] {
            guard perform(.message(vector: vector, message: message), sink) else { return false }
            carried[Int(vector)] = message
        }
        if heldBits & bit != 0 {
            guard perform(.unmask(vector: vector), sink) else { return false }
            heldBits &= ~bit
        }
        guard pendingBits & bit != 0 else { return true }
        guard perform(.deliver(vector: vector, message: message), sink) else { return false }
        pendingBits &= ~bit
        return true
    }

    private mutating func perform(_ operation: MessageOperation, _ sink: (MessageOperation) -> Bool) -> Bool {
        let isDone = sink(operation)
        if isDone { statistics.operations &+= 1 }
        return isDone
    }
}
