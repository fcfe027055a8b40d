// The difference between what the registers say and what was carried out, as operations.
extension MSIRegisters {
    /// Emits what has to be done about the accesses since the last call, and takes the sink's answers over: what
    /// several vectors have in common at once, where the sink can, and the rest vector by vector in ascending order.
    /// Nothing when nothing changed.
    public mutating func synchronise<Sink: MessageSink & ~Copyable>(_ sink: inout Sink) {
        synchronise { request in
            switch request {
            case .one(let operation): sink.perform(operation)
            case .many(let batch, let vectors): sink.perform(batch, of: vectors)
            }
        }
    }

    /// The same, where the sink is a closure: it is called at once and not kept. Its answers are those of
    /// `MessageSink`.
    public mutating func synchronise(_ sink: (MessageRequest) -> Bool) {
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
        carry(.mask, sink)
        carry(.unmask, sink)
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

    /// Asks for what several vectors have in common; when it is refused, or there is one only, they are asked for one
    /// by one. (All that the guest enables is there from the beginning, so that nothing need be prepared.)
    private mutating func carry(_ batch: MessageBatch, _ sink: (MessageRequest) -> Bool) {
        var bits: UInt32 = 0
        for vector in 0..<enabledVectors {
            let bit: UInt32 = 1 << vector
            let isMasked = isMasked(vector)
            let isDue =
                batch == .mask
                ? isMasked && heldBits & bit == 0
                : !isMasked && heldBits & bit != 0 && message(vector) == carried[Int(vector)]
            if inUseBits & bit != 0, isDue { bits |= bit }
        }
        guard bits.nonzeroBitCount > 1 else { return }
        self.batch[0] = UInt64(bits)
        if sink(.many(batch, self.batch)) {
            statistics.operations &+= UInt64(bits.nonzeroBitCount)
            heldBits = batch == .mask ? heldBits | bits : heldBits & ~bits
        }
        self.batch[0] = 0
    }

    private mutating func carry(_ vector: UInt32, _ sink: (MessageRequest) -> Bool) -> Bool {
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

    private mutating func perform(_ operation: MessageOperation, _ sink: (MessageRequest) -> Bool) -> Bool {
        let isDone = sink(.one(operation))
        if isDone { statistics.operations &+= 1 }
        return isDone
    }
}
