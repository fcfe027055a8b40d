internal import InterruptModel

extension InfoReport {
    /// The regions as a table; empty where there are none to tell of.
    func regionTable(terminal: Terminal) -> String {
        guard !regions.isEmpty else { return "" }
        let rows = [["region", "size", "access", "mapped"]] + regions.map(\.cells)
        var text = "\n"
        for (number, cells) in rows.enumerated() {
            let line = [
                NumberText.left(cells[0], 13), NumberText.right(cells[1], 10), NumberText.left(cells[2], 6), cells[3],
            ].joined(separator: "  ")
            text += (number == 0 ? terminal.paint(line, .dim) : line) + "\n"
        }
        return text
    }
}

extension RegionInfo {
    /// The name that people know it by.
    private var name: String {
        switch index {
        case 0...5: "BAR \(index)"
        case Self.expansionROM: "expansion ROM"
        case Self.configuration: "configuration"
        case Self.vga: "VGA"
        default: "region \(index)"
        }
    }

    fileprivate var cells: [String] {
        let access = "\(isReadable ? "r" : "-")\(isWritable ? "w" : "-")\(isMappable ? "m" : "-")"
        let areas = mappableAreas.map { area in
            "\(String(area.offset, radix: 16))+\(String(area.size, radix: 16))"
        }
        return [name, "\(size)", access, areas.isEmpty ? "-" : areas.joined(separator: " ")]
    }

    var json: JSON {
        .object([
            ("index", .integer(UInt64(index))), ("name", .string(name)), ("size_bytes", .integer(size)),
            ("readable", .boolean(isReadable)), ("writable", .boolean(isWritable)),
            ("msix_mappable", .boolean(isMSIXMappable)), ("malformed", .boolean(isMalformed)),
            (
                "mappable",
                .array(
                    mappableAreas.map { area in
                        .object([("offset", .integer(area.offset)), ("size_bytes", .integer(area.size))])
                    })
            ),
        ])
    }
}
