internal import EventRing
internal import InterruptModel

/// One connected vector in the mux's table: what every notification touches first, then the rest.
struct VectorEntry: BitwiseCopyable {
    /// The route without what belongs to it; fan-out targets hang on `firstTarget`, the GSI on the guest's binding.
    enum RouteKind: UInt8 {
        case handler
        case fanOut
        case guest
        case detour
        /// Served to a guest's MSI or MSI-X registers and not bypassed yet: the loop injects the GSI's message itself.
        case injected
        case parked

        /// Whether notifications go into the guest.
        @inline(__always) var isIntoGuest: Bool { self == .guest || self == .detour || self == .injected }
    }

    /// Whether signals pass, and what is held while they do not.
    var gate = VectorGate()
    /// The caller's, handed out with each event.
    var tag: UInt64 = 0
    /// Notifications acted upon: handed to the handler, fanned out, or forwarded into the guest.
    var delivered: UInt64 = 0
    /// Those of them that were forwarded into the guest.
    var forwarded: UInt64 = 0
    var number: UInt32 = 0
    var generation: UInt32 = 0
    /// The first node of the fan-out list; `UInt32.max` for none.
    var firstTarget: UInt32 = .max
    /// The user eventfd: the loop listens to it, and the device signals it unless the vector is bypassed. −1 for a
    /// free place.
    var eventfd: Int32 = -1
    /// The bypass eventfd, bound as irqfd, once the vector has had a route into the guest; −1 before. Never listened
    /// to: KVM takes every signal before anybody who listens.
    var bypass: Int32 = -1
    var index = IRQIndex.intx
    var route = RouteKind.handler
    var device: UInt8 = 0
    /// The guest's interrupt of a served vector; `UInt32.max` before it has one.
    var gsi: UInt32 = .max
    /// What was held is to be delivered by the next call of `next`.
    var ready = false
    /// In the ready list, whether still ready or not.
    var listed = false
    /// The loop does not listen because too much came while the gate was shut.
    var silenced = false
    /// The device signals this vector; not yet while it is being connected.
    var isAssigned = false
    /// Serves a guest's MSI or MSI-X registers: notifications are counted, so that each signal passes once and the
    /// pending bit is exact; see Mux+Served.
    var isServed = false
    /// INTx only: delivered and not acknowledged, so the device keeps the line masked.
    var inService = false
    /// INTx only: masked in the device because the owner asked for it.
    var deviceMasked = false
    /// INTx only: how it is served to a guest; see INTxLineServing.
    var way = INTxWay?.none
    /// The next acknowledgement is one that was told on another loop.
    var skipsAcknowledgement = false
    /// Signals have gone past the loop, so that only the device knows how many.
    var servedPast = false
    /// What the watchdog found, until `next` has told it.
    var verdict = WatchdogVerdict?.none
    /// The next place in the free list or the ready list; `UInt32.max` ends a list.
    var link: UInt32 = .max
    /// The errno with which the device refused to unmask, until `next` has told it; otherwise 0.
    var refusal: Int32 = 0
    /// How much of what was held `ready` stands for.
    var readyCount: UInt64 = 0
    /// What the device had raised of this vector before it was connected.
    var raisedBefore: UInt64 = 0
    /// How often the mux ended a silence, and the signals that it took out of the eventfd then.
    var silencesEnded: UInt64 = 0
    var taken: UInt64 = 0
    /// Signals and notifications as of the last account; see Mux+Ledger.
    var accountedSignals: UInt64 = 0
    var accountedNotifications: UInt64 = 0
    var source = SourceID?.none
    /// What went past the loop.
    var bypassed = BypassCount()
    /// Where the stages of this vector are recorded, if it is measured.
    var stages = StageWriter()
    /// What tells that the guest acknowledged, if something does.
    var acknowledgement = SourceID?.none

    var vector: Vector { Vector(index, number) }
}
