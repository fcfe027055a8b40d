import Foundation
import Testing

/// Embedded-clean rooms use nothing that Embedded Swift lacks. The Embedded build says the same later and less plainly.
enum EmbeddedRules {
    static let forbidden: [(pattern: String, why: String)] = [
        (#"\bany\s+[A-Z(~]"#, "an existential"),
        (#"\b(throws|rethrows)\b(?!\s*\()"#, "an untyped throws; write throws(SomeError)"),
        (#"\bas[?!]"#, "a cast at run time"),
        (#"\bMirror\b|\bString\((describing|reflecting):"#, "reflection"),
        (#"(?<![.\w])(print|debugPrint|dump)\("#, "printing"),
        (#"\b(async|await|actor)\b"#, "concurrency; a loop belongs to one thread"),
    ]

    static func findings(path: String, text: String) -> [Finding] {
        guard path.hasPrefix("Sources/"), let room = RepositoryFile.room(ofPath: path),
            ImportRules.embeddedClean.contains(room)
        else { return [] }
        let source = SourceText(text)
        let left = linesLeftOut(source)
        let patterns = forbidden.map { (Pattern($0.pattern), $0.why) }
        return source.code.indices.flatMap { index -> [Finding] in
            guard !left.contains(index) else { return [] }
            return patterns.filter { $0.0.matches(source.code[index]) }.map {
                Finding(path: path, line: index + 1, text: "\(room) is Embedded-clean and may not hold \($0.1)")
            }
        }
    }

    /// The lines between `#if !hasFeature(Embedded)` and its `#else` or `#endif`.
    private static func linesLeftOut(_ source: SourceText) -> Set<Int> {
        var out: Set<Int> = []
        var stack: [Bool] = []
        for (index, line) in source.code.enumerated() {
            let word = line.drop(while: \.isWhitespace)
            if word.hasPrefix("#if") {
                stack.append(word.contains("!hasFeature(Embedded)"))
            } else if word.hasPrefix("#else") {
                if !stack.isEmpty { stack[stack.count - 1] = false }
            } else if word.hasPrefix("#endif") {
                _ = stack.popLast()
            } else if stack.contains(true) {
                out.insert(index)
            }
        }
        return out
    }
}

@Suite("Embedded-clean rooms")
struct EmbeddedRuleTests {
    @Test("hold nothing that Embedded Swift lacks")
    func repository() {
        expectNone(Repository.swiftFiles.flatMap { EmbeddedRules.findings(path: $0.path, text: $0.text) })
    }

    @Test(
        "what Embedded Swift lacks is found",
        arguments: [
            "let error: any Error", "func f() throws {}", "func f() throws -> Int { 1 }", "let b = a as? Int",
            "let text = String(describing: a)", "print(1)", "func f() async {}",
        ])
    func bad(text: String) {
        #expect(EmbeddedRules.findings(path: "Sources/EventRing/A.swift", text: text).count == 1)
        #expect(EmbeddedRules.findings(path: "Sources/irqmux/A.swift", text: text).isEmpty)
    }

    @Test("typed throws, and what only the ordinary build sees, are let through")
    func good() {
        let text =
            "func f() throws(E) {}\n#if !hasFeature(Embedded)\nlet a: any Error\n#endif\nlet any = 1 // any Error"
        #expect(EmbeddedRules.findings(path: "Sources/KVM/A.swift", text: text).isEmpty)
        let otherBranch = "#if !hasFeature(Embedded)\n#else\nlet a: any Error\n#endif"
        #expect(EmbeddedRules.findings(path: "Sources/KVM/A.swift", text: otherBranch).count == 1)
    }
}
