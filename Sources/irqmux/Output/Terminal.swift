internal import Glibc

/// What a stream can show: colour and cursor movement only on a terminal, and colour only where nobody objected.
struct Terminal {
    enum Colour: String {
        case red = "31"
        case green = "32"
        case yellow = "33"
        case dim = "2"
        case bold = "1"
    }

    /// Whether the stream is a terminal.
    let isTerminal: Bool
    /// Whether escape sequences for colour are wanted.
    let hasColour: Bool

    /// A file or a pipe.
    static let plain = Terminal(isTerminal: false, hasColour: false)
    static let output = Terminal(of: STDOUT_FILENO)
    static let diagnostics = Terminal(of: STDERR_FILENO)

    init(isTerminal: Bool, hasColour: Bool) {
        self.isTerminal = isTerminal
        self.hasColour = hasColour
    }

    /// Asks the stream and the environment. NO_COLOR counts when it is set and not empty (no-color.org).
    init(of descriptor: Int32) {
        isTerminal = isatty(descriptor) == 1
        let objection = SystemFiles.environment("NO_COLOR") ?? ""
        hasColour = isTerminal && objection.isEmpty && SystemFiles.environment("TERM") != "dumb"
    }

    func paint(_ text: String, _ colour: Colour) -> String {
        hasColour ? "\u{1B}[\(colour.rawValue)m\(text)\u{1B}[0m" : text
    }
}
