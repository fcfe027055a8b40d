/// How the loop listens, best first. Every tier has the same observable behaviour; they differ in cost.
public enum RingTier: UInt8, Sendable, Comparable, CaseIterable {
    /// io_uring with SINGLE_ISSUER and DEFER_TASKRUN: completions are made on the loop's own thread, when it asks for
    /// them, without an inter-processor interrupt. Since Linux 6.1.
    case deferred = 0
    /// io_uring with COOP_TASKRUN: no forced interrupt of the loop's thread. Since Linux 5.19.
    case cooperative = 1
    /// io_uring without either. Since Linux 5.13 (multishot poll).
    case plain = 2
    /// No io_uring: epoll. Since Linux 2.6.27.
    case epoll = 3

    /// Orders by goodness: `.deferred` is the greatest.
    public static func < (left: RingTier, right: RingTier) -> Bool { left.rawValue > right.rawValue }

    /// A short name for reports: `deferred`, `cooperative`, `plain`, `epoll`.
    public var name: StaticString {
        switch self {
        case .deferred: "deferred"
        case .cooperative: "cooperative"
        case .plain: "plain"
        case .epoll: "epoll"
        }
    }
}

/// Which tier a machine gives, and what stood in the way of a better one.
public struct RingReport: Sendable {
    /// The tier in force.
    public let tier: RingTier
    /// Why no better tier is in force; `nil` when the best asked for was had.
    public let obstacle: RingError?

    /// Finds the best tier of this machine by setting up a small ring and taking it down again.
    public static func probe() -> RingReport {
        let selection = Ring.select(entries: 8, completions: 16, best: .deferred)
        return RingReport(tier: selection.tier, obstacle: selection.obstacle)
    }
}
