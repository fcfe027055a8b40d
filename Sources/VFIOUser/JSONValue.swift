/// A JSON text, as far as VERSION needs it: objects, booleans, and numbers that are whole and not negative; any other
/// value is checked and then forgotten.
///
/// Of our own, so that a server need not load Foundation for the one message that needs it (docs/decisions/0012). A
/// peer's text cannot make it recurse or grow beyond what the text itself is: nesting ends at `deepest`.
enum JSONValue: Equatable {
    case object([String: JSONValue])
    case boolean(Bool)
    case number(UInt64)
    case other

    static let deepest = 16

    var number: UInt64? { if case .number(let value) = self { value } else { nil } }

    /// Parses the whole of `bytes`; `nil` when that is not one JSON value.
    init?(parsing bytes: ArraySlice<UInt8>) {
        var parser = JSONParser(bytes)
        guard let value = parser.value(depth: 0) else { return nil }
        parser.skipSpace()
        guard parser.isAtEnd else { return nil }
        self = value
    }
}

private struct JSONParser {
    private let bytes: ArraySlice<UInt8>
    private var at: Int

    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        at = bytes.startIndex
    }

    var isAtEnd: Bool { at == bytes.endIndex }
    private var next: UInt8? { at < bytes.endIndex ? bytes[at] : nil }

    mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { at += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        at += 1
        return true
    }

    private mutating func take(_ word: StaticString) -> Bool {
        let start = at
        for byte in "\(word)".utf8 where !take(byte) {
            at = start
            return false
        }
        return true
    }

    mutating func value(depth: Int) -> JSONValue? {
        guard depth < JSONValue.deepest else { return nil }
        skipSpace()
        switch next {
        case UInt8(ascii: "{"): return object(depth: depth)
        case UInt8(ascii: "["): return array(depth: depth) ? .other : nil
        case UInt8(ascii: "\""): return string() == nil ? nil : .other
        case UInt8(ascii: "t"): return take("true") ? .boolean(true) : nil
        case UInt8(ascii: "f"): return take("false") ? .boolean(false) : nil
        case UInt8(ascii: "n"): return take("null") ? .other : nil
        default: return number()
        }
    }

    private mutating func object(depth: Int) -> JSONValue? {
        guard take(UInt8(ascii: "{")) else { return nil }
        var members: [String: JSONValue] = [:]
        skipSpace()
        if take(UInt8(ascii: "}")) { return .object(members) }
        while true {
            skipSpace()
            guard let key = string() else { return nil }
            skipSpace()
            guard take(UInt8(ascii: ":")), let value = value(depth: depth + 1) else { return nil }
            // Of a key that is given twice the last one counts, as in most readers.
            members[key] = value
            skipSpace()
            if take(UInt8(ascii: "}")) { return .object(members) }
            guard take(UInt8(ascii: ",")) else { return nil }
        }
    }

    private mutating func array(depth: Int) -> Bool {
        guard take(UInt8(ascii: "[")) else { return false }
        skipSpace()
        if take(UInt8(ascii: "]")) { return true }
        while true {
            guard value(depth: depth + 1) != nil else { return false }
            skipSpace()
            if take(UInt8(ascii: "]")) { return true }
            guard take(UInt8(ascii: ",")) else { return false }
        }
    }

    /// The text between quotation marks. Escapes are checked and kept as they stand: no key that is known has any.
    private mutating func string() -> String? {
        guard take(UInt8(ascii: "\"")) else { return nil }
        let start = at
        while let byte = next {
            switch byte {
            case UInt8(ascii: "\""):
                let text = String(validating: bytes[start..<at], as: UTF8.self)
                at += 1
                return text
            case UInt8(ascii: "\\"):
                at += 1
                guard escape() else { return nil }
            case 0..<0x20: return nil
            default: at += 1
            }
        }
        return nil
    }

    private mutating func escape() -> Bool {
        guard let byte = next else { return false }
        at += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
            UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            return true
        case UInt8(ascii: "u"):
            for _ in 0..<4 {
                guard let digit = next, Self.isHexadecimal(digit) else { return false }
                at += 1
            }
            return true
        default: return false
        }
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
            UInt8(ascii: "A")...UInt8(ascii: "F"):
            true
        default: false
        }
    }

    private mutating func digits() -> Int {
        let start = at
        while let byte = next, byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") { at += 1 }
        return at - start
    }

    /// A number of JSON; a whole one that fits 64 bits keeps its value.
    private mutating func number() -> JSONValue? {
        let start = at
        let isNegative = take(UInt8(ascii: "-"))
        guard let first = next else { return nil }
        let count = digits()
        guard count > 0, count == 1 || first != UInt8(ascii: "0") else { return nil }
        var isWhole = !isNegative
        let end = at
        if take(UInt8(ascii: ".")) {
            isWhole = false
            guard digits() > 0 else { return nil }
        }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            isWhole = false
            _ = take(UInt8(ascii: "+")) || take(UInt8(ascii: "-"))
            guard digits() > 0 else { return nil }
        }
        guard isWhole else { return .other }
        var value: UInt64 = 0
        for byte in bytes[start..<end] {
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(byte - UInt8(ascii: "0")))
            guard !overflow, !carry else { return .other }
            value = sum
        }
        return .number(value)
    }
}
