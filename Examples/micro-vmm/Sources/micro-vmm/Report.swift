// What happened, and whether it is what had to.
import EventRing
import IRQMux
import InterruptModel
import Synchronization

struct Report {
    let rounds: UInt64
    let taken: (messages: UInt64, line: UInt64, pending: UInt64)
    let messageRings: UInt64
    let lineRings: UInt64
    let way: INTxChoice
    let exits: UInt64
    let ledger: Ledger
    let messageRounds: HistogramSnapshot
    let lineRounds: HistogramSnapshot

    init(
        rounds: UInt64, taken: (messages: UInt64, line: UInt64, pending: UInt64), way: INTxChoice, bus: Bus,
        wires: Wires, ledger: Ledger
    ) {
        self.rounds = rounds
        self.taken = taken
        messageRings = wires.messageRings.load(ordering: .acquiring)
        lineRings = wires.lineRings.load(ordering: .acquiring)
        self.way = way
        exits = bus.exits
        self.ledger = ledger
        messageRounds = bus.messageRounds.histogram.snapshot()
        lineRounds = bus.lineRounds.histogram.snapshot()
    }

    /// Two messages are raised under a mask, beside the rounds.
    private var messages: UInt64 { rounds + UInt64(GuestProgram.maskedMessages) }

    /// One request at a time, so everything is exact: nothing may share a notification, nothing may be left over.
    var isComplete: Bool {
        taken.messages == messages && messageRings == messages && taken.line == rounds && lineRings == rounds
            && taken.pending == UInt64(GuestProgram.maskedMessages) && ledger.raised == messages + rounds
            && ledger.delivered == messages + rounds && ledger.pending == 0 && ledger.unexplained == 0
    }

    var text: String {
        """
        MSI-X: \(taken.messages) of \(messages) taken by the guest, doorbell rung \(messageRings) times
        masked: \(taken.pending) of \(GuestProgram.maskedMessages) seen in the pending bits, delivered by unmasking
        INTx: \(taken.line) of \(rounds) taken by the guest, doorbell rung \(lineRings) times
        \(way)
        ledger: raised \(ledger.raised), delivered \(ledger.delivered), coalesced \(ledger.coalesced), \
        pending \(ledger.pending), unexplained \(ledger.unexplained)
        exits: \(exits) for registers, none for doorbells
        latency of a round, from raise to raise, MSI-X: \(Self.figures(messageRounds)); \
        INTx: \(Self.figures(lineRounds))
        """
    }

    private static func figures(_ latency: HistogramSnapshot) -> String {
        let named = [("p50", 50.0), ("p99", 99.0), ("max", 100.0)]
        return named.map { "\($0.0) \(latency.percentile($0.1) / 1000) µs" }.joined(separator: ", ")
    }
}
