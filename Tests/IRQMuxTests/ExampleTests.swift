import Foundation
import Testing

@Suite("Examples", .timeLimit(.minutes(5)))
struct ExampleTests {
    @Test("first-interrupt builds as a package of its own, and accounts for a thousand interrupts")
    func firstInterrupt() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let example = root.appending(path: "Examples/first-interrupt").path()
        // Kept between runs: the first takes as long as the library, later ones a second or two.
        let scratch = root.appending(path: ".build-examples").path()
        let output = try run(["swift", "run", "--package-path", example, "--scratch-path", scratch, "first-interrupt"])
        #expect(output.contains("raised 1000, delivered "))
        #expect(output.contains("unexplained 0\n"))
    }

    private func run(_ command: [String]) throws -> String {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = command
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let text = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        return String(decoding: text, as: UTF8.self)
    }
}
