public import InterruptModel

/// What the device raises, how often and when: a schedule that is fixed before it begins.
///
/// Tick k (from 0) is due at start + k × interval, whatever happened before it. A tick that cannot be kept is not moved
/// and not skipped: it is raised late, and counted as late when more than one interval has passed.
public struct RaisePlan: Equatable, Sendable {
    /// Which of the plan's vectors a tick raises.
    public enum Pattern: UInt32, CaseIterable, Sendable {
        /// The first one, always.
        case single = 0
        /// One after the other.
        case roundRobin = 1
        /// One by lot; the same seed draws the same lots.
        case random = 2
        /// All of them, in order.
        case storm = 3
    }

    /// The first vector.
    public var first: Vector
    /// How many vectors from there on, 1 at least.
    public var width: UInt32
    /// Which of them a tick raises.
    public var pattern: Pattern
    /// How many ticks.
    public var count: UInt64
    /// Nanoseconds from one tick to the next; 0 is as fast as the device can.
    public var intervalNs: UInt64
    /// What `random` draws from.
    public var seed: UInt64

    /// Makes a plan; `Exerciser.start` says whether the device can keep it.
    public init(
        _ first: Vector, width: UInt32 = 1, _ pattern: Pattern = .single, count: UInt64, intervalNs: UInt64 = 0,
        seed: UInt64 = 0
    ) {
        self.first = first
        self.width = width
        self.pattern = pattern
        self.count = count
        self.intervalNs = intervalNs
        self.seed = seed
    }

    /// The vectors that tick `tick` raises. A pure function of the plan, so that a test can foretell every raise.
    public func vectors(atTick tick: UInt64) -> Range<UInt32> {
        let offset: UInt32
        switch pattern {
        case .single: offset = 0
        case .roundRobin: offset = UInt32(tick % UInt64(width))
        case .random: offset = UInt32(Self.mix(seed &+ (tick &+ 1) &* 0x9e37_79b9_7f4a_7c15) % UInt64(width))
        case .storm: return first.number..<first.number + width
        }
        return first.number + offset..<first.number + offset + 1
    }

    /// The finaliser of SplitMix64: every bit of the result depends on every bit of the value.
    private static func mix(_ value: UInt64) -> UInt64 {
        var value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}
