internal import CKernel
public import InterruptModel

// SET_IRQS: one request of the kernel's may be several messages here, since a message carries eventfds for all of its
// vectors or for none, and no more than the server takes.
extension VFIOUserClient {
    /// A part of a request that is one message.
    struct Chunk: Equatable {
        var start: UInt32
        var numbers: ArraySlice<Int32>
        var isRemoval: Bool { (numbers.first ?? -1) < 0 }
    }

    /// Splits eventfds into runs of one kind, eventfds or none, with at most `limit` eventfds each.
    static func chunks(_ numbers: [Int32], from start: UInt32, limit: Int) -> [Chunk] {
        var chunks: [Chunk] = []
        var place = 0
        while place < numbers.count {
            let removes = numbers[place] < 0
            var end = place
            while end < numbers.count, (numbers[end] < 0) == removes, removes || end - place < limit { end += 1 }
            chunks.append(Chunk(start: start + UInt32(place), numbers: numbers[place..<end]))
            place = end
        }
        return chunks
    }

    /// Carries out one SET_IRQS request, as one message or several.
    ///
    /// Either all of it happens, or, as far as the server lets it, none: when a later message fails, what the vectors
    /// were assigned to before is assigned again. That a vector raised in between is signalled to the new eventfd
    /// cannot be taken back.
    /// - Throws: The server's errno. The remedy says when taking back failed too.
    public mutating func setInterrupts(_ request: IRQRequest) throws(VFIOUserError) {
        let operation: StaticString = "SET_IRQS"
        guard case .eventfd(let numbers) = request.data, !numbers.isEmpty else {
            try send(request, operation)
            return record.note(request, owning: [])
        }
        guard request.start <= 2048, numbers.count <= 2048 else {
            throw VFIOUserError(operation, .system, errno: EINVAL, remedy: "no device has as many vectors")
        }
        guard server.maxMessageFDs > 0 || !numbers.contains(where: { $0 >= 0 }) else {
            throw VFIOUserError(operation, .system, errno: ENOTSUP, remedy: "the server takes no descriptors")
        }
        let (copies, errno) = InterruptRecord.duplicates(of: numbers)
        guard errno == 0 else {
            throw VFIOUserError(
                operation, .system, errno: errno, remedy: errno == EMFILE ? "raise RLIMIT_NOFILE (ulimit -n)" : "")
        }
        do throws(VFIOUserError) { try assign(request, numbers, operation) } catch {
            InterruptRecord.close(copies)
            guard socket != nil else { throw error }
            throw takeBack(request, numbers.count, after: error)
        }
        record.note(request, owning: copies)
    }

    /// Sends a request that carries no eventfds.
    private mutating func send(_ request: IRQRequest, _ operation: StaticString) throws(VFIOUserError) {
        _ = try call(.setIRQs, request.encoded, operation)
    }

    /// Sends all chunks without waiting in between, then looks at the answers; the first error is thrown.
    private mutating func assign(
        _ request: IRQRequest, _ numbers: [Int32], _ operation: StaticString
    ) throws(VFIOUserError) {
        let limit = Int(min(server.maxMessageFDs, UInt32(irqmux_SCM_MAX_FD)))
        var chunks = Self.chunks(numbers, from: request.start, limit: max(1, limit))
        // A server that follows Linux allocates vectors up to the end of the first range it sees, and may not add more:
        // so an index is enabled from the end.
        if request.action == .trigger, !record.enabled.contains(request.index) { chunks.reverse() }
        var sent: [UInt16] = []
        var answered = 0
        var failure: VFIOUserError?
        for chunk in chunks {
            while sent.count - answered >= max(1, options.window) {
                note(&failure, try outcome(sent[answered], operation))
                answered += 1
            }
            guard failure == nil else { break }
            // argsz is the fixed part: unlike the ioctl's, the eventfds are beside the message.
            let header = IRQSetHeader(
                argsz: UInt32(IRQSetHeader.size), flags: 4 | request.action.rawValue, index: request.index.rawValue,
                start: chunk.start, count: UInt32(chunk.numbers.count))
            let body = RawIRQRequest(header: header).bytes
            sent.append(try post(.setIRQs, body, fds: chunk.isRemoval ? [] : Array(chunk.numbers), operation))
        }
        while answered < sent.count {
            note(&failure, try outcome(sent[answered], operation))
            answered += 1
        }
        if let failure { throw failure }
    }

