import IRQMux
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
protocol JudgedWorld: ~Copyable {
    var host: Host { get set }
    var mutation: Mutation? { get }
    var reference: Reference { get set }
    /// The reference before this step, where the device may raise amid it.
    var earlier: Reference? { get set }
    /// What a read saw that it should not have.
    var disagreement: String? { get set }
    var shape: History.Shape { get }
    /// The host refused something for the vector.
    func isRefused(_ vector: Int) -> Bool
    /// Carries out what the registers ask for; `again` what was refused, too.
    mutating func synchronise(again: Bool)
    /// Assigns everything once more. What cannot be assigned is tried again when the owner heals.
    mutating func repair()
    /// Of 64 vectors those of which a saved state has to tell.
    mutating func owing(from first: UInt32) -> UInt64
    /// The host as in a process that has just begun; what pended in the device, a number a vector.
    mutating func moveIntoMachine() -> [UInt64]
    /// The host has an interrupt of the guest for the vector.
    func isInUse(_ vector: Int) -> Bool
    /// The registers as they are saved, with the bits of these vectors pending.
    func savedRegisters(pending: [Int]) -> InterruptState
    /// Takes saved registers over, with their pending bits or in a wrong way without.
    mutating func takeRegisters(of state: InterruptState, pending keeps: Bool)
    /// Sets a pending bit.
    mutating func setPending(_ vector: Int)
}

extension JudgedWorld where Self: ~Copyable {
    /// What went wrong goes well again. Where a vector signals nothing by now, the owner has everything assigned once
    /// more.
    mutating func heal() {
        host.heal()
        synchronise(again: true)
        if host.isCutOff {
            host.excuse()
            repair()
        }
    }

    /// The device is reset behind VFIO's back, and the owner sees it.
    mutating func backdoorReset(repaired isRepaired: Bool) {
        guard reference.isEnabled else { return }
        host.wipe()
        if isRepaired { repair() }
    }

    /// From the step's first effects on the device may raise.
    mutating func beginStep() {
        host.struck.removeAll(keepingCapacity: true)
        host.struckTold = 0
        earlier = host.ambush == nil && shape.kind != .msi ? nil : reference
    }

    /// The device will raise a vector amid what the host does.
    mutating func lieInWait(_ vector: Int, _ argument: UInt32) {
        guard reference.isEnabled else { return }
        host.ambush = (vector, argument % 24)
        earlier = reference
    }

    /// What went wrong goes well again, and nobody is held back.
    mutating func healAll() {
        host.ambush = nil
        beginStep()
        heal()
        host.haltAll(false)
    }

    /// After the last step, with everything healed: nothing may be owed any more.
    mutating func judgeEnd(_ step: Int) throws(Failure) {
        host.settleServed()
        host.turn()
        try judge(step)
        try judgeDelivery(step)
        try judgeAccounts(step)
    }

    /// Tells the reference what came to the guest since the last time.
    mutating func absorb() {
        for vector in host.struck[host.struckTold...] { reference.raise(vector) }
        host.struckTold = host.struck.count
        for receipt in host.receipts {
            let wrong = reference.receive(
                receipt.vector, address: receipt.message.address, data: receipt.message.data,
                standingFor: receipt.count, excused: receipt.isExcused, earlier: earlier, amid: !host.struck.isEmpty)
            if let wrong, disagreement == nil { disagreement = wrong }
        }
        host.receipts.removeAll(keepingCapacity: true)
    }

    /// What came to the guest in this step, and what it read.
    mutating func judge(_ step: Int) throws(Failure) {
        absorb()
        // The guest cannot see it before the owner heals, which hides it. Mutations are to be found by what it sees.
        if host.isOffInUse, mutation == nil {
            throw Failure(step: step, text: "the device's interrupts are off, and vectors are in use")
        }
        if let fault = host.fault { throw Failure(step: step, text: fault) }
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
