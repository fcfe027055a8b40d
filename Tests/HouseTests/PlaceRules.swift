import Foundation
import Testing

/// Everything has its place: the top level is fixed, and a source file belongs to a room.
enum PlaceRules {
    static let topLevel: Set<String> = [
        "Package.swift", "Sources", "Tests", "Benchmarks", "Examples", "docs", "Makefile", "README.md", "LICENSE",
        "CHANGELOG.md", "Scripts", ".ci", ".swift-format", ".gitignore",
    ]
    static let required = topLevel.subtracting(["Benchmarks", "Examples"])

    static func topLevelFindings(_ names: [String]) -> [Finding] {
        names.filter { !topLevel.contains($0) }.map {
            Finding(path: $0, line: 1, text: "the top level has no place for it")
        }
            + required.subtracting(names).sorted().map { Finding(path: $0, line: 1, text: "it is missing") }
    }

    static func ownerFindings(_ paths: [String]) -> [Finding] {
        paths.filter { path in
            let parts = path.split(separator: "/")
            return parts.count == 2 && ["Sources", "Tests", "Examples"].contains(parts[0])
        }.map { Finding(path: $0, line: 1, text: "a file belongs to a folder of its own room") }
    }
}

/// Tests are named after behaviour, by a sentence.
enum TestNameRules {
    static func findings(path: String, text: String) -> [Finding] {
        let source = SourceText(text)
        let attribute = Pattern(#"^\s*@Test\b\s*(\(?)\s*("?)"#)
        return source.code.indices.compactMap { index in
            guard let match = attribute.matches(in: source.code[index]).first else { return nil }
            // The name may stand on the next line, when arguments follow it.
            let next = index + 1 < source.code.count ? source.code[index + 1].drop(while: \.isWhitespace) : ""
            let named = match[1] == "(" && (match[2] == "\"" || next.hasPrefix("\""))
            return named
                ? nil : Finding(path: path, line: index + 1, text: "a test has a name that says what must hold")
        }
    }
}

@Suite("places and names")
struct PlaceRuleTests {
    @Test("the top level is what docs/style.md says")
    func topLevel() { expectNone(PlaceRules.topLevelFindings(Repository.topLevel)) }

    @Test("every source file belongs to a room")
    func owners() { expectNone(PlaceRules.ownerFindings(Repository.files.map(\.path))) }

    @Test("every test is named by a sentence")
    func names() {
        let tests = Repository.swiftFiles.filter { $0.path.hasPrefix("Tests/") }
        expectNone(tests.flatMap { TestNameRules.findings(path: $0.path, text: $0.text) })
    }

    @Test("a stranger at the top, a loose file and a nameless test are found")
    func bad() {
        let all = Array(PlaceRules.topLevel)
        #expect(PlaceRules.topLevelFindings(all).isEmpty)
        #expect(PlaceRules.topLevelFindings(all + ["notes.txt"]).map(\.path) == ["notes.txt"])
        #expect(PlaceRules.topLevelFindings(all.filter { $0 != "README.md" }).map(\.path) == ["README.md"])
        #expect(PlaceRules.ownerFindings(["Sources/A.swift", "Sources/B/A.swift", "docs/a.md"]).count == 1)
        #expect(TestNameRules.findings(path: "a", text: "@Test func a() {}\n@Test(.disabled()) func b() {}").count == 2)
        #expect(TestNameRules.findings(path: "a", text: "@Test(\"c\") func c() {}\n@Test(\n  \"d\",\n").isEmpty)
    }
}
