// The difference between what the registers say and what was carried out, as operations.
extension MSIXTable {
    /// Emits what has to be done about the accesses since the last call, and takes the sink's answers over: what
    /// several vectors have in common at once, where the sink can, and the rest vector by vector in ascending order.
    /// Nothing when nothing changed. Linear in the vectors touched, after 32 words at most.
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
        if wasDisabled { carryDisable(sink) }
        if isEnabled, !isCarriedEnabled {
            isCarriedEnabled = perform(.enable(vectors: 0), sink)
            // Refused: no vector can be used either; the next unmasking, or `retry`, asks again.
            guard isCarriedEnabled else { return }
        }
        if isSeveral {
            carry(.mask, sink)
            carry(.unmask, sink)
            carry(.prepare, sink)
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
        for index in 0..<entries.count where entries[index].isRefused {
            dirty[index >> 6] |= 1 << UInt64(index & 63)
        }
        isDirty = true
        return true
    }

    private mutating func carryDisable(_ sink: (MessageRequest) -> Bool) {
        wasDisabled = false
        isCarriedEnabled = false
        _ = perform(.disable, sink)
        for index in 0..<entries.count {
            entries[index].inUse = false
            entries[index].isHeld = false
            entries[index].isRefused = false
        }
        inUse = 0
        refused = 0
    }

    // MARK: Several at once

    /// Whether more than one vector has to be looked at.
    private var isSeveral: Bool {
        var count = 0
        for word in 0..<dirty.count { count += dirty[word].nonzeroBitCount }
        return count > 1
    }

    /// Asks for what several vectors have in common; when it is refused, or there is one only, they are asked for one
    /// by one.
    private mutating func carry(_ batch: MessageBatch, _ sink: (MessageRequest) -> Bool) {
        let count = forEachDirty(of: batch) { table, index in table.batch[index >> 6] |= 1 << UInt64(index & 63) }
        if count > 1, sink(.many(batch, self.batch)), batch != .prepare {
            statistics.operations &+= UInt64(count)
            forEachDirty(of: batch) { table, index in
                table.entries[index].isHeld = batch == .mask
                table.note(index, refused: false)
                // Something to deliver is all that can be left to do.
                if !table.isPending(UInt32(index)) || batch == .mask {
                    table.dirty[index >> 6] &= ~(1 << UInt64(index & 63))
                }
            }
        }
        if count > 0 { for word in 0..<self.batch.count { self.batch[word] = 0 } }
    }

    /// Calls `body` with each vector that needs nothing before this. Returns how many there are.
    @discardableResult
    private mutating func forEachDirty(
        of batch: MessageBatch, _ body: (_ table: inout MSIXTable, _ index: Int) -> Void
    ) -> Int {
        var count = 0
        for word in 0..<dirty.count {
            var bits = dirty[word]
            while bits != 0 {
                let index = word * 64 + bits.trailingZeroBitCount
                bits &= bits - 1
                guard self.batch(of: index) == batch else { continue }
                count += 1
                body(&self, index)
            }
        }
        return count
    }

    private func batch(of index: Int) -> MessageBatch? {
        let entry = entries[index]
        if isMasked(UInt32(index)) { return entry.inUse && !entry.isHeld ? .mask : nil }
        if !entry.inUse { return .prepare }
        return entry.isHeld && entry.isCarried ? .unmask : nil
    }

    // MARK: One by one

    /// Brings one vector to what the registers say; false when the sink refused a step.
    private mutating func carry(_ index: Int, _ sink: (MessageRequest) -> Bool) -> Bool {
        let vector = UInt32(index)
        let entry = entries[index]
        guard !isMasked(vector) else {
            guard entry.inUse, !entry.isHeld else { return true }
            guard perform(.mask(vector: vector), sink) else { return false }
            entries[index].isHeld = true
            return true
        }
        if !entry.inUse {
            guard perform(.use(vector: vector, message: entry.message), sink) else { return false }
            entries[index].inUse = true
            entries[index].isHeld = false
            inUse += 1
            setCarried(index)
        } else if !entry.isCarried {
            guard perform(.message(vector: vector, message: entry.message), sink) else { return false }
            setCarried(index)
        }
        if entries[index].isHeld {
            guard perform(.unmask(vector: vector), sink) else { return false }
            entries[index].isHeld = false
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
        guard entries[index].isRefused != isRefused else { return }
        entries[index].isRefused = isRefused
        if isRefused { refused += 1 } else { refused -= 1 }
    }

    private mutating func perform(_ operation: MessageOperation, _ sink: (MessageRequest) -> Bool) -> Bool {
        let isDone = sink(.one(operation))
        if isDone { statistics.operations &+= 1 }
        return isDone
    }
}
