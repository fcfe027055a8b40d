internal import IRQMux
internal import InterruptModel

/// Vectors in a row that go the same way, and why.
struct PathRow {
    let index: IRQIndex
    let first: UInt32
    var count: UInt32
    let path: String
    let why: String
    /// Whether the ledger knows every signal that goes this way.
    let isCounted: Bool

    /// All vectors of an index that nobody is connected to.
    static func notConnected(_ index: IRQIndex, count: UInt32) -> PathRow {
        PathRow(
            index: index, first: 0, count: count, path: "\(VectorPath.Kind.unrouted.name)",
            why: "it is not connected: the device has no eventfd to signal", isCounted: true)
    }

    /// Neighbours of one index that go the same way, for the same reason, as one row.
    static func rows(_ paths: [(vector: Vector, path: VectorPath)]) -> [PathRow] {
        var rows: [PathRow] = []
        for (vector, path) in paths {
            let row = PathRow(
                index: vector.index, first: vector.number, count: 1, path: "\(path.kind.name)", why: why(path),
                isCounted: path.isCounted)
            if let last = rows.last, last.continues(in: row) {
                rows[rows.count - 1].count += 1
            } else {
                rows.append(row)
            }
        }
        return rows
    }

    private static func why(_ path: VectorPath) -> String {
        guard let choice = path.service else { return "\(path.why)" }
        return "\(path.why) (\(choice.way.name), because \(choice.reason.text))"
    }

    private func continues(in next: PathRow) -> Bool {
        index == next.index && first + count == next.first && path == next.path && why == next.why
            && isCounted == next.isCounted
    }

    /// The vectors as people write them: `3`, or `0-63`.
    var vectors: String { count == 1 ? "\(first)" : "\(first)-\(first + count - 1)" }

    var json: JSON {
        .object([
            ("index", .string(index.name)), ("first", .integer(UInt64(first))), ("count", .integer(UInt64(count))),
            ("path", .string(path)), ("why", .string(why)), ("counted", .boolean(isCounted)),
        ])
    }
}
