import Foundation
import TestSupport
import Testing

/// The examples as a reader builds them: packages of their own, run as processes.
@Suite("Examples", .serialized, .timeLimit(.minutes(10)))
struct ExampleTests {
    @Test("first-interrupt builds as a package of its own, and accounts for a thousand interrupts")
    func firstInterrupt() throws {
        let run = try Example("first-interrupt").run()
        #expect(run.status == 0)
        #expect(run.output.contains("raised 1000, delivered "))
        #expect(run.output.contains("unexplained 0\n"))
    }

    @Test(
        "micro-vmm's guest finds its PCI device, masks and unmasks, and takes every MSI-X and INTx interrupt",
        .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"))
    func microVMM() throws {
        let run = try Example("micro-vmm").run("300")
        #expect(run.status == 0 && run.diagnostics.isEmpty, "\(run.diagnostics)")
        let lines = run.output.split(separator: "\n")
        try #require(lines.count == 7, "\(run.output)")
        // Beside the rounds, one message under the function mask and one under the entry's.
        #expect(lines[0] == "MSI-X: 302 of 302 taken by the guest, doorbell rung 302 times")
        #expect(lines[1] == "masked: 2 of 2 seen in the pending bits, delivered by unmasking")
        #expect(lines[2] == "INTx: 300 of 300 taken by the guest, doorbell rung 300 times")
        #expect(lines[3].hasPrefix("INTx by in-kernel resample: ") && lines[3].contains(", because the full irqchip"))
        #expect(lines[4] == "ledger: raised 602, delivered 602, coalesced 0, pending 0, unexplained 0")
        // Each message costs one exit, each assertion two with its acknowledgement. Setting up takes a few dozen; how
        // often the guest looks at the pending bits is not fixed.
        let exits = try #require(Int(lines[5].split(separator: " ")[1]))
        #expect(exits > 902 && exits < 5000 && lines[5].hasSuffix(" for registers, none for doorbells"))
        #expect(try isLatencyLine(lines[6]), "\(lines[6])")
    }

    private func isLatencyLine(_ line: Substring) throws -> Bool {
        let figures = #"p50 \d+ µs, p99 \d+ µs, max [1-9]\d* µs"#
        let pattern = try Regex("latency of a round, from raise to raise, MSI-X: \(figures); INTx: \(figures)")
        return line.wholeMatch(of: pattern) != nil
    }

    @Test(
        "rpc-pair serves every call of a real guest, which finds every answer right",
        .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"))
    func rpcPair() throws {
        let run = try Example("rpc-pair").run("501")
        #expect(run.status == 0 && run.diagnostics.isEmpty, "\(run.diagnostics)")
        let lines = run.output.split(separator: "\n")
        try #require(lines.count == 2, "\(run.output)")
        #expect(lines[0] == "502 calls, 502 served, 502 answers right")
        let figures = #"p50 \d+ µs, p90 \d+ µs, p99 \d+ µs, max [1-9]\d* µs"#
        let rate = try Regex("[1-9]\\d* calls/s, round trip \(figures); doorbell to completion p50 [1-9]\\d* ns")
        #expect(lines[1].wholeMatch(of: rate) != nil, "\(lines[1])")
    }

    @Test("mediated-device serves a serial port, and a driver gets back every byte by its interrupts")
    func mediatedDevice() throws {
        let run = try Example("mediated-device").run("333")
        #expect(run.status == 0 && run.diagnostics.isEmpty, "\(run.diagnostics)")
        let lines = run.output.split(separator: "\n")
        try #require(lines.count == 3, "\(run.output)")
        #expect(lines[0] == "333 bytes sent, 333 received back, all right")
        let taken = lines[1].split(separator: " ")
        try #require(
            taken.count == 5 && lines[1].hasPrefix("interrupts taken: ") && lines[1].hasSuffix(" unexplained 0"))
        // Sixteen bytes go with an interrupt, and come with another.
        #expect((Int(taken[2].dropLast()) ?? 0) >= 2 * 333 / 16)
        #expect(lines[2].hasSuffix(", refused 0"))
    }

    @Test(
        "an argument that is no number ends in status 64 and a line that says what is accepted; --help is no error",
        arguments: ["micro-vmm", "rpc-pair", "mediated-device"])
    func usage(name: String) throws {
        let example = try Example(name)
        for arguments in [["many"], ["0"], ["10", "10"]] {
            let run = try example.run(arguments)
            #expect(run.status == 64 && run.output.isEmpty)
            #expect(run.diagnostics.hasPrefix("\(name): error: ") && run.diagnostics.contains("--help"))
        }
        let help = try example.run(["--help"])
        #expect(help.status == 0 && help.output.hasPrefix("usage: \(name)") && help.diagnostics.isEmpty)
    }
}

/// An example, built.
private struct Example {
    private let binary: URL

    /// Builds it. Scratch is kept between runs and shared: the first example takes as long as the library, the others
    /// seconds. SwiftPM would reuse the first package's plan for the others in the same scratch, unless told not to.
    init(_ name: String) throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let scratch = root.appending(path: ".build-examples")
        let build = try Self.run(
            URL(filePath: "/usr/bin/env"),
            [
                "swift", "build", "--package-path", root.appending(path: "Examples/\(name)").path(),
                "--scratch-path", scratch.path(), "--disable-build-manifest-caching",
            ])
        try #require(build.status == 0, "\(build.output)\(build.diagnostics)")
        binary = scratch.appending(path: "debug/\(name)")
    }

    func run(_ arguments: String...) throws -> ExampleRun { try run(arguments) }

    func run(_ arguments: [String]) throws -> ExampleRun { try Self.run(binary, arguments) }

    private static func run(_ executable: URL, _ arguments: [String]) throws -> ExampleRun {
        let process = Process()
        process.executableURL = executable
        process.arguments = arguments
        let output = Pipe()
        let diagnostics = Pipe()
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = diagnostics
        try process.run()
        // Diagnostics fit in the pipe, so reading one after the other cannot lock up.
        let written = output.fileHandleForReading.readDataToEndOfFile()
        let told = diagnostics.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return ExampleRun(
            status: process.terminationStatus, output: String(decoding: written, as: UTF8.self),
            diagnostics: String(decoding: told, as: UTF8.self))
    }
}

/// What a process left behind.
private struct ExampleRun {
    var status: Int32
    var output: String
    var diagnostics: String
}
