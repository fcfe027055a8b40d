internal import Foundation

/// The results as people and as programs read them.
struct Report {
    var results: Results
    var cases: [Case]
    var engines: [String]
    var rounds: Int
    var environment: [String: String]

    /// A row a case and engine, then the bars.
    var table: String {
        var lines = [row("case", "engine", "median", "rounds' range", "p99 ns", "÷ ours")]
        for measured in cases {
            for engine in engines where results.has(measured.name, engine) {
                let values = results.values(measured.name, engine)
                lines.append(
                    row(
                        measured.name, engine, number(values.percentile(50)),
                        "\(number(values.min() ?? .nan))–\(number(values.max() ?? .nan))",
                        results.p99(measured.name, engine).map(number) ?? "",
                        results.ratioToOurs(measured.name, engine).map { String(format: "%.2f", $0) } ?? ""))
            }
        }
        lines += [
            "",
            "Nanoseconds; routing-2048 and msix-commits-2048 count commits, msix-enable-2048 counts calls.",
            "Median of \(rounds) rounds; ratios are taken within each round, and then their median.",
            "",
        ]
        return (lines + bars).joined(separator: "\n")
    }

    private var bars: [String] {
        let verdicts = Verdict.all(of: results)
        guard !verdicts.isEmpty else { return ["No bar could be judged: that needs the engine \(Results.ours)."] }
        return verdicts.map { verdict in
            let measured = String(format: "%.3f", verdict.value)
            let limit = String(format: "%.3f", verdict.bar.limit)
            return "\(verdict.passes ? "pass" : "MISS")  \(pad(verdict.bar.name, 34)) \(measured) (at most \(limit))"
        }
    }

    private func row(_ cells: String...) -> String {
        let widths = [16, 15, 10, 19, 9, 7]
        return zip(cells, widths).enumerated().map { column, cell in
            column < 2 ? pad(cell.0, cell.1) : String(repeating: " ", count: max(0, cell.1 - cell.0.count)) + cell.0
        }.joined(separator: " ")
    }

    private func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    private func number(_ value: Double) -> String { String(format: value < 100 ? "%.1f" : "%.0f", value) }

    /// The object that DESIGN.md calls `irqmux.bench/1`.
    func json() throws -> Data {
        let document = Document(
            rounds: rounds,
            cases: cases.flatMap { measured in
                engines.filter { results.has(measured.name, $0) }.map { entry(measured, $0) }
            },
            bars: Verdict.all(of: results).map {
                Document.Bar(name: $0.bar.name, value: $0.value, limit: $0.bar.limit, pass: $0.passes)
            },
            environment: environment)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(document) + Data("\n".utf8)
    }

    private func entry(_ measured: Case, _ engine: String) -> Document.Entry {
        let name = measured.name
        let values = results.values(name, engine)
        return Document.Entry(
            name: name, engine: engine, value: values.percentile(50), unit: measured.unit,
            ratio_to_ours: results.ratioToOurs(name, engine), low: values.min() ?? .nan, high: values.max() ?? .nan,
            p99_ns: results.p99(name, engine))
    }
}

/// The shape of `latest.json`. Key names are those of the file.
// swift-format-ignore: AlwaysUseLowerCamelCase
private struct Document: Encodable {
    struct Entry: Encodable {
        var name: String
        var engine: String
        /// The median of the rounds.
        var value: Double
        var unit: String
        /// The median of the rounds' ratios; absent where ours was not measured.
        var ratio_to_ours: Double?
        /// The lowest and highest round.
        var low: Double
        var high: Double
        var p99_ns: Double?
    }

    struct Bar: Encodable {
        var name: String
        var value: Double
        var limit: Double
        var pass: Bool
    }

    var schema = "irqmux.bench/1"
    var rounds: Int
    var cases: [Entry]
    var bars: [Bar]
    var environment: [String: String]
}
