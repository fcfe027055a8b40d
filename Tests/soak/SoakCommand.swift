import Foundation

/// `irqmux-soak [SIGNALS [SEED]]`: progress on stderr; the last line on stdout is the ledger as one JSON object.
/// Exits with 1 when a signal was lost, duplicated or is unexplained, 2 when something refused, 64 for a wrong call.
@main
enum SoakCommand {
    static func main() {
        let arguments = CommandLine.arguments.dropFirst().map { UInt64($0) }
        guard arguments.count <= 2, let signals = arguments.first ?? 10_000_000, signals > 0,
            let seed = arguments.dropFirst().first ?? UInt64.random(in: 0...UInt64(UInt32.max))
        else {
            say("usage: irqmux-soak [SIGNALS [SEED]], both decimal numbers, SIGNALS above 0")
            exit(64)
        }
        say("seed \(seed)")
        var soak = Soak(signals: signals, seed: seed)
        soak.progress = { say("\($0) of \(signals) signals") }
        do {
            let result = try soak.run()
            say("\(result.changes) changes, \(result.moves) of them moves to another loop")
            if result.failures > 0 { say("\(result.failures) vectors or targets failed") }
            print(result.json)
            exit(result.isClean ? 0 : 1)
        } catch {
            say("error: \(error)")
            exit(2)
        }
    }

    private static func say(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }
}
