internal import Glibc
internal import Synchronization
internal import VFIOUser

/// The server's counters as a file in the text form of Prometheus, written anew each second: for the textfile collector
/// of node_exporter, or for cat.
final class MetricsFile: Sendable {
    private let path: String
    private let isDone = Atomic<Bool>(false)

    /// - Throws: Exit code 2 when the file cannot be written now.
    init(_ path: String, _ statistics: ServerStatistics) throws(CommandFailure) {
        self.path = path
        try write(statistics)
    }

    /// Keeps the file fresh on a thread of its own until `end`.
    func keepFresh(_ statistics: @escaping @Sendable () -> ServerStatistics) throws -> WorkerThread {
        try WorkerThread("irqmux-metrics", cpu: nil) { [self] in
            var sinceWritten = 0
            while !isDone.load(ordering: .acquiring) {
                usleep(50_000)
                sinceWritten += 1
                guard sinceWritten == 20 else { continue }
                sinceWritten = 0
                // A disk that is full now may have room in a second.
                try? write(statistics())
            }
        }
    }

    func end() { isDone.store(true, ordering: .releasing) }

    static func text(_ statistics: ServerStatistics) -> String {
        let rows: [(String, String, String, UInt64)] = [
            ("clients_total", "counter", "Clients that were served.", statistics.connections),
            (
                "clients_turned_away_total", "counter", "Clients that came while another was served.",
                statistics.turnedAway
            ),
            (
                "clients_broken_total", "counter", "Connections that ended because the client lost step.",
                statistics.broken
            ),
            ("messages_total", "counter", "Messages taken.", statistics.messages),
            ("messages_refused_total", "counter", "Messages answered with an error.", statistics.refused),
            ("client_connected", "gauge", "Whether a client is there now.", statistics.isConnected ? 1 : 0),
        ]
        return rows.map { name, kind, help, value in
            let full = "irqmux_serve_\(name)"
            return "# HELP \(full) \(help)\n# TYPE \(full) \(kind)\n\(full) \(value)\n"
        }.joined()
    }

    /// Written beside and renamed, so that no reader sees half of it.
    func write(_ statistics: ServerStatistics) throws(CommandFailure) {
        let draft = "\(path).\(getpid())"
        try OutputSink(path: draft).write(Self.text(statistics))
        // SAFETY: both texts are NUL-terminated and live for the call.
        guard unsafe rename(draft, path) == 0 else {
            let name = SystemFiles.errorName(errno)
            // SAFETY: as above.
            unsafe unlink(draft)
            throw CommandFailure(.failure, "cannot write \(path): \(name)")
        }
    }
}
