import Foundation
import Testing

/// What others can call is documented: public declarations, cases of public enums, requirements of public protocols.
///
/// Cases that stand together may share a comment, so that a long enum can be read by its groups. What implements a C
/// declaration is documented there; see HeaderRules.
enum DocumentationRules {
    private static let keywords =
        "(?:func|var|let|init|struct|class|enum|protocol|actor|typealias|subscript|case|associatedtype|macro)"

    static func findings(path: String, text: String) -> [Finding] {
        let source = SourceText(text)
        let modifiers = #"^\s*(?:@\w+(?:\([^)]*\))?\s+|\w+(?:\(set\))?\s+)*?"#
        let declared = Pattern(modifiers + #"public\s+(?:\w+(?:\(\w+\))?\s+)*?"# + keywords + #"\b"#)
        let container = Pattern(#"\bpublic\s+(?:indirect\s+)?(enum|protocol)\s+\w"#)
        // Of an enum only the cases are as public as the enum itself; of a protocol everything is.
        let member = [
            "enum": Pattern(#"^\s*(?:indirect\s+)?case\b"#),
            "protocol": Pattern(#"^\s*(?:(?:static|mutating|consuming|borrowing)\s+)*"# + keywords + #"\b"#),
        ]
        var containers: [(kind: String, depth: Int)] = []
        var found: [Finding] = []
        for (index, line) in source.code.enumerated() {
            while let last = containers.last, source.depth[index] <= last.depth { containers.removeLast() }
            let isMember = containers.last.map { last in
                source.depth[index] == last.depth + 1 && member[last.kind]?.matches(line) == true
            }
            if declared.matches(line) || isMember == true, !isDocumented(index, in: source, asCase: isMember == true) {
                let shown = source.raw[index].trimmingCharacters(in: .whitespaces)
                found.append(Finding(path: path, line: index + 1, text: "no doc comment: \(shown)"))
            }
            if let kind = container.matches(in: line).first?[1], !line.contains("}") {
                containers.append((kind, source.depth[index]))
            }
        }
        return found
    }

    /// A `///` right above, with attributes at most in between; for a case, any comment above the cases it stands with.
    private static func isDocumented(_ index: Int, in source: SourceText, asCase: Bool) -> Bool {
        for line in stride(from: index - 1, through: 0, by: -1) {
            let text = source.raw[line].drop(while: \.isWhitespace)
            if text.hasPrefix("///") || asCase && text.hasPrefix("//") { return true }
            if text.hasPrefix("@c @implementation") { return true }
            if asCase, text.hasPrefix("case ") { continue }
            guard text.hasPrefix("@") || text.hasPrefix("#if") else { return false }
        }
        return false
    }
}

@Suite("documentation")
struct DocumentationRuleTests {
    @Test("public declarations are documented")
    func repository() {
        expectNone(Repository.swiftFiles.flatMap { DocumentationRules.findings(path: $0.path, text: $0.text) })
    }

    @Test(
        "a public declaration without a doc comment is found",
        arguments: [
            "public func f() {}", "@inlinable public static func f() {}", "  public private(set) var a = 1",
            "// A plain comment.\npublic struct S {}", "@frozen\npublic enum E {}", "/// Doc.\n\npublic let a = 1",
            "/// Doc.\npublic enum E {\n  case a\n}", "/// Doc.\npublic protocol P {\n  func f()\n}",
            "@c(name)\npublic func f() {}", "@implementation\npublic func f() {}",
        ])
    func bad(text: String) {
        #expect(DocumentationRules.findings(path: "a", text: text).count == 1)
    }

    @Test("what is documented, imported or not public is let through")
    func good() {
        let text = """
            public import Synchronization
            /// Doc.
            @frozen public enum E: Sendable {
                /// Doc.
                case a
                // A group.
                case b, c
                case d
                func f(x: Int) -> Int {
                    switch x {
                    case 1: 2
                    default: 3
                    }
                }
            }
            public extension E {}
            @c @implementation
            public func irqmux_f() {}
            func g() {}
            """
        #expect(DocumentationRules.findings(path: "a", text: text).isEmpty)
    }
}
