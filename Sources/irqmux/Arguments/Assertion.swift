internal import EventRing

/// A threshold on a measurement: `p99<20us`, `max<=1ms`, `lost<1`.
struct Assertion: Equatable, CustomStringConvertible {
    enum Metric: Equatable {
        case percentile(Double)
        case min, max, mean
        case lost, coalesced
    }

    enum Comparison: String, CaseIterable {
        // Two characters before one, so that `<=` is not read as `<` and a stray `=`.
        case atMost = "<="
        case atLeast = ">="
        case below = "<"
        case above = ">"

        func holds(_ value: Double, _ bound: Double) -> Bool {
            switch self {
            case .atMost: value <= bound
            case .atLeast: value >= bound
            case .below: value < bound
            case .above: value > bound
            }
        }
    }

    let metric: Metric
    let comparison: Comparison
    /// Nanoseconds for a latency, a number for a count.
    let bound: UInt64
    /// As it was typed.
    let description: String

    static let accepted =
        "min, max, mean, a percentile such as p99.9, then <, <=, > or >= and a duration, as in p99<20us; "
        + "or lost or coalesced with a count, as in lost<1"

    init(parsing text: String) throws(UsageError) {
        let compact = text.filter { $0 != " " }
        guard let at = compact.firstIndex(where: { $0 == "<" || $0 == ">" }) else {
            throw UsageError("an assertion compares; accepted: \(Self.accepted)")
        }
        let tail = compact[at...]
        guard let comparison = Comparison.allCases.first(where: { tail.hasPrefix($0.rawValue) }) else {
            throw UsageError("an assertion compares; accepted: \(Self.accepted)")
        }
        let metric = try Self.metric(compact[..<at])
        let boundText = String(tail.dropFirst(comparison.rawValue.count))
        do {
            switch metric {
            case .lost, .coalesced: bound = try CountArgument(parsing: boundText).value
            default: bound = try DurationArgument(parsing: boundText).nanoseconds
            }
        } catch {
            throw UsageError("its bound '\(boundText)': \(error.description)")
        }
        self.metric = metric
        self.comparison = comparison
        description = compact
    }

    private static func metric(_ name: Substring) throws(UsageError) -> Metric {
        switch name {
        case "min": return .min
        case "max": return .max
        case "mean": return .mean
        case "lost": return .lost
        case "coalesced": return .coalesced
        default: break
        }
        if name.first == "p", let (number, rest) = DecimalText.split(String(name.dropFirst())), rest.isEmpty {
            let percent = number.doubleValue
            guard percent > 0, percent <= 100 else {
                throw UsageError("a percentile lies above 0 and at most at 100; accepted: \(accepted)")
            }
            return .percentile(percent)
        }
        throw UsageError("nothing called '\(name)' is measured; accepted: \(accepted)")
    }

    /// What was measured, in the unit of `bound`; `nil` for a latency when nothing was.
    func measured(latency: HistogramSnapshot, lost: UInt64, coalesced: UInt64) -> Double? {
        switch metric {
        case .lost: return Double(lost)
        case .coalesced: return Double(coalesced)
        default: break
        }
        guard latency.total > 0 else { return nil }
        return switch metric {
        case .percentile(let percent): Double(latency.percentile(percent))
        case .min: Double(latency.minimum)
        case .max: Double(latency.maximum)
        default: latency.mean
        }
    }

    /// Whether `value` keeps within the bound. A latency nobody measured keeps within none.
    func holds(_ value: Double?) -> Bool {
        guard let value else { return false }
        return comparison.holds(value, Double(bound))
    }

    /// One line for people: what was asked and what was found.
    func verdict(_ value: Double?) -> String {
        let found =
            switch (metric, value) {
            case (_, nil): "nothing"
            case (.lost, let value?), (.coalesced, let value?): "\(UInt64(value))"
            case (_, let value?): NumberText.duration(value)
            }
        return "\(holds(value) ? "held" : "breached"): \(description), measured \(found)"
    }
}
