internal import InterruptModel

/// One thing that loopback tried and what came of it.
struct LoopbackCheck {
    enum Status: String {
        case pass, fail, skip
    }

    let name: String
    let index: IRQIndex
    /// The vector, or `nil` for a check of the whole index.
    let vector: UInt32?
    let status: Status
    /// Why it failed or was skipped, or what was seen.
    let detail: String
}

/// What loopback is asked to do.
struct LoopbackPlan {
    /// How many vectors each index of the device has.
    var counts: [IRQIndex: UInt32]
    /// How many vectors of MSI-X and MSI are tried at most.
    var vectors: UInt32
    /// How many interrupts the storm of each index has.
    var storm: UInt64
    /// What the storm draws from.
    var seed: UInt64
    var wait: WaitChoice

    /// How many vectors of `index` are tried.
    func count(_ index: IRQIndex) -> UInt32 { min(counts[index] ?? 0, max(vectors, 1)) }

    /// The most vectors that are connected at a time: INTx, MSI and MSI-X exclude each other.
    var mostConnected: UInt32 { max(count(.intx), count(.msi), count(.msix)) }
}
