internal import CKernel
internal import IRQMux
internal import InterruptModel

/// What a device is and which interrupts it has: `irqmux.info/1`.
struct InfoReport {
    struct Index {
        let index: IRQIndex
        let info: IRQInfo
    }

    let device: DeviceName
    /// What the device calls itself: key and value.
    let identity: [(key: String, value: String)]
    let indexes: [Index]
    /// The regions, where it is a device whose regions matter.
    let regions: [RegionInfo]
    /// Which way the vectors' signals go.
    let paths: [PathRow]

    /// Asks the device.
    ///
    /// - Parameter connected: What the mux says of the vectors that are connected; whole indexes, or none.
    init(_ opened: OpenedDevice, connected: [(vector: Vector, path: VectorPath)]) throws(DeviceError) {
        device = opened.name
        identity = opened.identity
        regions = opened.regions
        indexes = try Self.indexes(of: opened)
        paths = indexes.flatMap { row -> [PathRow] in
            let known = connected.filter { $0.vector.index == row.index }
            if !known.isEmpty { return PathRow.rows(known) }
            return row.info.count == 0 ? [] : [.notConnected(row.index, count: row.info.count)]
        }
    }

    /// What any device says of its indexes. One that it does not know has no vectors.
    private static func indexes(of device: borrowing some InterruptDevice & ~Copyable) throws(DeviceError) -> [Index] {
        var indexes: [Index] = []
        for index in IRQIndex.allCases {
            do throws(DeviceError) {
                indexes.append(Index(index: index, info: try device.interruptInfo(index)))
            } catch {
                guard error.errno == EINVAL else { throw error }
                indexes.append(Index(index: index, info: IRQInfo(count: 0)))
            }
        }
        return indexes
    }

    func text(terminal: Terminal) -> String {
        let named = identity.map { "\($0.key.replacing("_", with: " ")) \($0.value)" }
        var text = "\(device)\n\(named.joined(separator: ", "))\n\n"
        let head = ["index", "vectors", "eventfd", "maskable", "automasked", "noresize"]
        let rows = indexes.map { row in
            [row.index.label, "\(row.info.count)"] + Self.flags(row.info).map { $0.1 ? "yes" : "-" }
        }
        for (number, cells) in ([head] + rows).enumerated() {
            let padded = cells.enumerated().map { column, cell in
                column == 0 ? NumberText.left(cell, 5) : NumberText.right(cell, head[column].count)
            }
            let line = padded.joined(separator: "  ")
            text += (number == 0 ? terminal.paint(line, .dim) : line) + "\n"
        }
        return text + "\n" + pathTable(terminal: terminal) + regionTable(terminal: terminal)
    }

    private func pathTable(terminal: Terminal) -> String {
        let rows = [("index", "vectors", "path", "why")] + paths.map { ($0.index.label, $0.vectors, $0.path, $0.why) }
        var text = ""
        for (number, row) in rows.enumerated() {
            let cells = [NumberText.left(row.0, 5), NumberText.right(row.1, 9), NumberText.left(row.2, 13), row.3]
            let line = cells.joined(separator: "  ")
            text += (number == 0 ? terminal.paint(line, .dim) : line) + "\n"
        }
        return text
    }

    var json: JSON {
        let regions = self.regions.isEmpty ? [] : [("regions", JSON.array(self.regions.map(\.json)))]
        return .object(
            [
                ("schema", .string("irqmux.info/1")),
                ("device", .string(device.description)),
                ("paths", .array(paths.map(\.json))),
                ("identity", .object(identity.map { ($0.key, .string($0.value)) })),
                (
                    "indexes",
                    .array(
                        indexes.map { row in
                            .object(
                                [
                                    ("index", .string(row.index.name)),
                                    ("number", .integer(UInt64(row.index.rawValue))),
                                    ("count", .integer(UInt64(row.info.count))),
                                ] + Self.flags(row.info).map { ($0.0, JSON.boolean($0.1)) })
                        })
                ),
            ] + regions)
    }

    private static func flags(_ info: IRQInfo) -> [(String, Bool)] {
        [
            ("eventfd", info.eventfd), ("maskable", info.maskable), ("automasked", info.automasked),
            ("noresize", info.noResize),
        ]
    }
}

extension IRQIndex {
    /// The index as it is typed and as reports key it: `intx`, `msi`, `msix`, `err`, `req`.
    var name: String {
        switch self {
        case .intx: "intx"
        case .msi: "msi"
        case .msix: "msix"
        case .err: "err"
        case .req: "req"
        }
    }
}
