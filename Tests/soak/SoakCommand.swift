import Foundation
import KVM
import MicroGuest

/// `irqmux-soak [SIGNALS [SEED]]`: progress on stderr; the last line on stdout is the ledger as one JSON object.
/// Exits with 1 when a signal was lost, duplicated or is unexplained, and where CI=true when there is a /dev/kvm and no
/// guest; 2 when something refused, 64 for a wrong call.
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
            soak.guest = try guest(vectors: soak.vectors)
            let result = try soak.run()
            soak.guest?.stop()
            report(result)
            print(result.json)
            exit(result.isClean ? 0 : 1)
        } catch {
            say("error: \(error)")
            exit(2)
        }
    }

    /// A guest, or, loudly, none.
    private static func guest(vectors: Int) throws -> SoakGuest? {
        do {
            return try SoakGuest(vectors: vectors)
        } catch let error as MicroGuestError {
            guard case .kvm(let refusal) = error, refusal.operation == .open else { throw error }
            say("SKIPPED: kvm: the routes guest and detour, because there is no guest: \(refusal)")
            if isRequired(ci: ProcessInfo.processInfo.environment["CI"], canOpen: isAccessible("/dev/kvm")) {
                say("error: with CI=true they must not be left out where /dev/kvm can be opened")
                exit(1)
            }
            return nil
        }
    }

    private static func isAccessible(_ path: String) -> Bool {
        // SAFETY: the path is a Swift string, passed NUL-terminated for the duration of the call.
        unsafe access(path, R_OK | W_OK) == 0
    }

    /// Whether a run without a guest is a failure; as a skip of the stage kvm in Scripts/stages.sh.
    static func isRequired(ci: String?, canOpen: Bool) -> Bool { ci == "true" && canOpen }

    private static func report(_ result: SoakResult) {
        say("\(result.changes) changes in \(result.rounds) rounds, \(result.moves) of them moves to another loop")
        say("\(result.intoGuest) signals into the guest, whose handlers ran \(result.guestRuns) times")
        if let exit = result.guestExit { say("error: the guest did not live to the end: \(exit)") }
        if result.failures > 0 { say("\(result.failures) vectors or targets failed") }
    }

    private static func say(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }
}
