/// The conservation account of one vector, or of several: raised = delivered + coalesced + pending + dropped.
///
/// Whatever the equation leaves over is `unexplained`, and is a bug: positive means signals that vanished, negative
/// means more deliveries than there were signals. A plain value with fixed memory; whoever counts owns his own copy and
/// copies are added with `merge`. Counters wrap only after 2^64 signals.
public struct Ledger: Equatable, Sendable {
    /// Signals that went in: what the device says it raised, or what was written where the device cannot say.
    public var raised: UInt64
    /// Signals handed to somebody who acted on them: a handler that ran, a notification forwarded.
    public var delivered: UInt64
    /// Signals that shared a notification with another one. An eventfd merges what arrives between two readings.
    public var coalesced: UInt64
    /// Signals that are still held: masked, parked, or in an eventfd nobody has read yet.
    public var pending: UInt64
    /// Signals that were given up, each for a reason that somebody chose.
    public var drops: Drops

    /// An account with nothing in it, or with what is given.
    public init(
        raised: UInt64 = 0, delivered: UInt64 = 0, coalesced: UInt64 = 0, pending: UInt64 = 0, drops: Drops = Drops()
    ) {
        self.raised = raised
        self.delivered = delivered
        self.coalesced = coalesced
        self.pending = pending
        self.drops = drops
    }

    /// How many signals were given up for any reason.
    public var dropped: UInt64 { drops.total }

    /// Raised minus everything accounted for; 0 when the account closes.
    ///
    /// Positive: that many signals vanished. Negative: that many more were delivered than raised.
    public var unexplained: Int64 {
        Int64(bitPattern: raised &- delivered &- coalesced &- pending &- dropped)
    }

    /// Adds another account, field by field: the sum closes when both close.
    public mutating func merge(_ other: Ledger) {
        raised &+= other.raised
        delivered &+= other.delivered
        coalesced &+= other.coalesced
        pending &+= other.pending
        drops.merge(other.drops)
    }

    /// Records one notification that stood for `count` signals: one is delivered, the others were coalesced into it.
    ///
    /// A spurious notification (`count` 0) changes nothing.
    public mutating func deliverOnce(standingFor count: UInt64) {
        guard count > 0 else { return }
        delivered &+= 1
        coalesced &+= count &- 1
    }
}

/// Why a signal was given up.
public enum DropReason: UInt8, CaseIterable, Sendable {
    /// The vector had no eventfd, and nothing in the device keeps such a signal (MSI has no pending bits).
    case unassigned
    /// The interrupt type was not enabled, or INTx was switched off by DisINTx.
    case disabled
    /// The route was taken away and its owner said that pending signals are to be forgotten.
    case routeRemoved
    /// KVM had no route for the GSI; it swallows such signals without a trace.
    case noGuestRoute
    /// The device was reset or closed while signals were held.
    case deviceGone
    /// The device let its INTx line go before anybody was told of it.
    case withdrawn

    /// One sentence for reports.
    public var text: StaticString {
        switch self {
        case .unassigned: "no eventfd was assigned and the device keeps no pending bit"
        case .disabled: "the interrupt type was disabled"
        case .routeRemoved: "the route was removed together with what it held"
        case .noGuestRoute: "the guest had no route for the GSI"
        case .deviceGone: "the device was reset or closed"
        case .withdrawn: "the device withdrew it before anybody was told"
        }
    }
}

/// How many signals were given up, by reason.
public struct Drops: Equatable, Sendable {
    private var unassigned: UInt64 = 0
    private var disabled: UInt64 = 0
    private var routeRemoved: UInt64 = 0
    private var noGuestRoute: UInt64 = 0
    private var deviceGone: UInt64 = 0
    private var withdrawn: UInt64 = 0

    /// No drops at all.
    public init() {}

    /// How many were given up for `reason`.
    public subscript(_ reason: DropReason) -> UInt64 {
        get {
            switch reason {
            case .unassigned: unassigned
            case .disabled: disabled
            case .routeRemoved: routeRemoved
            case .noGuestRoute: noGuestRoute
            case .deviceGone: deviceGone
            case .withdrawn: withdrawn
            }
        }
        set {
            switch reason {
            case .unassigned: unassigned = newValue
            case .disabled: disabled = newValue
            case .routeRemoved: routeRemoved = newValue
            case .noGuestRoute: noGuestRoute = newValue
            case .deviceGone: deviceGone = newValue
            case .withdrawn: withdrawn = newValue
            }
        }
    }

    /// How many were given up in all.
    public var total: UInt64 {
        unassigned &+ disabled &+ routeRemoved &+ noGuestRoute &+ deviceGone &+ withdrawn
    }

    /// Adds another account of drops, reason by reason.
    public mutating func merge(_ other: Drops) {
        unassigned &+= other.unassigned
        disabled &+= other.disabled
        routeRemoved &+= other.routeRemoved
        noGuestRoute &+= other.noGuestRoute
        deviceGone &+= other.deviceGone
        withdrawn &+= other.withdrawn
    }
}
