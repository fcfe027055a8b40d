/// A length of time on the command line: a number and a unit, `20us`, `1.5ms`, `30s`.
///
/// A bare number is refused: one reader takes it for seconds and the next for microseconds.
struct DurationArgument: Equatable, CustomStringConvertible {
    /// The length in nanoseconds.
    let nanoseconds: UInt64

    static let accepted = "a number with a unit, ns, us, ms, s, m or h, as in 20us or 1.5ms"

    private static let units: [(name: String, nanoseconds: UInt64)] = [
        ("ns", 1), ("us", 1000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ]
    /// The micro sign and the Greek letter: keyboards differ.
    private static let otherMicroseconds = ["\u{B5}s", "\u{3BC}s"]

    init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    init(parsing text: String) throws(UsageError) {
        guard let (number, unit) = DecimalText.split(text) else {
            throw UsageError("not a duration; accepted: \(Self.accepted)")
        }
        guard !unit.isEmpty else {
            throw UsageError("a duration needs its unit; accepted: \(Self.accepted)")
        }
        let name = Self.otherMicroseconds.contains(unit) ? "us" : unit
        guard let factor = Self.units.first(where: { $0.name == name })?.nanoseconds else {
            throw UsageError("no such unit of time; accepted: \(Self.accepted)")
        }
        guard let nanoseconds = number.times(factor) else {
            throw UsageError("not a whole number of nanoseconds below 2^64; accepted: \(Self.accepted)")
        }
        self.nanoseconds = nanoseconds
    }

    /// The same length in the largest unit that keeps it whole; parses back to the same value.
    var description: String {
        let fitting = Self.units.last { nanoseconds >= $0.nanoseconds && nanoseconds % $0.nanoseconds == 0 }
        let unit = fitting ?? Self.units[0]
        return "\(nanoseconds / unit.nanoseconds)\(unit.name)"
    }
}
