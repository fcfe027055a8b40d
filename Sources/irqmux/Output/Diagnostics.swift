internal import Glibc

/// Lines for stderr: errors, warnings, notes and progress. Never data.
enum Diagnostics {
    static func error(_ text: String) { line("irqmux: " + Terminal.diagnostics.paint("error", .red) + ": ", text) }

    static func warning(_ text: String) {
        line("irqmux: " + Terminal.diagnostics.paint("warning", .yellow) + ": ", text)
    }

    static func note(_ text: String) { line("irqmux: ", text) }

    /// Shows how far a long step is. Redrawn in place, and only on a terminal: a log file wants no hundred copies.
    static func progress(_ text: String) {
        guard Terminal.diagnostics.isTerminal else { return }
        write("\r\u{1B}[K" + singleLine(text))
    }

    /// Takes the progress line away before something else is printed.
    static func endProgress() {
        guard Terminal.diagnostics.isTerminal else { return }
        write("\r\u{1B}[K")
    }

    /// One line stays one line whatever was typed: control characters become spaces.
    static func singleLine(_ text: String) -> String {
        String(text.map { $0.unicodeScalars.contains { $0.value < 32 || $0.value == 127 } ? " " : $0 })
    }

    private static func line(_ prefix: String, _ text: String) {
        endProgress()
        write(prefix + singleLine(text) + "\n")
    }

    /// Where diagnostics cannot be written there is nobody to tell, so failures are let go.
    private static func write(_ text: String) { _ = OutputSink.writeAll(text, to: STDERR_FILENO) }
}
