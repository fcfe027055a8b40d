import Foundation
import InterruptModel

/// `irqmux-differential DEVICE [REQUESTS [SEED]]`: that many random SET_IRQS requests to the device's kernel driver and
/// to the model. DEVICE is a folder of sysfs. Exits with 1 on a disagreement, of which the shortest history is printed.
@main
enum DifferentialCommand {
    static func main() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        guard (1...3).contains(arguments.count), let requests = arguments.count > 1 ? Int(arguments[1]) : 5000,
            let seed = arguments.count > 2 ? UInt64(arguments[2]) : UInt64.random(in: 0...UInt64(UInt32.max))
        else {
            say("usage: irqmux-differential /sys/bus/pci/devices/ADDRESS [REQUESTS [SEED]]")
            exit(64)
        }
        do { try run(arguments[0], requests, seed) } catch {
            say("error: \(error)")
            exit(2)
        }
    }

    private static func run(_ path: String, _ requests: Int, _ seed: UInt64) throws {
        let test = try Differential(sysfs: path, dialect: runningDialect)
        var generator = Generator(seed: seed, pool: test.pool, kind: test.kind, counts: test.counts)
        var sent = 0
        var steps = 0
        while sent < requests {
            var history: [Step] = []
            let found = try test.run { model in
                guard sent < requests, history.count < Differential.episode else { return nil }
                let step = generator.next(model)
                if step.isRequest { sent += 1 }
                history.append(step)
                return step
            }
            steps += history.count
            if let found {
                report(test, history, found, seed, sent)
                exit(1)
            }
        }
        say("\(path): \(sent) requests in \(steps) steps, seed \(seed): 0 disagreements")
    }

    private static func report(
        _ test: Differential, _ history: [Step], _ found: Disagreement, _ seed: UInt64, _ sent: Int
    ) {
        say("\(test.path): seed \(seed), request \(sent): \(found.what)")
        guard let shortest = try? test.shortened(history), let again = try? test.replay(shortest) else {
            say("the history of \(history.count) steps does not differ a second time; it was:")
            for step in history { say("  \(step)") }
            return
        }
        say("the shortest history found:")
        for step in shortest { say("  \(step)") }
        say("then: \(again.what)")
    }

    /// The rules of the kernel that runs.
    private static var runningDialect: Dialect {
        let version = ProcessInfo.processInfo.operatingSystemVersion
        return .linux(version.majorVersion, version.minorVersion)
    }

    private static func say(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }
}
