internal import EventRing
internal import InterruptModel

/// What was measured, before it is told in any form.
struct LatencyResult {
    var fromDue: HistogramSnapshot
    var fromSend: HistogramSnapshot
    var lateness: HistogramSnapshot
    /// From the arrival of a batch to an event's turn in it, as the loop itself measures.
    var dispatch: HistogramSnapshot
    /// The stages of the way into a guest, in order, where they were measured.
    var guestStages: [LatencySeries] = []
    /// Measured signals that were sent.
    var sent: UInt64
    /// Those of them that were never handled.
    var lost: UInt64
    /// Those that shared a notification with another one.
    var coalesced: UInt64
    var ring: RingReport
    /// The account of the device, where there is one.
    var ledger: Ledger?
    /// Why it ended early, where it did.
    var trouble: String?
}
