/// A number as a person types it, kept exact: `12.5` is 125 with one fraction digit.
///
/// Floating point has no 0.3, so `0.3us` would be 300 ns or 299 by the luck of rounding; a threshold must be the one
/// that was typed.
struct DecimalText: Equatable {
    let digits: UInt64
    let fractionDigits: Int

    /// Splits `text` into the number at its front and whatever follows; `nil` when it does not begin with a number, or
    /// the number has more digits than 64 bits hold.
    static func split(_ text: String) -> (number: DecimalText, unit: String)? {
        var digits: UInt64 = 0
        var fractionDigits = 0
        var sawPoint = false
        var sawDigit = false
        var position = text.utf8.startIndex
        while position < text.utf8.endIndex {
            let byte = text.utf8[position]
            if byte == UInt8(ascii: "."), !sawPoint {
                sawPoint = true
            } else if (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
                let (product, overflow) = digits.multipliedReportingOverflow(by: 10)
                let (sum, carry) = product.addingReportingOverflow(UInt64(byte - UInt8(ascii: "0")))
                guard !overflow, !carry else { return nil }
                digits = sum
                sawDigit = true
                if sawPoint { fractionDigits += 1 }
            } else {
                break
            }
            position = text.utf8.index(after: position)
        }
        guard sawDigit, fractionDigits <= 19 else { return nil }
        return (DecimalText(digits: digits, fractionDigits: fractionDigits), String(text[position...]))
    }

    /// The number times `factor`, where that is a whole number that fits; `nil` otherwise.
    func times(_ factor: UInt64) -> UInt64? {
        let product = digits.multipliedFullWidth(by: factor)
        var divisor: UInt64 = 1
        for _ in 0..<fractionDigits { divisor *= 10 }
        guard product.high < divisor else { return nil }
        let (quotient, remainder) = divisor.dividingFullWidth(product)
        return remainder == 0 ? quotient : nil
    }

    /// The nearest floating-point number.
    var doubleValue: Double {
        var divisor = 1.0
        for _ in 0..<fractionDigits { divisor *= 10 }
        return Double(digits) / divisor
    }
}
