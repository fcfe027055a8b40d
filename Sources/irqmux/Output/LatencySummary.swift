internal import EventRing

/// The seven figures of a latency, in the order and under the names that every report uses.
struct LatencySummary {
    let count: UInt64
    /// Name, nanoseconds.
    let figures: [(name: String, nanoseconds: Double)]

    /// The percentiles that every report carries.
    static let percentiles: [(name: String, percent: Double)] = [
        ("p50", 50), ("p90", 90), ("p99", 99), ("p99_9", 99.9),
    ]

    init(_ snapshot: HistogramSnapshot) {
        count = snapshot.total
        figures =
            [("min", Double(snapshot.minimum))]
            + Self.percentiles.map { ($0.name, Double(snapshot.percentile($0.percent))) }
            + [("max", Double(snapshot.maximum)), ("mean", snapshot.mean)]
    }

    /// `{min, p50, p90, p99, p99_9, max, mean}` in nanoseconds; `null` where nothing was measured, since a zero would
    /// pass for a splendid latency.
    var json: JSON {
        .object(figures.map { ($0.name, count == 0 ? JSON.null : JSON.number($0.nanoseconds)) })
    }
}

/// One named latency of a measurement: the whole way, or a stage of it.
struct LatencySeries {
    let name: String
    let snapshot: HistogramSnapshot
}
