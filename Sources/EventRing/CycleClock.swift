internal import CKernel

/// Turns the processor's cycle counter into nanoseconds of CLOCK_MONOTONIC.
///
/// A stamp is one instruction; where the counter does not run at one rate, or strays from CLOCK_MONOTONIC, stamps come
/// from `clock_gettime` instead and one tick is one nanosecond. Plain value; reading it is safe from any thread.
/// Accuracy: the rate is measured over some milliseconds at first and refined by `discipline`, which also moves the
/// anchor, so that `monotonic` stays within about a microsecond of the kernel's clock.
public struct CycleClock: Sendable {
    /// Where stamps come from.
    public enum Source: Sendable, Equatable {
        /// The processor's invariant cycle counter.
        case cycleCounter
        /// `clock_gettime(CLOCK_MONOTONIC)`.
        case monotonic
    }

    /// Where stamps come from.
    public private(set) var source: Source
    /// How often the cycle counter was given up because it strayed.
    public private(set) var fallbacks: UInt32 = 0
    /// Nanoseconds a tick, as a fraction of 2^32.
    private var rate: UInt64 = 1 << 32
    private var anchorTicks: UInt64 = 0
    private var anchorNanoseconds: UInt64 = 0
    private var firstTicks: UInt64 = 0
    private var firstNanoseconds: UInt64 = 0
    private var nextCheck: UInt64 = 0

    private static let rateShift: UInt32 = 32
    private static let calibration: UInt64 = 4_000_000
    private static let checkInterval: UInt64 = 250_000_000

    /// A clock that reads CLOCK_MONOTONIC; needs no calibration.
    public static var monotonic: CycleClock { CycleClock(source: .monotonic) }

    /// Calibrates the cycle counter against CLOCK_MONOTONIC, which takes 4 ms; falls back to CLOCK_MONOTONIC.
    public static func calibrated() -> CycleClock {
        guard irqmux_cycles_are_invariant() else { return .monotonic }
        let first = readPair()
        while irqmux_monotonic_ns() &- first.nanoseconds < calibration { irqmux_pause() }
        let second = readPair()
        guard second.ticks > first.ticks else { return .monotonic }
        return CycleClock(from: first, to: second)
    }

    private init(source: Source) { self.source = source }

    /// A cycle counter measured at two moments.
    init(from first: (ticks: UInt64, nanoseconds: UInt64), to second: (ticks: UInt64, nanoseconds: UInt64)) {
        source = .cycleCounter
        (firstTicks, firstNanoseconds) = first
        setRate(to: second)
    }

    /// The present stamp, in ticks.
    @inline(__always) public var now: UInt64 {
        source == .cycleCounter ? irqmux_cycles() : irqmux_monotonic_ns()
    }

    /// How many nanoseconds a difference of two stamps is.
    @inline(__always) public func nanoseconds(_ ticks: UInt64) -> UInt64 {
        source == .cycleCounter ? irqmux_scale(ticks, rate, Self.rateShift) : ticks
    }

    /// How many ticks a time span is, rounded down; `UInt64.max` for one that is longer than 64 bits of ticks.
    public func ticks(_ nanoseconds: UInt64) -> UInt64 {
        guard source == .cycleCounter else { return nanoseconds }
        let product = nanoseconds.multipliedFullWidth(by: 1 << Self.rateShift)
        guard product.high < rate else { return .max }
        return rate.dividingFullWidth(product).quotient
    }

    /// CLOCK_MONOTONIC, in nanoseconds, at the moment of a stamp taken since the last `discipline`.
    public func monotonic(_ stamp: UInt64) -> UInt64 {
        guard source == .cycleCounter else { return stamp }
        // Signed, for a stamp may be older than an anchor that was moved since.
        return stamp >= anchorTicks
            ? anchorNanoseconds &+ nanoseconds(stamp &- anchorTicks)
            : anchorNanoseconds &- nanoseconds(anchorTicks &- stamp)
    }

    /// Whether `discipline` is due: four times a second. One comparison.
    @inline(__always) func isDue(_ stamp: UInt64) -> Bool { stamp &- nextCheck < UInt64.max / 2 }

    /// Compares with CLOCK_MONOTONIC, refines the rate over the whole time since calibration and moves the anchor.
    ///
    /// A counter that strayed by more than one part in a thousand since the last check is given up for good; the stamps
    /// taken with it mean nothing afterwards, so the owner takes new ones.
    mutating func discipline() {
        guard source == .cycleCounter else {
            nextCheck = now &+ Self.checkInterval
            return
        }
        discipline(by: Self.readPair())
    }

    /// The same, by both clocks as they were read at one moment.
    mutating func discipline(by pair: (ticks: UInt64, nanoseconds: UInt64)) {
        let expected = monotonic(pair.ticks)
        let elapsed = pair.nanoseconds &- anchorNanoseconds
        let strayed = expected > pair.nanoseconds ? expected - pair.nanoseconds : pair.nanoseconds - expected
        guard pair.ticks > anchorTicks, strayed <= elapsed / 1000 + 10_000 else {
            self = CycleClock(source: .monotonic)
            fallbacks = 1
            return
        }
        setRate(to: pair)
    }

    private mutating func setRate(to pair: (ticks: UInt64, nanoseconds: UInt64)) {
        let ticks = pair.ticks &- firstTicks
        let span = pair.nanoseconds &- firstNanoseconds
        rate = ticks.dividingFullWidth(span.multipliedFullWidth(by: 1 << 32)).quotient
        (anchorTicks, anchorNanoseconds) = pair
        nextCheck = pair.ticks &+ self.ticks(Self.checkInterval)
    }

    /// Both clocks at one moment: of several readings, the one in which the least time passed between.
    private static func readPair() -> (ticks: UInt64, nanoseconds: UInt64) {
        var best = (ticks: UInt64(0), nanoseconds: UInt64(0))
        var narrowest = UInt64.max
        for _ in 0..<8 {
            let before = irqmux_cycles()
            let nanoseconds = irqmux_monotonic_ns()
            let after = irqmux_cycles()
            if after &- before < narrowest {
                narrowest = after &- before
                best = (before &+ (after &- before) / 2, nanoseconds)
            }
        }
        return best
    }
}
