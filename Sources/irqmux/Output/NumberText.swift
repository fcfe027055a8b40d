/// Numbers as people read them.
enum NumberText {
    /// `value` with `places` decimals, rounded half away from zero; with `trimmed`, without closing zeros.
    static func decimal(_ value: Double, places: Int, trimmed: Bool = false) -> String {
        var scale = 1.0
        for _ in 0..<places { scale *= 10 }
        let scaled = (abs(value) * scale).rounded()
        // Beyond 2^53 a Double has no decimals left to print.
        guard scaled < 9e15 else { return "\(value)" }
        let whole = UInt64(scaled)
        let divisor = UInt64(scale)
        var text = (value < 0 && whole > 0 ? "-" : "") + "\(whole / divisor)"
        guard places > 0 else { return text }
        let fraction = "\(whole % divisor)"
        text += "." + String(repeating: "0", count: places - fraction.count) + fraction
        if trimmed {
            while text.last == "0" { text.removeLast() }
            if text.last == "." { text.removeLast() }
        }
        return text
    }

    /// A length of time in nanoseconds with three significant digits: `812 ns`, `20.3 us`, `1.50 ms`.
    static func duration(_ nanoseconds: Double) -> String {
        var value = nanoseconds
        var unit = "ns"
        // 999.5 and not 1000: three digits round up to the next unit, never to "1000 ns".
        for next in ["us", "ms", "s"] where value >= 999.5 {
            value /= 1000
            unit = next
        }
        if unit == "ns", value == value.rounded() { return "\(UInt64(value)) ns" }
        let places = value < 9.995 ? 2 : value < 99.95 ? 1 : 0
        return decimal(value, places: places) + " " + unit
    }

    /// `text` moved to the right edge of `width` columns.
    static func right(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }

    /// `text` filled up to `width` columns.
    static func left(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }
}
