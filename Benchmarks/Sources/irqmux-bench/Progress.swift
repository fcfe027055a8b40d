internal import Foundation

/// What goes to stderr: progress and remarks.
enum Progress {
    static func note(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }

    /// A line that the next one replaces on a terminal; elsewhere nothing, so that logs stay short.
    static func show(_ text: String) {
        guard isatty(STDERR_FILENO) != 0 else { return }
        FileHandle.standardError.write(Data("\r\u{1B}[K\(text)".utf8))
    }

    static func end() { show("") }
}
