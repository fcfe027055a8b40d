internal import InterruptModel

/// A SET_IRQS request on the command line: `index:action:data[@start][xcount|=values]`.
///
/// `msix:trigger:eventfd@2=5,-1`, `intx:mask:none`, `msi:trigger:none@0x0`. The eventfds are made up:
/// any number stands for an eventfd that is open, `closed` for a number that is not, `file` for some other file.
struct RequestArgument: Equatable {
    /// What `closed` and `file` stand for in the payload; no process has so many files.
    static let closedNumber = Int32.max
    static let fileNumber = Int32.max - 1
    /// A payload longer than this helps nobody to read.
    static let longestPayload: UInt32 = 4096

    let request: IRQRequest
    /// As it was typed.
    let text: String

    static let accepted =
        "index:action:data[@start][xcount or =values] with intx, msi, msix, err or req; mask, unmask or trigger; "
        + "none, bool or eventfd; as in msix:trigger:eventfd@0=5,6,-1"

    init(parsing text: String) throws(UsageError) {
        let fields = text.split(separator: ":", omittingEmptySubsequences: false)
        guard fields.count == 3 else { throw UsageError("not a request; accepted: \(Self.accepted)") }
        let index = try Self.index(fields[0])
        let action = try Self.action(fields[1])
        let (kind, start, tail) = try Self.split(fields[2])
        self.text = text
        request = IRQRequest(index, action, start: start, try Self.data(kind, tail))
    }

    private static func index(_ name: Substring) throws(UsageError) -> IRQIndex {
        guard let index = IRQIndex.allCases.first(where: { $0.name == name }) else {
            throw UsageError("no such index '\(name)'; accepted: \(accepted)")
        }
        return index
    }

    private static func action(_ name: Substring) throws(UsageError) -> IRQRequest.Action {
        switch name {
        case "mask": .mask
        case "unmask": .unmask
        case "trigger": .trigger
        default: throw UsageError("no such action '\(name)'; accepted: \(accepted)")
        }
    }

    /// Takes `eventfd@2=5,6` apart: the kind of data, the start, and what follows (`=5,6`, `x3` or nothing).
    private static func split(_ field: Substring) throws(UsageError) -> (Substring, UInt32, Substring) {
        let kind = field.prefix { ("a"..."w").contains($0) || $0 == "y" || $0 == "z" }
        var rest = field[kind.endIndex...]
        guard rest.first == "@" else { return (kind, 0, rest) }
        rest.removeFirst()
        let digits = rest.prefix { ("0"..."9").contains($0) }
        guard let start = UInt32(digits) else {
            throw UsageError("'@' needs the first vector's number; accepted: \(accepted)")
        }
        return (kind, start, rest[digits.endIndex...])
    }

    private static func data(_ kind: Substring, _ tail: Substring) throws(UsageError) -> IRQRequest.Data {
        if tail.isEmpty || tail.first == "x" {
            var count: UInt32 = 1
            if !tail.isEmpty {
                guard let number = UInt32(tail.dropFirst()) else {
                    throw UsageError("'x' needs a number of vectors; accepted: \(accepted)")
                }
                count = number
            }
            guard kind == "none" || count <= longestPayload else {
                throw UsageError("a payload has at most \(longestPayload) elements here")
            }
            switch kind {
            case "none": return .none(count: count)
            case "bool": return .bool([UInt8](repeating: 1, count: Int(count)))
            // Numbers like those of a process that opened its eventfds after the standard streams.
            case "eventfd": return .eventfd((0..<Int32(count)).map { 3 + $0 })
            default: throw UsageError("no such data '\(kind)'; accepted: \(accepted)")
            }
        }
        guard tail.first == "=" else { throw UsageError("'\(tail)' is not xcount or =values; accepted: \(accepted)") }
        let values = tail.dropFirst().split(separator: ",", omittingEmptySubsequences: false)
        guard values.count <= Int(longestPayload) else {
            throw UsageError("a payload has at most \(longestPayload) elements here")
        }
        switch kind {
        case "bool": return .bool(try bytes(values))
        case "eventfd": return .eventfd(try descriptors(values))
        case "none": throw UsageError("none carries no values, only a count as in none@0x3")
        default: throw UsageError("no such data '\(kind)'; accepted: \(accepted)")
        }
    }

    private static func bytes(_ values: [Substring]) throws(UsageError) -> [UInt8] {
        var bytes: [UInt8] = []
        for value in values {
            guard let byte = UInt8(value) else { throw UsageError("'\(value)' is not a byte; accepted: 0 to 255") }
            bytes.append(byte)
        }
        return bytes
    }

    private static func descriptors(_ values: [Substring]) throws(UsageError) -> [Int32] {
        var numbers: [Int32] = []
        for value in values {
            switch value {
            case "closed": numbers.append(closedNumber)
            case "file": numbers.append(fileNumber)
            default:
                guard let number = Int32(value), number < fileNumber else {
                    throw UsageError("'\(value)' is not an eventfd; accepted: a number, -1, closed or file")
                }
                numbers.append(number)
            }
        }
        return numbers
    }

    /// What the made-up file descriptors are, for the model.
    static func lookUp(_ number: Int32) -> EventFDLookup {
        switch number {
        case closedNumber: .notOpen
        case fileNumber: .otherFile(identity: UInt64(UInt32(bitPattern: number)))
        default: .eventFD(identity: UInt64(UInt32(bitPattern: number)))
        }
    }
}
