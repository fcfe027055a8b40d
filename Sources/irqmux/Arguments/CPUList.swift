/// Processors in the kernel's own list form: `0`, `0,2`, `0-3,6`.
struct CPUList: Equatable, CustomStringConvertible {
    /// In the order they were given, each once.
    let numbers: [Int]

    static let accepted = "processor numbers and ranges, as in 0,2 or 0-3"
    /// The kernel's CONFIG_NR_CPUS never exceeds it.
    static let highestNumber = 8191

    init(_ numbers: [Int]) {
        var seen: Set<Int> = []
        self.numbers = numbers.filter { seen.insert($0).inserted }
    }

    init(parsing text: String) throws(UsageError) {
        var numbers: [Int] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false)
            guard ends.count <= 2, let first = Self.number(ends[0]), let last = Self.number(ends[ends.count - 1]),
                first <= last
            else { throw UsageError("not a list of processors; accepted: \(Self.accepted)") }
            guard last <= Self.highestNumber else {
                throw UsageError("no Linux has processor \(last); accepted: 0 to \(Self.highestNumber)")
            }
            numbers += first...last
        }
        self.init(numbers)
    }

    private static func number(_ text: Substring) -> Int? {
        guard !text.isEmpty, text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
            return nil
        }
        return Int(text)
    }

    /// The list form again, neighbours joined to ranges.
    var description: String {
        var parts: [String] = []
        var position = 0
        while position < numbers.count {
            var end = position
            while end + 1 < numbers.count, numbers[end + 1] == numbers[end] + 1 { end += 1 }
            parts.append(position == end ? "\(numbers[position])" : "\(numbers[position])-\(numbers[end])")
            position = end + 1
        }
        return parts.joined(separator: ",")
    }
}
