internal import EventRing

/// What measuring itself costs, in nanoseconds: a time stamp, and a value counted. Measured, not assumed.
struct SelfCost {
    let clock: Double
    let record: Double

    private static let rounds: UInt64 = 200_000

    static func measure() -> SelfCost {
        let clock = CycleClock.calibrated()
        var last: UInt64 = 0
        let clockStart = clock.now
        for _ in 0..<rounds { last = max(last, clock.now) }
        let clockTicks = last &- clockStart
        let histogram = Histogram()
        let recordStart = clock.now
        // Values over three magnitudes, as latencies are.
        for round in 0..<rounds { histogram.record(500 &+ (round &* 2_654_435_761) & 0x7FFFF) }
        let recordTicks = clock.now &- recordStart
        return SelfCost(
            clock: Double(clock.nanoseconds(clockTicks)) / Double(rounds),
            record: Double(clock.nanoseconds(recordTicks)) / Double(rounds))
    }

    var json: JSON { .object([("clock", .number(clock)), ("record", .number(record))]) }
}