    private func note(_ failure: inout VFIOUserError?, _ outcome: VFIOUserError?) {
        if failure == nil { failure = outcome }
    }

    /// The refusal that answers a command, if it was refused; throws when no answer can be had at all.
    private mutating func outcome(_ id: UInt16, _ operation: StaticString) throws(VFIOUserError) -> VFIOUserError? {
        do throws(VFIOUserError) {
            _ = try result(id, operation)
            return nil
        } catch {
            guard error.kind == .refused else { throw error }
            return error
        }
    }

    /// Puts back what the vectors of a failed request had before.
    private mutating func takeBack(
        _ request: IRQRequest, _ count: Int, after error: VFIOUserError
    ) -> VFIOUserError {
        let operation: StaticString = "SET_IRQS"
        // An unmasking eventfd is one vector, so one message: refused, it changed nothing.
        guard request.action == .trigger else { return error }
        do throws(VFIOUserError) {
            if record.enabled.contains(request.index) {
                let old = record.assignments(request.index, from: request.start, count: count)
                try assign(request, old, operation)
            } else {
                do throws(VFIOUserError) {
                    try send(IRQRequest(request.index, .trigger, .none(count: 0)), operation)
                } catch {
                    // It is disabled already: a server that follows Linux did that itself.
                    guard error.kind == .refused else { throw error }
                }
            }
            return error
        } catch {
            var told = error
            told.remedy = "taking it back failed too: some vectors may be assigned and others not"
            return told
        }
    }

    // MARK: A new connection

    /// Connects again to the same path, after the connection was lost or to start over, and tells the server what the
    /// one before knew: memory, interrupt assignments, the mask of INTx and the eventfd that unmasks it.
    ///
    /// - Throws: What connecting throws; `EINVAL` for a client that was given its socket; `EMEDIUMTYPE` when the device
    ///   behind the path no longer has the vectors that were assigned. The client is without a connection then, and may
    ///   try again.
    public mutating func reconnect() throws(VFIOUserError) {
        guard let path else {
            throw VFIOUserError("reconnecting", .system, errno: EINVAL, remedy: "this client was given its socket")
        }
        try open(path)
        try negotiate()
        do throws(VFIOUserError) { try restore() } catch {
            close()
            throw error
        }
    }

    private mutating func restore() throws(VFIOUserError) {
        for map in maps {
            let fds = map.isShared && server.maxMessageFDs > 0 ? [map.descriptor] : []
            _ = try call(.dmaMap, map.map.encoded, fds: fds, "DMA_MAP")
        }
        for index in IRQIndex.allCases where record.enabled.contains(index) {
            let numbers = record.assignments(index)
            guard try interruptInfo(index).count >= UInt32(numbers.count) else {
                throw VFIOUserError(
                    "reconnecting", .refused, errno: EMEDIUMTYPE, remedy: "another device answers there now")
            }
            try restore(index, numbers)
        }
        if record.unmask >= 0 {
            try assign(IRQRequest(.intx, .unmask, .eventfd([record.unmask])), [record.unmask], "SET_IRQS")
        }
        if record.isMasked { try send(IRQRequest(.intx, .mask, .none(count: 1)), "SET_IRQS") }
    }

    /// An index is enabled from the end here too, although the record has it enabled.
    private mutating func restore(_ index: IRQIndex, _ numbers: [Int32]) throws(VFIOUserError) {
        guard !numbers.isEmpty else { return }
        let limit = max(1, Int(min(server.maxMessageFDs, UInt32(irqmux_SCM_MAX_FD))))
        for chunk in Self.chunks(numbers, from: 0, limit: limit).reversed() {
            let header = IRQSetHeader(
                argsz: UInt32(IRQSetHeader.size), flags: 4 | IRQRequest.Action.trigger.rawValue, index: index.rawValue,
                start: chunk.start, count: UInt32(chunk.numbers.count))
            let fds = chunk.isRemoval ? [] : Array(chunk.numbers)
            _ = try call(.setIRQs, RawIRQRequest(header: header).bytes, fds: fds, "SET_IRQS")
        }
    }
}
