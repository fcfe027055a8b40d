import Testing

@testable import irqmux

@Suite("Streams and colour")
struct StreamTests {
    @Test("a pipe gets no escape sequence")
    func pipe() throws {
        let run = try CommandProcess.run("doctor")
        #expect(!run.output.isEmpty && !run.output.contains("\u{1B}"))
    }

    @Test("a terminal gets colour")
    func terminal() throws {
        let shown = try PseudoTerminal.run(
            ["explain", "msix:mask:none"], environment: ["NO_COLOR": "", "TERM": "xterm"])
        #expect(shown.contains("\u{1B}[31m✗\u{1B}[0m"))
    }

    @Test("NO_COLOR on a terminal is respected")
    func noColour() throws {
        let shown = try PseudoTerminal.run(
            ["explain", "msix:mask:none"], environment: ["NO_COLOR": "1", "TERM": "xterm"])
        #expect(shown.contains("✗ msix:mask:none") && !shown.contains("\u{1B}"))
    }

    @Test("a dumb terminal gets no colour")
    func dumbTerminal() throws {
        let shown = try PseudoTerminal.run(
            ["explain", "msix:mask:none"], environment: ["NO_COLOR": "", "TERM": "dumb"])
        #expect(shown.contains("✗ msix:mask:none") && !shown.contains("\u{1B}"))
    }
}
