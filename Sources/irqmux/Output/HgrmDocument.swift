internal import EventRing

/// A percentile distribution in the text form that HdrHistogram's plotter reads (`.hgrm`), values in microseconds.
///
/// Between 0 and 50 % five steps, between 50 and 75 % five more, and so on halving towards 100 %: the plotter's axis.
enum HgrmDocument {
    static let stepsPerHalving = 5

    static func text(_ snapshot: HistogramSnapshot) -> String {
        var text = "\(column("Value", 12)) \(column("Percentile", 14)) \(column("TotalCount", 10))"
        text += " \(column("1/(1-Percentile)", 14))\n\n"
        for row in rows(of: snapshot) {
            text += "\(microseconds(row.value)) \(NumberText.decimal(row.fraction, places: 12))"
            text += " \(column("\(row.seen)", 10))"
            if row.fraction < 1 { text += " \(column(NumberText.decimal(1 / (1 - row.fraction), places: 2), 14))" }
            text += "\n"
        }
        text += "#[Mean    = \(microseconds(snapshot.mean)), StdDeviation   = \(microseconds(deviation(snapshot)))]\n"
        text += "#[Max     = \(microseconds(Double(snapshot.maximum))), "
        text += "Total count    = \(column("\(snapshot.total)", 12))]\n"
        // The first 128 values have a bucket each, every later power of two has 64 (Histogram's DETAILS).
        let powers = Histogram.bucketCount / 64 - 1
        text += "#[Buckets = \(column("\(powers)", 12)), SubBuckets     = \(column("128", 12))]\n"
        return text
    }

    private struct Row {
        /// Nanoseconds.
        let value: Double
        /// 0…1.
        let fraction: Double
        /// Values at or below.
        let seen: UInt64
    }

    private static func rows(of snapshot: HistogramSnapshot) -> [Row] {
        guard snapshot.total > 0 else { return [] }
        let total = Double(snapshot.total)
        var rows: [Row] = []
        var level = 0.0
        var seen: UInt64 = 0
        for (bucket, count) in snapshot.counts.enumerated() where count > 0 {
            seen += count
            while seen < snapshot.total, Double(seen) / total >= level {
                rows.append(Row(value: middle(bucket), fraction: level, seen: seen))
                // The distance to 100 % halves after every five steps.
                var halvings = 0.0
                var distance = 1.0
                while distance / 2 >= 1 - level {
                    distance /= 2
                    halvings += 1
                }
                level += distance / 2 / Double(stepsPerHalving)
            }
        }
        rows.append(Row(value: Double(snapshot.maximum), fraction: 1, seen: snapshot.total))
        return rows
    }

    private static func deviation(_ snapshot: HistogramSnapshot) -> Double {
        guard snapshot.total > 0 else { return 0 }
        let mean = snapshot.mean
        var sum = 0.0
        for (bucket, count) in snapshot.counts.enumerated() where count > 0 {
            let distance = middle(bucket) - mean
            sum += Double(count) * distance * distance
        }
        return (sum / Double(snapshot.total)).squareRoot()
    }

    /// What stands for every value of a bucket, as in `HistogramSnapshot.percentile`: off by less than 0.8 %.
    private static func middle(_ bucket: Int) -> Double {
        let range = Histogram.range(ofBucket: bucket)
        return Double(range.lowerBound + (range.upperBound - range.lowerBound) / 2)
    }

    private static func microseconds(_ nanoseconds: Double) -> String {
        column(NumberText.decimal(nanoseconds / 1000, places: 3), 12)
    }

    private static func column(_ text: String, _ width: Int) -> String { NumberText.right(text, width) }
}
