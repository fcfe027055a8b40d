/// Whether signals of one vector pass or are held, and how many are held: the mux's own mask, beside the device's.
///
/// A pure value of 16 bytes. It loses nothing: what arrives while the gate is shut is held and handed out in one piece
/// when it opens, so that a ledger counts it as one delivery with the others coalesced into it. A vector has a mask and
/// may also be parked (no route) or halted (between two loops); it passes only when nothing holds it.
public struct VectorGate: Equatable, Sendable, BitwiseCopyable {
    /// Signals held so far; only ever non-zero while the gate is shut.
    public private(set) var held: UInt64 = 0
    /// Masked by request.
    public private(set) var isMasked: Bool
    /// Without a route: nobody to deliver to.
    public private(set) var isParked: Bool
    /// Held back by whoever looks after the vector, beside mask and route: while it goes from one loop to another.
    public private(set) var isHalted = false

    /// A gate with nothing held.
    public init(masked: Bool = false, parked: Bool = false) {
        isMasked = masked
        isParked = parked
    }

    /// Whether signals pass.
    public var isOpen: Bool { !isMasked && !isParked && !isHalted }

    /// Whether something is held, as the vector's pending bit would say.
    public var isPending: Bool { held > 0 }

    /// `count` signals arrived. Returns how many to deliver now: all of them, or 0 when they are held.
    public mutating func arrive(_ count: UInt64 = 1) -> UInt64 {
        guard !isOpen else { return count }
        let (sum, overflow) = held.addingReportingOverflow(count)
        held = overflow ? .max : sum
        return 0
    }

    /// Shuts the gate. Masking twice is masking once.
    public mutating func mask() { isMasked = true }

    /// Takes the mask away. Returns how many held signals to deliver now, 0 while the vector stays parked.
    public mutating func unmask() -> UInt64 {
        isMasked = false
        return release()
    }

    /// Takes the route away: signals are held from now on.
    public mutating func park() { isParked = true }

    /// Gives the vector a route again. Returns how many held signals to deliver now, 0 while it stays masked.
    public mutating func unpark() -> UInt64 {
        isParked = false
        return release()
    }

    /// Holds signals back until `resume`, whatever becomes of mask and route meanwhile.
    public mutating func halt() { isHalted = true }

    /// Ends `halt`. Returns how many held signals to deliver now, 0 while the vector stays masked or parked.
    public mutating func resume() -> UInt64 {
        isHalted = false
        return release()
    }

    /// Forgets what is held, because somebody decided so. Returns how many, for the ledger's drops.
    public mutating func discard() -> UInt64 {
        defer { held = 0 }
        return held
    }

    private mutating func release() -> UInt64 { isOpen ? discard() : 0 }
}
