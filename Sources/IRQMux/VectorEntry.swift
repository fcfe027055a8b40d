internal import EventRing
internal import InterruptModel

/// One connected vector in the mux's table: what every notification touches first, then the rest. 144 bytes.
struct VectorEntry: BitwiseCopyable {
    /// The route without what belongs to it; fan-out targets hang on `firstTarget`, the GSI is `gsi`.
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

    // What a notification touches, in one cache line's length.

    /// Whether signals pass, and what is held while they do not.
    var gate = VectorGate()
    /// The caller's, handed out with each event.
    var tag: UInt64 = 0
    /// Notifications acted upon: handed to the handler, fanned out, or forwarded into the guest.
    var delivered: UInt64 = 0
    /// Those of them that were forwarded into the guest.
    var forwarded: UInt64 = 0
    var source = SourceID?.none
    var index = IRQIndex.intx
    var route = RouteKind.handler
    var device: UInt8 = 0
    private var flags = VectorFlags()
    /// The errno with which the device refused to unmask, until `next` has told it; otherwise 0.
    private var refusalCode: UInt16 = 0
    var number: UInt32 = 0
    var generation: UInt32 = 0
    /// The bypass eventfd, bound as irqfd to `gsi`, once the vector has had a route into the guest; −1 before. Never
    /// listened to: KVM takes every signal before anybody who listens.
    var bypass: Int32 = -1
    /// The first node of the fan-out list; `UInt32.max` for none.
    var firstTarget: UInt32 = .max
    /// Where the stages of this vector are recorded, if it is measured.
    var stages = StageWriter()

    // What changes, masks and accounts touch.

    /// The user eventfd: the loop listens to it, and the device signals it unless the vector is bypassed. −1 for a
    /// free place.
    var eventfd: Int32 = -1
    /// The guest's interrupt: that of a served vector from its first use on, that of another one while its irqfd is
    /// bound. `UInt32.max` for none.
    var gsi: UInt32 = .max
    /// The next place in the free list or the ready list; `UInt32.max` ends a list.
    var link: UInt32 = .max
    /// How much of what was held `ready` stands for, as far as 32 bits say it.
    private var readyUnits: UInt32 = 0
    /// How often the mux ended a silence. Only ever compared with, and added to, the next: they wrap together.
    var silencesEnded: UInt32 = 0
    /// Notifications as of the last account; see Mux+Ledger.
    var accountedNotifications: UInt32 = 0
    /// The signals that the mux took out of the eventfd when it ended silences.
    var taken: UInt64 = 0
    /// Signals as of the last account.
    var accountedSignals: UInt64 = 0
    /// What the device had raised of this vector before it was connected.
    var raisedBefore: UInt64 = 0
    /// What went past the loop.
    var bypassed = BypassCount()

    var vector: Vector { Vector(index, number) }
}

/// What a vector is and is not, and the two rare things that one of a few says of it, in 16 bits.
struct VectorFlags: BitwiseCopyable {
    private var bits: UInt16 = 0

    subscript(_ place: UInt16) -> Bool {
        @inline(__always) get { bits & 1 << place != 0 }
        @inline(__always) set { bits = newValue ? bits | 1 << place : bits & ~(1 << place) }
    }

    /// Three bits from `place` on: 0 to 7.
    subscript(number place: UInt16) -> UInt8 {
        @inline(__always) get { UInt8(truncatingIfNeeded: bits >> place & 7) }
        @inline(__always) set { bits = bits & ~(7 << place) | UInt16(newValue & 7) << place }
    }
}

extension VectorEntry {
    /// What was held is to be delivered by the next call of `next`.
    var ready: Bool {
        @inline(__always) get { flags[0] }
        @inline(__always) set { flags[0] = newValue }
    }

    /// In the ready list, whether still ready or not.
    var listed: Bool {
        @inline(__always) get { flags[1] }
        @inline(__always) set { flags[1] = newValue }
    }

    /// The loop does not listen because too much came while the gate was shut.
    var silenced: Bool {
        @inline(__always) get { flags[2] }
        @inline(__always) set { flags[2] = newValue }
    }

    /// The device signals this vector; not yet while it is being connected, and not any more where a refusal took the
    /// eventfd of a served one away.
    var isAssigned: Bool {
        @inline(__always) get { flags[3] }
        @inline(__always) set { flags[3] = newValue }
    }

    /// Serves a guest's MSI or MSI-X registers: notifications are counted, so that each signal passes once and the
    /// pending bit is exact; see Mux+Served.
    var isServed: Bool {
        @inline(__always) get { flags[4] }
        @inline(__always) set { flags[4] = newValue }
    }

    /// INTx only: delivered and not acknowledged, so the device keeps the line masked.
    var inService: Bool {
        @inline(__always) get { flags[5] }
        @inline(__always) set { flags[5] = newValue }
    }

    /// INTx only: masked in the device because the owner asked for it.
    var deviceMasked: Bool {
        @inline(__always) get { flags[6] }
        @inline(__always) set { flags[6] = newValue }
    }

    /// Served vectors only, in the place of `deviceMasked`: while it was masked its index was disabled for a moment,
    /// and what the device raised then nobody knows.
    var mayHaveLost: Bool {
        @inline(__always) get { isServed && flags[6] }
        @inline(__always) set { flags[6] = newValue }
    }

    /// Something tells that the guest acknowledged a measured vector.
    var isAcknowledged: Bool {
        @inline(__always) get { flags[7] }
        @inline(__always) set { flags[7] = newValue }
    }

    /// The next acknowledgement is one that was told on another loop.
    var skipsAcknowledgement: Bool {
        @inline(__always) get { flags[8] }
        @inline(__always) set { flags[8] = newValue }
    }

    /// Signals have gone past the loop, so that only the device knows how many.
    var servedPast: Bool {
        @inline(__always) get { flags[9] }
        @inline(__always) set { flags[9] = newValue }
    }

    /// INTx only: how it is served to a guest; see INTxLineServing.
    var way: INTxWay? {
        @inline(__always) get { flags[number: 10] == 0 ? nil : INTxWay(rawValue: flags[number: 10] - 1) }
        @inline(__always) set { flags[number: 10] = newValue.map { $0.rawValue + 1 } ?? 0 }
    }

    /// What the watchdog found, until `next` has told it.
    var verdict: WatchdogVerdict? {
        @inline(__always) get { flags[number: 13] == 0 ? nil : WatchdogVerdict(rawValue: flags[number: 13] - 1) }
        @inline(__always) set { flags[number: 13] = newValue.map { $0.rawValue + 1 } ?? 0 }
    }

    /// The errno with which the device refused to unmask, until `next` has told it; otherwise 0.
    var refusal: Int32 {
        @inline(__always) get { Int32(refusalCode) }
        @inline(__always) set { refusalCode = UInt16(clamping: newValue) }
    }

    /// How much of what was held `ready` stands for; `UInt32.max` from there on.
    var readyCount: UInt64 {
        @inline(__always) get { UInt64(readyUnits) }
        @inline(__always) set { readyUnits = UInt32(clamping: newValue) }
    }

    /// The interrupt that its irqfd is bound to, if it has one.
    var boundGSI: GSI? { bypass >= 0 ? gsi : nil }
}
