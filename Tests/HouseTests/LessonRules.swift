import Foundation
import Testing

/// docs/peer-lessons.md says of each failure which test would have caught it: the suite is there, and so is the test.
enum LessonRules {
    /// Of each suite, by the name of its type, the names of its tests.
    static func tests(in files: [(path: String, text: String)]) -> [String: [String]] {
        var found: [String: [String]] = [:]
        let suite = Pattern(#"^(?:final |private )?(?:struct|class|enum) (\w+Tests)\b"#)
        let name = Pattern(#"^\s*(?:@Test\(\s*)?"([^"]+)""#)
        for file in files {
            var current: String?
            var isAttribute = false
            for line in file.text.components(separatedBy: "\n") {
                if let match = suite.matches(in: line).first { current = match[1] }
                if line.contains("@Test(") { isAttribute = true }
                guard isAttribute, let current, let match = name.matches(in: line).first else { continue }
                found[current, default: []].append(match[1])
                isAttribute = false
            }
        }
        return found
    }

    /// The last column of each row: "`Suite`, `Suite`: words; `Suite`: words".
    static func findings(_ page: String, _ known: [String: [String]]) -> [Finding] {
        let quoted = Pattern("`([A-Za-z]+)`")
        var findings: [Finding] = []
        for (index, line) in page.components(separatedBy: "\n").enumerated() {
            let cells = line.components(separatedBy: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            guard line.hasPrefix("|"), cells.count == 5, cells[3].contains("`") else { continue }
            for claim in cells[3].components(separatedBy: "; `") {
                let text = claim.hasPrefix("`") ? claim : "`" + claim
                let parts = text.components(separatedBy: "`: ")
                let suites = quoted.matches(in: parts[0] + "`").map { $0[1] }
                let words = parts.dropFirst().joined(separator: "`: ").lowercased()
                for suite in suites {
                    let tests = known[suite] ?? []
                    let isThere = words.split(separator: ";").allSatisfy { part in
                        let said = part.trimmingCharacters(in: .whitespaces)
                        return tests.contains { $0.lowercased().contains(said) }
                    }
                    guard tests.isEmpty || words.isEmpty || !isThere else { continue }
                    findings.append(
                        Finding(path: "docs/peer-lessons.md", line: index + 1, text: "\(suite) has no test '\(words)'"))
                }
            }
        }
        return findings
    }
}

@Suite("lessons of other projects")
struct LessonRuleTests {
    @Test("each has the test that the page names")
    func repository() throws {
        let page = try Repository.file("docs/peer-lessons.md").text
        let known = LessonRules.tests(in: Repository.swiftFiles.map { ($0.path, $0.text) })
        expectNone(LessonRules.findings(page, known))
        #expect(page.components(separatedBy: "\n").count { $0.hasPrefix("| ") } > 40)
    }

    @Test("a suite or a test that is not there is found")
    func bad() {
        let known = LessonRules.tests(in: [
            (
                "a",
                "@Suite(\"s\")\nstruct ATests {\n@Test(\"it holds\")\nfunc a() {}\n"
                    + "@Test(\n \"that too\", arguments: [])"
            )
        ])
        #expect(known == ["ATests": ["it holds", "that too"]])
        func count(_ cell: String) -> Int { LessonRules.findings("| x | y | \(cell) |", known).count }
        #expect(count("`ATests`: it holds") == 0 && count("`ATests`: that too; it holds") == 0)
        #expect(count("`ATests`: it fails") == 1 && count("`BTests`: it holds") == 1)
        #expect(count("`ATests`: it holds; `BTests`: it holds") == 1 && count("`ATests`, `BTests`: that too") == 1)
    }
}
