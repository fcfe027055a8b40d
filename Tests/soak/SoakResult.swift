import Exerciser
import InterruptModel
import Synchronization

/// Where all signals of a run went.
struct SoakResult {
    /// By the mux's account, but for `raised`, which is the device's.
    let raised, delivered, coalesced, pending, dropped: UInt64
    let unexplained: Int64
    /// Vectors whose last signal nobody was told of, and deliveries on the account that never reached anybody.
    let lost: UInt64
    /// Deliveries that reached somebody and are not on the account, or more deliveries than there were signals.
    let duplicated: UInt64
    /// Failed vectors and sources; any is a fault.
    let failures: UInt64
    let changes: UInt64
    let moves: UInt64

    init(
        _ ledger: Ledger, _ vectors: [Ledger], _ records: [VectorRecord], _ device: Exerciser, changes: UInt64,
        moves: UInt64
    ) {
        var (raised, lost, duplicated, failures) = (UInt64(0), UInt64(0), UInt64(0), UInt64(0))
        for vector in records.indices {
            let received = records[vector].received.load(ordering: .relaxed)
            let count = device.raisedCount(Vector(.msix, UInt32(vector))) ?? 0
            raised += count
            if !records[vector].hasSeen(device, vector) { lost += 1 }
            if received < vectors[vector].delivered { lost += vectors[vector].delivered - received }
            if received > vectors[vector].delivered { duplicated += received - vectors[vector].delivered }
            if received > count { duplicated += received - count }
            failures += records[vector].failures.load(ordering: .relaxed)
        }
        self.raised = raised
        delivered = ledger.delivered
        coalesced = ledger.coalesced
        pending = ledger.pending
        dropped = ledger.dropped
        unexplained = Int64(bitPattern: raised &- delivered &- coalesced &- pending &- dropped)
        self.lost = lost
        self.duplicated = duplicated
        self.failures = failures
        self.changes = changes
        self.moves = moves
    }

    var isClean: Bool { lost == 0 && duplicated == 0 && unexplained == 0 && failures == 0 }

    /// One line.
    var json: String {
        """
        {"raised": \(raised), "delivered": \(delivered), "coalesced": \(coalesced), "pending": \(pending), \
        "dropped": \(dropped), "lost": \(lost), "duplicated": \(duplicated), "unexplained": \(unexplained)}
        """
    }
}
