import InterruptModel
import Testing

@Suite("The ledger closes, or says by how much it does not")
struct LedgerTests {
    @Test("an account that adds up leaves nothing unexplained")
    func closes() {
        var ledger = Ledger(raised: 10, delivered: 4, coalesced: 3, pending: 1)
        ledger.drops[.unassigned] = 2
        #expect(ledger.unexplained == 0)
        #expect(ledger.dropped == 2)
    }

    @Test("vanished signals are positive, surplus deliveries negative")
    func signs() {
        #expect(Ledger(raised: 5, delivered: 3).unexplained == 2)
        #expect(Ledger(raised: 3, delivered: 5).unexplained == -2)
    }

    @Test("a notification delivers one signal and coalesces the others", arguments: [0, 1, 2, 1000] as [UInt64])
    func deliverOnce(_ count: UInt64) {
        var ledger = Ledger(raised: count)
        ledger.deliverOnce(standingFor: count)
        #expect(ledger.unexplained == 0)
        #expect(ledger.delivered == min(count, 1))
        #expect(ledger.coalesced == (count == 0 ? 0 : count - 1))
    }

    @Test("every reason has a counter of its own", arguments: DropReason.allCases)
    func reasons(_ reason: DropReason) {
        var ledger = Ledger(raised: 7)
        ledger.drops[reason] = 7
        #expect(ledger.unexplained == 0)
        for other in DropReason.allCases where other != reason { #expect(ledger.drops[other] == 0) }
        #expect(reason.text.utf8CodeUnitCount > 0)
    }

    @Test("merging adds every field, so the sum closes when both do")
    func merge() {
        var left = Ledger(raised: 9, delivered: 2, coalesced: 3, pending: 4)
        let reasons = UInt64(DropReason.allCases.count)
        let dropped = reasons * (reasons + 1) / 2
        var right = Ledger(raised: 15 + dropped, delivered: 10, coalesced: 5)
        for (offset, reason) in DropReason.allCases.enumerated() { right.drops[reason] = UInt64(offset + 1) }
        left.merge(right)
        #expect(left.raised == 24 + dropped && left.delivered == 12 && left.coalesced == 8 && left.pending == 4)
        #expect(left.dropped == dropped)
        #expect(left.unexplained == 0)
    }
}
