import IRQMux
import InterruptModel

/// Where all signals of a run went.
struct SoakResult {
    /// The device's count.
    var raised: UInt64 = 0
    /// To handlers and targets, and runs of the guest's handlers.
    var delivered: UInt64 = 0
    /// By the mux's account, and what the guest's local APIC merged.
    var coalesced: UInt64
    let pending, dropped: UInt64
    /// Vectors whose last signal of a round reached nobody, and deliveries on the account that never reached anybody.
    var lost: UInt64 = 0
    /// Deliveries that reached somebody and are not on the account, or more deliveries than there were signals.
    var duplicated: UInt64 = 0
    /// Failed vectors and sources; any is a fault.
    var failures: UInt64 = 0
    var changes: UInt64 = 0
    var moves: UInt64 = 0
    var rounds: UInt64 = 0
    /// How often the guest's handlers ran.
    var guestRuns: UInt64 = 0
    /// Signals that went into the guest, past the loops or through them.
    var intoGuest: UInt64 = 0
    /// Why the guest did not live to the end.
    var guestExit: String?

    init(_ ledger: Ledger) {
        coalesced = ledger.coalesced
        pending = ledger.pending
        dropped = ledger.dropped
    }

    /// Adds a vector: what the mux says it delivered, and what reached this process and the guest.
    mutating func compare(_ deliveries: Deliveries, received: UInt64, runs: UInt64, raised: UInt64) {
        self.raised += raised
        delivered += received + runs
        intoGuest += deliveries.intoGuest
        guestRuns += runs
        if received < deliveries.toUser { lost += deliveries.toUser - received }
        if received > deliveries.toUser { duplicated += received - deliveries.toUser }
        // Each write to an irqfd is at most one run. What the local APIC merges is merged while one is pending there.
        if runs > deliveries.intoGuest { duplicated += runs - deliveries.intoGuest }
        if deliveries.intoGuest > runs { coalesced += deliveries.intoGuest - runs }
        if deliveries.intoGuest > 0, runs == 0 { lost += 1 }
        if received + runs > raised { duplicated += received + runs - raised }
    }

    var unexplained: Int64 { Int64(bitPattern: raised &- delivered &- coalesced &- pending &- dropped) }

    var isClean: Bool { lost == 0 && duplicated == 0 && unexplained == 0 && failures == 0 && guestExit == nil }

    /// One line.
    var json: String {
        """
        {"raised": \(raised), "delivered": \(delivered), "coalesced": \(coalesced), "pending": \(pending), \
        "dropped": \(dropped), "lost": \(lost), "duplicated": \(duplicated), "unexplained": \(unexplained)}
        """
    }
}
