/// How often something happens, on the command line: `10k/s`, `2/ms`, `500Hz`.
///
/// A bare number is refused: it does not say per what.
struct RateArgument: Equatable, CustomStringConvertible {
    /// Events per second.
    let perSecond: Double
    /// As it was typed.
    let description: String

    static let accepted = "events per time, as in 10k/s, 2/ms or 500Hz, above 0 and up to 1G/s"

    private static let periods: [(name: String, perSecond: Double)] = [
        ("/s", 1), ("/ms", 1e3), ("/us", 1e6), ("/m", 1 / 60), ("/h", 1 / 3600), ("Hz", 1),
    ]

    init(parsing text: String) throws(UsageError) {
        guard let (number, unit) = DecimalText.split(text) else {
            throw UsageError("not a rate; accepted: \(Self.accepted)")
        }
        var period = unit
        var multiple = 1.0
        if let prefix = unit.first, let factor = CountArgument.multiples.first(where: { $0.name == prefix }) {
            multiple = Double(factor.value)
            period.removeFirst()
        }
        guard !period.isEmpty else {
            throw UsageError("a rate needs its period; accepted: \(Self.accepted)")
        }
        guard let scale = Self.periods.first(where: { $0.name == period })?.perSecond else {
            throw UsageError("no such period; accepted: \(Self.accepted)")
        }
        let rate = number.doubleValue * multiple * scale
        guard rate > 0, rate <= 1e9 else {
            throw UsageError("an impossible rate; accepted: \(Self.accepted)")
        }
        perSecond = rate
        description = text
    }

    /// When event `number` is due, in nanoseconds after event 0. Computed from the number: rounding never adds up.
    /// `UInt64.max` for what lies centuries ahead.
    func nanoseconds(ofEvent number: UInt64) -> UInt64 {
        UInt64(exactly: (Double(number) * 1e9 / perSecond).rounded()) ?? .max
    }
}
