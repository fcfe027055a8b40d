import Foundation
import Testing

/// Every `unsafe` says why it is safe.
///
/// A line that holds `unsafe` carries a `// SAFETY:` comment, or has one above it in the same block, with at most
/// six lines of other code between. So one comment may serve the neighbouring lines that need the same reason, and
/// never another function's.
enum SafetyRules {
    static let reach = 6

    static func findings(path: String, text: String) -> [Finding] {
        let source = SourceText(text)
        // An attribute, @unsafe, marks a declaration; what uses the declaration says `unsafe` and is checked.
        let keyword = Pattern(#"(?<![@\w.])unsafe\b(?!:)"#)
        let marked = source.code.map { keyword.matches($0) }
        return source.code.indices.compactMap { index in
            guard marked[index], !isJustified(index, in: source, marked) else { return nil }
            return Finding(path: path, line: index + 1, text: "unsafe without a SAFETY comment on it or close above")
        }
    }

    private static func isJustified(_ index: Int, in source: SourceText, _ marked: [Bool]) -> Bool {
        if hasSafety(index, in: source) { return true }
        var between = 0
        for line in stride(from: index - 1, through: 0, by: -1) {
            if hasSafety(line, in: source) {
                // A line that comes out below the comment's own depth has left the comment's block. The unsafe line may
                // end the block after its unsafe, but not before.
                let left = source.code[index].drop(while: \.isWhitespace).hasPrefix("}") ? 1 : 0
                return source.depth[index] - left >= source.depth[line]
                    && (line + 1..<index).allSatisfy { source.leastDepth[$0] >= source.depth[line] }
            }
            if source.isCode(line), !marked[line] { between += 1 }
            if between > reach { return false }
        }
        return false
    }

    private static func hasSafety(_ line: Int, in source: SourceText) -> Bool {
        guard let comment = source.raw[line].range(of: "//") else { return false }
        return source.raw[line][comment.upperBound...].contains("SAFETY: ")
    }
}

@Suite("unsafe")
struct SafetyRuleTests {
    private static let safety = "// SAFETY: the pointer lives as long as the owner."

    @Test("every unsafe says why it is safe")
    func repository() {
        expectNone(Repository.swiftFiles.flatMap { SafetyRules.findings(path: $0.path, text: $0.text) })
    }

    @Test("an unsafe without a reason is found")
    func bad() {
        func count(_ text: String) -> Int { SafetyRules.findings(path: "a", text: text).count }
        #expect(count("let a = unsafe b") == 1)
        #expect(count("nonisolated(unsafe) var a = 1") == 1)
        #expect(count("let text = \"SAFETY: no\"\nlet a = unsafe b") == 1)
        #expect(count("func f() {\n  \(Self.safety)\n  unsafe b\n}\nfunc g() {\n  unsafe c\n}") == 1)
        #expect(count("if a {\n  \(Self.safety)\n  b()\n} else { unsafe c }") == 1)
        #expect(count("\(Self.safety)\n" + String(repeating: "call()\n", count: 7) + "unsafe b") == 1)
    }

    @Test("a reason on the line, above it, or shared by neighbours in the block is let through")
    func good() {
        func count(_ text: String) -> Int { SafetyRules.findings(path: "a", text: text).count }
        #expect(count("let a = unsafe b \(Self.safety)") == 0)
        #expect(count("\(Self.safety)\n// And a second line of the comment.\nlet a = unsafe b") == 0)
        #expect(count("\(Self.safety)\nlet a = unsafe b\nlet c = 1\nlet d = unsafe e") == 0)
        #expect(count("\(Self.safety)\n" + String(repeating: "call()\n", count: 6) + "unsafe b") == 0)
        #expect(count("init() {\n  \(Self.safety)\n  unsafe a = b }") == 0)
        #expect(count("\(Self.safety)\nfor a in b {\n  unsafe c\n}") == 0)
        #expect(count("\(Self.safety)\n" + String(repeating: "unsafe b\n", count: 20)) == 0)
        #expect(count("@unsafe struct S {}\nlet unsafely = 1 // unsafe\nlet a = \"unsafe\"") == 0)
    }
}
