/// All samples of a run, by case and engine, a round after the other.
struct Results: Sendable {
    /// The engine that the others are compared with.
    static let ours = "irqmux"

    private var samples: [Key: [Sample]] = [:]
    private struct Key: Hashable {
        var name: String
        var engine: String
    }

    mutating func add(_ sample: Sample, name: String, engine: String) {
        samples[Key(name: name, engine: engine), default: []].append(sample)
    }

    func has(_ name: String, _ engine: String) -> Bool { samples[Key(name: name, engine: engine)] != nil }

    /// One value a round.
    func values(_ name: String, _ engine: String) -> [Double] {
        samples[Key(name: name, engine: engine), default: []].map(\.value)
    }

    /// The median of the rounds' 99th percentiles; nil where a case has none.
    func p99(_ name: String, _ engine: String) -> Double? {
        let values = samples[Key(name: name, engine: engine), default: []].compactMap(\.p99)
        return values.isEmpty ? nil : values.percentile(50)
    }

    /// The median of first ÷ second, round by round.
    ///
    /// Machines drift: on a virtual one, all latencies may double from one second to the next. Two values of one round
    /// have seen the same machine, so the ratio is taken there, and the median over the rounds.
    func ratio(_ first: [Double], _ second: [Double]) -> Double? {
        guard !first.isEmpty, first.count == second.count else { return nil }
        return zip(first, second).map { $0 / $1 }.percentile(50)
    }

    /// The engine's value ÷ ours; above 1, ours is faster.
    func ratioToOurs(_ name: String, _ engine: String) -> Double? {
        ratio(values(name, engine), values(name, Self.ours))
    }
}
