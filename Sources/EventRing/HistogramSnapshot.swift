/// What a `Histogram` had counted at one moment: percentiles, extremes, mean.
///
/// A plain value, safe to keep, send and merge. All values have the unit that was recorded (nanoseconds in irqmux).
public struct HistogramSnapshot: Equatable, Sendable {
    /// One count a bucket, `Histogram.bucketCount` of them.
    public private(set) var counts: [UInt64]
    /// How many values were counted.
    public private(set) var total: UInt64

    package init(counts: [UInt64]) {
        self.counts = counts
        total = counts.reduce(0, &+)
    }

    /// An empty snapshot, to merge others into.
    public init() { self.init(counts: [UInt64](repeating: 0, count: Histogram.bucketCount)) }

    /// Adds the counts of `other`.
    public mutating func merge(_ other: HistogramSnapshot) {
        for bucket in counts.indices { counts[bucket] &+= other.counts[bucket] }
        total &+= other.total
    }

    /// The counts added since `earlier`, a snapshot of the same histogram.
    public func since(_ earlier: HistogramSnapshot) -> HistogramSnapshot {
        var difference = counts
        for bucket in difference.indices { difference[bucket] &-= earlier.counts[bucket] }
        return HistogramSnapshot(counts: difference)
    }

    /// The value below or at which `percent` of the values lie, 0…100 (what lies outside counts as the nearer end); 0
    /// when nothing was counted.
    ///
    /// Answers with the middle of the bucket, so it is off by less than 0.8 %.
    public func percentile(_ percent: Double) -> UInt64 {
        guard total > 0 else { return 0 }
        // Rounded up by hand: rounded(.up) would make the Embedded archive ask for libm.
        let exact = Double(total) * min(max(percent, 0), 100) / 100
        let below = UInt64(exact)
        let wanted = max(1, Double(below) < exact ? below + 1 : below)
        var seen: UInt64 = 0
        for bucket in counts.indices {
            seen &+= counts[bucket]
            if seen >= wanted { return Self.middle(ofBucket: bucket) }
        }
        return maximum
    }

    /// The smallest value counted, to the bucket's lower bound; 0 when nothing was counted.
    public var minimum: UInt64 {
        counts.firstIndex { $0 != 0 }.map { Histogram.range(ofBucket: $0).lowerBound } ?? 0
    }

    /// The largest value counted, to the bucket's upper bound; 0 when nothing was counted.
    public var maximum: UInt64 {
        counts.lastIndex { $0 != 0 }.map { Histogram.range(ofBucket: $0).upperBound } ?? 0
    }

    /// The arithmetic mean, from the buckets' middles; 0 when nothing was counted.
    public var mean: Double {
        guard total > 0 else { return 0 }
        var sum = 0.0
        for bucket in counts.indices where counts[bucket] != 0 {
            sum += Double(counts[bucket]) * Double(Self.middle(ofBucket: bucket))
        }
        return sum / Double(total)
    }

    private static func middle(ofBucket bucket: Int) -> UInt64 {
        let range = Histogram.range(ofBucket: bucket)
        return range.lowerBound + (range.upperBound - range.lowerBound) / 2
    }
}
