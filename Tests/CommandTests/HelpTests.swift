import ArgumentParser
import Foundation
import Testing

@testable import irqmux

@Suite("Help, version, completions, manual")
struct HelpTests {
    static let commands = IRQMuxCommand.configuration.subcommands.map { $0._commandName }

    @Test("help goes to stdout with status 0 and has an example section", arguments: commands + [""])
    func help(command: String) throws {
        let run = try CommandProcess.run(command.isEmpty ? ["--help"] : [command, "--help"])
        #expect(run.status == 0)
        #expect(run.diagnostics.isEmpty)
        #expect(run.output.contains("\nEXAMPLES\n  irqmux "))
        #expect(run.output.contains("USAGE: irqmux"))
    }

    @Test(
        "help and manual of a command that opens devices name every kind of device",
        arguments: ["info", "loopback", "latency"])
    func kinds(command: String) throws {
        let page = Self.docs.appendingPathComponent("man/irqmux.\(command).1")
        let texts = [
            try CommandProcess.run(command, "--help").output, try String(contentsOf: page, encoding: .utf8),
        ]
        for text in texts {
            let words = text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
            for kind in ["software", "0000:01:00.0", ",vf_token=UUID", "mdev:UUID", "vfio-user:/"] {
                #expect(words.contains(kind), "\(command) does not say \(kind)")
            }
        }
    }

    @Test("every example in the help parses", arguments: commands + [""])
    func examples(command: String) throws {
        let type = IRQMuxCommand.configuration.subcommands.first { $0._commandName == command }
        let discussion = (type ?? IRQMuxCommand.self).configuration.discussion
        let lines = discussion.split(separator: "\n").filter { $0.hasPrefix("  irqmux ") }
        #expect(!lines.isEmpty)
        for line in lines {
            let beforePipe = line.prefix { $0 != "|" }
            let words = beforePipe.split(separator: " ").dropFirst().map { $0.filter { $0 != "'" } }
            #expect(throws: Never.self, "\(line)") { try IRQMuxCommand.parseAsRoot(words) }
        }
    }

    @Test("without arguments the help is shown")
    func bare() throws {
        let run = try CommandProcess.run()
        #expect(run.status == 0)
        #expect(run.output.contains("SUBCOMMANDS:"))
    }

    @Test("the version is the root's")
    func version() throws {
        let run = try CommandProcess.run("--version")
        #expect(run.status == 0)
        #expect(run.output == IRQMuxCommand.configuration.version + "\n")
    }

    @Test(
        "the completions in docs are those of this binary",
        arguments: [("bash", "irqmux.bash"), ("zsh", "_irqmux"), ("fish", "irqmux.fish")])
    func completions(shell: String, file: String) throws {
        let run = try CommandProcess.run("--generate-completion-script", shell)
        #expect(run.status == 0)
        #expect(Self.commands.allSatisfy { run.output.contains($0) })
        let kept = try String(contentsOf: Self.docs.appendingPathComponent("completions/\(file)"), encoding: .utf8)
        #expect(kept == run.output, "docs/completions/\(file) is out of date: make docs")
    }

    @Test("the manual has a page for every command, with its options", arguments: commands)
    func manual(command: String) throws {
        let page = Self.docs.appendingPathComponent("man/irqmux.\(command).1")
        let text = try String(contentsOf: page, encoding: .utf8)
        let help = try CommandProcess.run(command, "--help").output
        for word in help.split(whereSeparator: { $0 == " " || $0 == "\n" || $0 == "[" }) where word.hasPrefix("--") {
            let option = word.prefix { $0.isLetter || $0 == "-" }
            // mdoc writes --vectors as `Fl -vectors`.
            #expect(text.contains(option.dropFirst()), "\(page.lastPathComponent) lacks \(option): make docs")
        }
    }

    /// The documentation of the tree these tests were built from.
    private static let docs = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("docs")
}
