import Foundation
import Testing

/// irqmux.h is written by hand, and says of every call what it fails with, on which thread it belongs and what it may
/// block on. That Swift agrees with each declaration, the compiler sees to (`@c @implementation`); that each has an
/// implementation, this does.
enum HeaderRules {
    static let path = LengthRules.publicHeader
    static let prefix = "irqmux_"
    static let said = ["Thread: ", "Blocks: ", "Errors: "]

    /// A function that the header declares, with the comment above it.
    struct Declaration {
        var name: String
        var line: Int
        var comment: String
    }

    static func declarations(_ text: String) -> [Declaration] {
        let function = Pattern(#"^(?:const\s+)?\w+\s+\*?(\w+)\s*\("#)
        var comment = ""
        var found: [Declaration] = []
        for (index, line) in text.components(separatedBy: "\n").enumerated() {
            if line.hasPrefix("//") {
                comment += line.dropFirst(2) + "\n"
                continue
            }
            if !line.hasPrefix("typedef"), let name = function.matches(in: line).first?[1] {
                found.append(Declaration(name: name, line: index + 1, comment: comment))
            }
            comment = ""
        }
        return found
    }

    static func findings(_ text: String) -> [Finding] {
        declarations(text).flatMap { declared -> [Finding] in
            let silent = said.filter { !declared.comment.contains($0) }.map {
                Finding(path: path, line: declared.line, text: "\(declared.name) does not say '\($0)'")
            }
            guard !declared.name.hasPrefix(prefix) else { return silent }
            return silent
                + [Finding(path: path, line: declared.line, text: "\(declared.name) lacks the prefix \(prefix)")]
        }
    }

    /// What the header declares and nothing implements, or the other way round.
    static func strangers(_ text: String, _ sources: [String]) -> Set<String> {
        let implemented = Pattern(#"^public func (irqmux_\w+)\("#)
        let there = sources.flatMap { source in
            source.components(separatedBy: "\n").flatMap { implemented.matches(in: $0).map { $0[1] } }
        }
        return Set(declarations(text).map(\.name)).symmetricDifference(there)
    }
}

@Suite("the C header")
struct HeaderRuleTests {
    @Test("every call says its errors, its thread and what it blocks on, and has the prefix")
    func repository() throws {
        let header = try Repository.file(HeaderRules.path)
        #expect(HeaderRules.declarations(header.text).count > 50)
        expectNone(HeaderRules.findings(header.text))
    }

    @Test("every call is implemented, and nothing else")
    func implemented() throws {
        let header = try Repository.file(HeaderRules.path)
        let sources = Repository.files.filter { $0.path.hasPrefix("Sources/CIRQMux/") }.map(\.text)
        #expect(HeaderRules.strangers(header.text, sources).isEmpty)
    }

    @Test("a call that says nothing, lacks the prefix or has no implementation is found")
    func bad() {
        #expect(HeaderRules.findings("// Does it. Thread: any. Blocks: no.\nint32_t irqmux_do(int32_t a);").count == 1)
        #expect(HeaderRules.findings("// Thread: a. Blocks: b. Errors: c.\n\nint32_t irqmux_do(void);").count == 3)
        #expect(HeaderRules.findings("// Thread: a. Blocks: b. Errors: c.\nconst char *do_it(void);").count == 1)
        #expect(HeaderRules.findings("// Thread: a. Blocks: b. Errors: c.\nint32_t irqmux_do(void);").isEmpty)
        let text = "int32_t irqmux_a(void);\nint32_t irqmux_b(void);"
        #expect(HeaderRules.strangers(text, ["public func irqmux_a() -> Int32 { 0 }"]) == ["irqmux_b"])
    }
}
