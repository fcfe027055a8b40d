/// Whether signals of one vector pass or are held, and how many are held: the mux's own mask, beside the device's.
///
/// A pure value of 8 bytes. It loses nothing: what arrives while the gate is shut is held and handed out in one piece
/// when it opens, so that a ledger counts it as one delivery with the others coalesced into it. A vector has a mask and
/// may also be parked (no route) or halted (between two loops); it passes only when nothing holds it.
public struct VectorGate: Equatable, Sendable, BitwiseCopyable {
    /// What is held in the upper 61 bits, all of them set for more than they can say; what holds it in the lower three.
    private var bits: UInt64 = 0

    private static var maskedBit: UInt64 { 1 }
    private static var parkedBit: UInt64 { 2 }
    private static var haltedBit: UInt64 { 4 }
    private static var shutBits: UInt64 { 7 }
    private static var one: UInt64 { 8 }

    /// A gate with nothing held.
    public init(masked: Bool = false, parked: Bool = false) {
        if masked { bits |= Self.maskedBit }
        if parked { bits |= Self.parkedBit }
    }

    /// Signals held so far; only ever non-zero while the gate is shut. `UInt64.max` from 2⁶¹ − 1 on.
    public var held: UInt64 { bits | Self.shutBits == .max ? .max : bits / Self.one }
    /// Masked by request.
    public var isMasked: Bool { bits & Self.maskedBit != 0 }
    /// Without a route: nobody to deliver to.
    public var isParked: Bool { bits & Self.parkedBit != 0 }
    /// Held back by whoever looks after the vector, beside mask and route: while it goes from one loop to another.
    public var isHalted: Bool { bits & Self.haltedBit != 0 }

    /// Whether signals pass.
    public var isOpen: Bool { bits & Self.shutBits == 0 }

    /// Whether something is held, as the vector's pending bit would say.
    public var isPending: Bool { bits >= Self.one }

    /// `count` signals arrived. Returns how many to deliver now: all of them, or 0 when they are held.
    public mutating func arrive(_ count: UInt64 = 1) -> UInt64 {
        guard !isOpen else { return count }
        let (sum, overflow) = (bits / Self.one).addingReportingOverflow(count)
        let most = UInt64.max / Self.one
        bits = (overflow ? most : min(sum, most)) * Self.one | bits & Self.shutBits
        return 0
    }

    /// Shuts the gate. Masking twice is masking once.
    public mutating func mask() { bits |= Self.maskedBit }

    /// Takes the mask away. Returns how many held signals to deliver now, 0 while the vector stays parked.
    public mutating func unmask() -> UInt64 {
        bits &= ~Self.maskedBit
        return release()
    }

    /// Takes the route away: signals are held from now on.
    public mutating func park() { bits |= Self.parkedBit }

    /// Gives the vector a route again. Returns how many held signals to deliver now, 0 while it stays masked.
    public mutating func unpark() -> UInt64 {
        bits &= ~Self.parkedBit
        return release()
    }

    /// Holds signals back until `resume`, whatever becomes of mask and route meanwhile.
    public mutating func halt() { bits |= Self.haltedBit }

    /// Ends `halt`. Returns how many held signals to deliver now, 0 while the vector stays masked or parked.
    public mutating func resume() -> UInt64 {
        bits &= ~Self.haltedBit
        return release()
    }

    /// Forgets what is held, because somebody decided so. Returns how many, for the ledger's drops.
    public mutating func discard() -> UInt64 {
        defer { bits &= Self.shutBits }
        return held
    }

    private mutating func release() -> UInt64 { isOpen ? discard() : 0 }
}
