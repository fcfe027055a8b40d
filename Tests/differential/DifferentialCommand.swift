import Foundation
import InterruptModel
import VFIO

/// `irqmux-differential DEVICE REQUESTS SEED [cdev]`: that many random SET_IRQS requests to the device's kernel driver
/// and to the model. DEVICE is a PCI address or the UUID of a mediated device; `cdev` opens it through iommufd. Exits
/// with 1 on a disagreement, of which the shortest history is printed.
@main
enum DifferentialCommand {
    static func main() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        guard (3...4).contains(arguments.count), let name = name(arguments[0]), let requests = Int(arguments[1]),
            let seed = UInt64(arguments[2]), arguments.count == 3 || arguments[3] == "cdev"
        else {
            say("usage: irqmux-differential ADDRESS|UUID REQUESTS SEED [cdev]")
            exit(64)
        }
        do { try run(name, arguments.count == 4 ? .characterDevice : .group, requests, seed) } catch {
            say("error: \(error)")
            exit(2)
        }
    }

    private static func name(_ text: String) -> VFIODeviceName? {
        if let address = PCIAddress(parsing: text.utf8) { return .pci(address) }
        return UUIDBytes(parsing: text.utf8).map { .mdev($0) }
    }

    private static func run(
        _ name: VFIODeviceName, _ way: VFIODevice.Way, _ requests: Int, _ seed: UInt64
    ) throws {
        let test = try Differential(name, by: way, dialect: runningDialect)
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
        say("\(sent) requests in \(steps) steps, seed \(seed): 0 disagreements")
    }

    private static func report(
        _ test: Differential, _ history: [Step], _ found: Disagreement, _ seed: UInt64, _ sent: Int
    ) {
        say("seed \(seed), request \(sent): \(found.what)")
        guard let shortest = try? test.shortened(history), let again = try? test.replay(shortest) else {
            say("the history of \(history.count) steps does not differ a second time; it was:")
            for step in history { say("  \(step)") }
            return
        }
        say("the shortest history found:")
        for step in shortest { say("  \(step)") }
        say("then: \(again.what)")
    }

    /// The rules of the kernel that runs. `IRQMUX_SPOIL=1` gets one of them wrong (a BOOL byte of 2 counts as false),
    /// to see that the test can fail.
    private static var runningDialect: Dialect {
        let version = ProcessInfo.processInfo.operatingSystemVersion
        var dialect = Dialect.linux(version.majorVersion, version.minorVersion)
        if ProcessInfo.processInfo.environment["IRQMUX_SPOIL"] == "1" { dialect.anyNonZeroIsTrue = false }
        return dialect
    }

    private static func say(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }
}
