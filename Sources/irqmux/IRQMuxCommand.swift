internal import ArgumentParser
internal import Glibc

/// The root of the command line.
@main
struct IRQMuxCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "irqmux",
        abstract: "Route, mask and measure interrupts: VFIO, KVM irqfd and ioeventfd over io_uring.",
        discussion: """
            Data goes to stdout, progress and diagnostics to stderr. Colour only on a terminal and without NO_COLOR.

            Exit codes: 0 ok, 1 a check failed or a threshold was breached, 2 internal or I/O error, 64 usage, \
            69 the machine lacks something, 77 everything was skipped.

            EXAMPLES
              irqmux doctor
              irqmux loopback
              irqmux latency --path kvm --wait spin
              irqmux explain msix:mask:none
            """,
        version: "irqmux 0.1.0",
        subcommands: [
            Doctor.self, Devices.self, Info.self, Loopback.self, Latency.self, Serve.self, Explain.self, Bind.self,
            Unbind.self, Mdev.self, SRIOV.self,
        ])

    /// Parses and runs; every error ends as one line on stderr.
    static func main() {
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch {
            Glibc.exit(report(error))
        }
    }

    /// Says what went wrong, or prints the help that was asked for; returns the status to end with.
    private static func report(_ error: any Error) -> Int32 {
        if let wrong = error as? UsageError {
            Diagnostics.error(wrong.description)
            return ExitStatus.usage.rawValue
        }
        if let failure = CommandFailure(error) {
            Diagnostics.error(failure.description)
            return failure.status.rawValue
        }
        let code = exitCode(for: error)
        if code == .success { return printHelp(fullMessage(for: error)) }
        if error is ExitCode { return code.rawValue }
        guard code == .validationFailure else {
            Diagnostics.error(message(for: error))
            return ExitStatus.failure.rawValue
        }
        Diagnostics.error(usageLine(message(for: error), help: fullMessage(for: error)))
        return ExitStatus.usage.rawValue
    }

    private static func printHelp(_ text: String) -> Int32 {
        do throws(CommandFailure) {
            try OutputSink(path: nil).write(text.last == "\n" ? text : text + "\n")
            return ExitStatus.success.rawValue
        } catch {
            Diagnostics.error(error.description)
            return error.status.rawValue
        }
    }

    /// ArgumentParser's message brought to one line, with the way to the help where the message does not say what is
    /// accepted.
    private static func usageLine(_ message: String, help: String) -> String {
        var line = message.split(separator: "\n").map { $0.drop { $0 == " " } }.joined(separator: " ")
        while line.last == "." { line.removeLast() }
        line = line.replacing(". Please provide one of ", with: "; accepted: ")
        if line.contains("accepted:") { return line }
        if line.hasPrefix("Unexpected argument"), !help.contains("See 'irqmux ") || help.contains("See 'irqmux --help'")
        {
            let names = configuration.subcommands.map { $0._commandName }.joined(separator: ", ")
            return "\(line); accepted: the commands \(names)"
        }
        guard let see = help.firstRange(of: "See '"), let end = help[see.upperBound...].firstIndex(of: "'") else {
            return line
        }
        return "\(line); see '\(help[see.upperBound..<end])'"
    }
}
