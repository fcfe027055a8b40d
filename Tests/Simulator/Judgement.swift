import InterruptModel

/// A run failed: what was wrong, and after which step.
public struct Failure: Error, Equatable, Sendable, CustomStringConvertible {
    /// The step, from 0; the number of steps for the judgement at the end.
    public var step: Int
    /// What is wrong.
    public var text: String
    /// Both.
    public var description: String { "after step \(step): \(text)" }
}

/// A guest's registers with the host below them and the reference that judges both.
protocol JudgedWorld {
    var host: Host { get set }
    var reference: Reference { get set }
    /// What a read saw that it should not have.
    var disagreement: String? { get set }
    var shape: History.Shape { get }
    /// The host refused something for the vector.
    func isRefused(_ vector: Int) -> Bool
}

extension JudgedWorld {
    /// What went wrong goes well again, and everybody is there.
    mutating func healAll() {
        host.heal()
        for vector in host.vectors.indices {
            host.park(vector, false)
            host.halt(vector, false)
        }
    }

    /// After the last step, with everything healed: nothing may be owed any more.
    mutating func judgeEnd(_ step: Int) throws(Failure) {
        host.commit()
        host.turn()
        try judge(step)
        try judgeDelivery(step)
        try judgeAccounts(step)
    }

    /// Tells the reference what came to the guest since the last time.
    mutating func absorb() {
        for receipt in host.receipts {
            let wrong = reference.receive(
                receipt.vector, address: receipt.message.address, data: receipt.message.data,
                standingFor: receipt.count)
            if let wrong, disagreement == nil { disagreement = wrong }
        }
        host.receipts.removeAll(keepingCapacity: true)
    }

    /// What came to the guest in this step, and what it read.
    mutating func judge(_ step: Int) throws(Failure) {
        absorb()
        if let disagreement { throw Failure(step: step, text: disagreement) }
    }

    /// Nothing keeps anything from the guest any more: nothing may be owed to an unmasked vector.
    private func judgeDelivery(_ step: Int) throws(Failure) {
        for vector in host.vectors.indices where !reference.isMasked(vector) {
            if isRefused(vector), shape.hostVectors < shape.vectors { continue }
            let entry = reference.entries[vector]
            if entry.isKickDue {
                throw Failure(step: step, text: "vector \(vector) was open when saved, and was not told when loaded")
            }
            guard entry.owed > 0 || entry.isUntold else { continue }
            throw Failure(step: step, text: "vector \(vector) was raised, is unmasked, and never reached the guest")
        }
    }

    /// The ledger closes, and says what the reference says.
    private func judgeAccounts(_ step: Int) throws(Failure) {
        for vector in host.vectors.indices {
            let (ledger, entry) = (host.ledger(vector), reference.entries[vector])
            guard ledger.unexplained == 0 else {
                throw Failure(step: step, text: "vector \(vector): \(ledger.unexplained) of its signals unexplained")
            }
            guard ledger.delivered == entry.received, ledger.pending == entry.owed, ledger.raised == entry.raised,
                ledger.coalesced == entry.merged, ledger.dropped == entry.givenUp
            else { throw Failure(step: step, text: "vector \(vector): the ledger says \(ledger), the guest \(entry)") }
        }
    }
}
