/// How many, on the command line: `64`, `10k`, `1.5M`. A bare number is plain here.
struct CountArgument: Equatable, CustomStringConvertible {
    let value: UInt64

    static let accepted = "a whole number, with k, M or G for thousands, millions or billions, as in 64 or 10k"

    static let multiples: [(name: Character, value: UInt64)] = [("k", 1000), ("M", 1_000_000), ("G", 1_000_000_000)]

    init(_ value: UInt64) { self.value = value }

    init(parsing text: String) throws(UsageError) {
        guard let (number, unit) = DecimalText.split(text) else {
            throw UsageError("not a count; accepted: \(Self.accepted)")
        }
        var factor: UInt64 = 1
        if !unit.isEmpty {
            guard let multiple = Self.multiples.first(where: { String($0.name) == unit }) else {
                throw UsageError("no such multiple; accepted: \(Self.accepted)")
            }
            factor = multiple.value
        }
        guard let value = number.times(factor) else {
            throw UsageError("not a whole number below 2^64; accepted: \(Self.accepted)")
        }
        self.value = value
    }

    /// Parses a count that must lie in `range`; `what` names it in the message.
    static func parse(_ text: String, of what: String, in range: ClosedRange<UInt64>) throws(UsageError) -> Self {
        let count = try CountArgument(parsing: text)
        guard range.contains(count.value) else {
            throw UsageError("an impossible number of \(what); accepted: \(range.lowerBound) to \(range.upperBound)")
        }
        return count
    }

    var description: String { "\(value)" }
}
