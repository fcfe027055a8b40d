/// The table of percentiles for people: one row a series, one column a figure.
enum PercentileTable {
    static func text(_ series: [LatencySeries], terminal: Terminal) -> String {
        let summaries = series.map { ($0.name, LatencySummary($0.snapshot)) }
        guard let first = summaries.first else { return "" }
        var rows = [[""] + first.1.figures.map { $0.name.replacing("_", with: ".") } + ["count"]]
        for (name, summary) in summaries {
            let cells = summary.figures.map { summary.count == 0 ? "-" : NumberText.duration($0.nanoseconds) }
            rows.append([name] + cells + ["\(summary.count)"])
        }
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        var text = ""
        for (number, row) in rows.enumerated() {
            let cells = row.enumerated().map { column, cell in
                column == 0 ? NumberText.left(cell, widths[0]) : NumberText.right(cell, widths[column])
            }
            let line = cells.joined(separator: "  ")
            text += (number == 0 ? terminal.paint(line, .dim) : line) + "\n"
        }
        return text
    }
}
