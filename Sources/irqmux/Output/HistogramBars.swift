internal import EventRing

/// A histogram drawn in the terminal: one row for every power of two, with the percentiles written beside the row they
/// fall into.
enum HistogramBars {
    static let barWidth = 40

    static func text(_ snapshot: HistogramSnapshot, terminal: Terminal) -> String {
        guard snapshot.total > 0 else { return "(nothing was measured)\n" }
        var counts = [UInt64](repeating: 0, count: 41)
        for (bucket, count) in snapshot.counts.enumerated() where count > 0 {
            counts[row(of: Histogram.range(ofBucket: bucket).lowerBound)] += count
        }
        let first = counts.firstIndex { $0 > 0 } ?? 0
        let last = counts.lastIndex { $0 > 0 } ?? 0
        let largest = counts.max() ?? 1
        var marks: [Int: [String]] = [:]
        for (name, percent) in LatencySummary.percentiles {
            marks[row(of: snapshot.percentile(percent)), default: []].append(name.replacing("_", with: "."))
        }
        let countWidth = "\(largest)".count
        var text = ""
        for row in first...last {
            let label = "[\(bound(row)), \(bound(row + 1)))"
            let bar = bar(counts[row], of: largest)
            let mark = marks[row].map { " " + terminal.paint($0.joined(separator: " "), .yellow) } ?? ""
            text += NumberText.left(label, 18) + NumberText.right("\(counts[row])", countWidth)
            text += " |" + terminal.paint(NumberText.left(bar, barWidth), .green) + "|" + mark + "\n"
        }
        return text
    }

    /// The row of a value is its number of significant bits.
    private static func row(of value: UInt64) -> Int { 64 - value.leadingZeroBitCount }

    /// The lower end of a row: `512ns`, `1.02us`, `2.05us` for 2^9, 2^10, 2^11.
    private static func bound(_ row: Int) -> String {
        row == 0 ? "0" : NumberText.duration(Double(UInt64(1) << UInt64(row - 1))).filter { $0 != " " }
    }

    private static func bar(_ count: UInt64, of largest: UInt64) -> String {
        guard count > 0 else { return "" }
        // A rare value is still a value: whatever occurred gets a mark.
        let length = max(1, Int((Double(count) / Double(largest) * Double(barWidth)).rounded()))
        return String(repeating: "@", count: length)
    }
}
