/// What a request's `user_data` says when its completion comes back: what kind of request, for which slot, in which
/// life of that slot.
///
/// Layout: `kind:8 | generation:24 | index:32`. A slot's generation grows each time it is given away again, so that a
/// completion which arrives after its source was removed is recognised and dropped. Its low 24 bits are enough for
/// that: a slot is given away only after the last completion of its requests was seen.
@usableFromInline struct Token: Equatable {
    @usableFromInline enum Kind: UInt8 {
        /// A poll or read of a source's eventfd.
        case source = 1
        /// The answer to cancelling a source's request.
        case cancel = 2
        /// The loop's own wake-up eventfd.
        case wakeUp = 3
        /// A write that signals an eventfd of somebody else's; only failures are answered.
        case signal = 4
    }

    static let generationMask: UInt32 = 0xff_ffff

    let bits: UInt64

    init(bits: UInt64) { self.bits = bits }

    init(_ kind: Kind, index: UInt32 = 0, generation: UInt32 = 0) {
        bits = UInt64(kind.rawValue) << 56 | UInt64(generation & Self.generationMask) << 32 | UInt64(index)
    }

    var index: UInt32 { UInt32(truncatingIfNeeded: bits) }
    var generation: UInt32 { UInt32(truncatingIfNeeded: bits &>> 32) & Self.generationMask }
    var kindBits: UInt8 { UInt8(truncatingIfNeeded: bits &>> 56) }
}

/// Names one source of one loop. Stays invalid once the source is removed, even when its place is used again: for the
/// next four billion sources of that place.
public struct SourceID: Hashable, Sendable, BitwiseCopyable {
    /// An opaque number, for logs and for carrying an identity through C.
    public let rawValue: UInt64

    init(index: UInt32, generation: UInt32) { rawValue = UInt64(generation) << 32 | UInt64(index) }

    /// The identity that had this number; whether there still is such a source is seen when it is used.
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    var index: UInt32 { UInt32(truncatingIfNeeded: rawValue) }
    var generation: UInt32 { UInt32(truncatingIfNeeded: rawValue &>> 32) }
}

/// Names one timer of one loop. Stays invalid once the timer has fired for the last time or was removed.
public struct TimerID: Hashable, Sendable {
    let index: UInt32
    let generation: UInt32

    init(index: UInt32, generation: UInt32) {
        self.index = index
        self.generation = generation
    }

    /// An opaque number, for carrying an identity through C.
    package var rawValue: UInt64 { UInt64(generation) << 32 | UInt64(index) }

    /// The identity that had this number; whether there still is such a timer is seen when it is used.
    package init(rawValue: UInt64) {
        self.init(index: UInt32(truncatingIfNeeded: rawValue), generation: UInt32(truncatingIfNeeded: rawValue &>> 32))
    }
}
