import CKernel
import Foundation
import Glibc
import Testing

/// The built binary, run as a person runs it.
struct CommandProcess {
    var status: Int32
    var output: String
    var diagnostics: String

    /// The binary lies beside the test bundle, wherever that was built.
    static let binary: URL = {
        let bundle = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        return bundle.deletingLastPathComponent().appendingPathComponent("irqmux")
    }()

    /// Runs `irqmux` with `arguments` and waits for its end.
    static func run(_ arguments: String..., environment: [String: String] = [:]) throws -> CommandProcess {
        try run(arguments, environment: environment)
    }

    static func run(_ arguments: [String], environment: [String: String] = [:]) throws -> CommandProcess {
        try run(binary, arguments, environment)
    }

    /// Runs a line of shell in which `$IRQMUX` is the binary.
    static func shell(_ line: String, environment: [String: String] = [:]) throws -> CommandProcess {
        var environment = environment
        environment["IRQMUX"] = binary.path
        return try run(URL(fileURLWithPath: "/bin/sh"), ["-c", line], environment)
    }

    private static func run(
        _ executable: URL, _ arguments: [String], _ environment: [String: String]
    ) throws -> CommandProcess {
        let process = Process()
        process.executableURL = executable
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let output = Pipe()
        let diagnostics = Pipe()
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = diagnostics
        try process.run()
        // Diagnostics are a few lines and fit in the pipe, so reading one after the other cannot lock up.
        let written = output.fileHandleForReading.readDataToEndOfFile()
        let told = diagnostics.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return CommandProcess(
            status: process.terminationStatus,
            output: String(decoding: written, as: UTF8.self),
            diagnostics: String(decoding: told, as: UTF8.self))
    }

    /// The output as a JSON object.
    func object() throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any])
    }

    /// The lines of stderr.
    var diagnosticLines: [Substring] { diagnostics.split(separator: "\n", omittingEmptySubsequences: true) }
}

/// A terminal that a process can be given, to see what it does on one.
struct PseudoTerminal {
    /// Runs the binary with stdout on a terminal; returns what the terminal showed.
    static func run(_ arguments: [String], environment: [String: String]) throws -> String {
        // SAFETY: the path is a literal, and open keeps no pointer to it.
        let leader = unsafe open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
        try #require(leader >= 0, "no pseudo-terminal")
        defer { close(leader) }
        // tty_ioctl(4): TIOCSPTLCK unlocks the other side, TIOCGPTN tells its number; both take the address of an int.
        var zero: Int32 = 0
        var number: Int32 = 0
        // SAFETY: the kernel reads one int during the call.
        try #require(unsafe irqmux_ioctl(leader, 0x4004_5431, &zero) == 0, "the pseudo-terminal stays locked")
        // SAFETY: the kernel writes one int during the call.
        try #require(unsafe irqmux_ioctl(leader, 0x8004_5430, &number) == 0, "the pseudo-terminal has no number")
        let path = "/dev/pts/\(number)"
        let follower = try #require(FileHandle(forUpdatingAtPath: path))
        let process = Process()
        process.executableURL = CommandProcess.binary
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = follower
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        // What a command shows in these tests is below the terminal's buffer of 4 KiB, so it is all there by now.
        var bytes = [UInt8](repeating: 0, count: 65536)
        // SAFETY: the buffer holds the count that is passed with it.
        let count = unsafe read(leader, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }
}
