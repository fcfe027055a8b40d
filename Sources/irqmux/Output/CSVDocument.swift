/// A measurement as comma-separated values: a header and one row a series, quoted as RFC 4180 says,
/// lines ended as the machine's other tools end them.
enum CSVDocument {
    static func text(_ series: [LatencySeries]) -> String {
        let summaries = series.map { ($0.name, LatencySummary($0.snapshot)) }
        guard let first = summaries.first else { return "" }
        var text = "series,count," + first.1.figures.map { $0.name + "_ns" }.joined(separator: ",") + "\n"
        for (name, summary) in summaries {
            let cells = summary.figures.map {
                summary.count == 0 ? "" : NumberText.decimal($0.nanoseconds, places: 3, trimmed: true)
            }
            text += "\(quoted(name)),\(summary.count),\(cells.joined(separator: ","))\n"
        }
        return text
    }

    private static func quoted(_ text: String) -> String {
        let mustQuote = text.contains { $0 == "," || $0 == "\"" || $0.isNewline }
        return mustQuote ? "\"" + text.replacing("\"", with: "\"\"") + "\"" : text
    }
}
