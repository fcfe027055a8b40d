import InterruptModel

/// Writes operations down, and refuses those that a test says.
struct Recorder: MessageSink {
    var operations: [MessageOperation] = []
    var refuses: (MessageOperation) -> Bool = { _ in false }

    mutating func perform(_ operation: MessageOperation) -> Bool {
        guard !refuses(operation) else { return false }
        operations.append(operation)
        return true
    }

    /// Several at once: written down apart, where they are taken.
    var takesBatches = false
    var batches: [Batch] = []
    struct Batch: Equatable {
        var kind: MessageBatch
        var vectors: [UInt64]
    }

    mutating func perform(_ batch: MessageBatch, of vectors: [UInt64]) -> Bool {
        guard takesBatches else { return false }
        batches.append(Batch(kind: batch, vectors: vectors))
        return true
    }

    /// What was recorded since the last call.
    mutating func take() -> [MessageOperation] {
        defer { operations = [] }
        return operations
    }
}

/// The message that tests give to vector `n`.
func message(_ vector: UInt32, generation: UInt32 = 0) -> InterruptMessage {
    InterruptMessage(address: 0xfee0_0000 | UInt64(generation) << 12, data: 0x4000 + vector)
}

extension MSIXTable {
    /// What Linux's `pci_write_msg_msix` does: three DWORDs.
    mutating func program(_ vector: UInt32, _ message: InterruptMessage) {
        let base = UInt64(vector) * 16
        writeTable(offset: base, width: 4, message.address & 0xffff_ffff)
        writeTable(offset: base + 4, width: 4, message.address >> 32)
        writeTable(offset: base + 8, width: 4, UInt64(message.data))
    }

    /// What the sink is told now, where it takes several at once.
    mutating func together(refusing refuses: @escaping (MessageOperation) -> Bool = { _ in false })
        -> (batches: [Recorder.Batch], operations: [MessageOperation])
    {
        var recorder = Recorder(refuses: refuses, takesBatches: true)
        synchronise(&recorder)
        return (recorder.batches, recorder.operations)
    }

    mutating func setMask(_ vector: UInt32, _ masked: Bool) {
        writeTable(offset: UInt64(vector) * 16 + 12, width: 4, masked ? 1 : 0)
    }

    mutating func enable(functionMasked: Bool = false) {
        writeMessageControl(0x8000 | (functionMasked ? 0x4000 : 0))
    }

    mutating func disable() { writeMessageControl(0) }

    /// What the sink is told now.
    mutating func operations(refusing refuses: @escaping (MessageOperation) -> Bool = { _ in false })
        -> [MessageOperation]
    {
        var recorder = Recorder(refuses: refuses)
        synchronise(&recorder)
        return recorder.operations
    }
}
