/// A JSON value whose keys keep the order they were written in, so that two reports compare line by line.
enum JSON {
    case string(String)
    case integer(UInt64)
    /// Written with at most three decimals; the histogram knows no more.
    case number(Double)
    case boolean(Bool)
    case null
    case array([JSON])
    case object([(String, JSON)])

    /// The value as text, indented by two spaces and closed by a newline.
    var text: String {
        var text = ""
        write(to: &text, indent: 0)
        return text + "\n"
    }

    private func write(to text: inout String, indent: Int) {
        switch self {
        case .string(let value): Self.writeString(value, to: &text)
        case .integer(let value): text += "\(value)"
        case .number(let value): text += value.isFinite ? NumberText.decimal(value, places: 3, trimmed: true) : "null"
        case .boolean(let value): text += value ? "true" : "false"
        case .null: text += "null"
        case .array(let values):
            Self.writeList(values, brackets: ("[", "]"), to: &text, indent: indent) { value, text in
                value.write(to: &text, indent: indent + 1)
            }
        case .object(let members):
            Self.writeList(members, brackets: ("{", "}"), to: &text, indent: indent) { member, text in
                Self.writeString(member.0, to: &text)
                text += ": "
                member.1.write(to: &text, indent: indent + 1)
            }
        }
    }

    private static func writeList<Element>(
        _ elements: [Element], brackets: (String, String), to text: inout String, indent: Int,
        _ writeOne: (Element, inout String) -> Void
    ) {
        text += brackets.0
        for (position, element) in elements.enumerated() {
            text += (position == 0 ? "\n" : ",\n") + String(repeating: "  ", count: indent + 1)
            writeOne(element, &text)
        }
        if !elements.isEmpty { text += "\n" + String(repeating: "  ", count: indent) }
        text += brackets.1
    }

    private static func writeString(_ value: String, to text: inout String) {
        text += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\t": text += "\\t"
            case "\r": text += "\\r"
            default:
                if scalar.value < 32 {
                    let digits = String(scalar.value, radix: 16)
                    text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                } else {
                    text.unicodeScalars.append(scalar)
                }
            }
        }
        text += "\""
    }
}
