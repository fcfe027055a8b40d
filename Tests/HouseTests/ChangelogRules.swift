import Foundation
import Testing

/// CHANGELOG.md keeps the shape of "Keep a Changelog" 1.1.0.
enum ChangelogRules {
    static let sections = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]

    static func findings(path: String, text: String) -> [Finding] {
        var checker = Checker(path: path)
        checker.check(text.components(separatedBy: "\n"))
        return checker.findings
    }

    private struct Checker {
        let path: String
        var findings: [Finding] = []
        private var versions: [String] = []
        private var seen: Set<String> = []
        private var section: (name: String, line: Int, entries: Int)?
        private var entry: (text: String, line: Int)?

        init(path: String) { self.path = path }

        mutating func check(_ lines: [String]) {
            if lines.first != "# Changelog" { find(0, "the first line is '# Changelog'") }
            for (index, line) in lines.enumerated().dropFirst() {
                if line.hasPrefix("## ") {
                    version(line, at: index)
                } else if line.hasPrefix("### ") {
                    sectionBegins(line, at: index)
                } else if line.hasPrefix("- ") {
                    entryBegins(line, at: index)
                } else if line.hasPrefix("  "), entry != nil {
                    entry?.text += " " + line.trimmingCharacters(in: .whitespaces)
                } else if !line.isEmpty, !versions.isEmpty {
                    find(index, "only sections and entries stand below a version")
                }
            }
            endSection()
            if versions.first != "Unreleased" { find(0, "the first version is [Unreleased]") }
        }

        private mutating func version(_ line: String, at index: Int) {
            endSection()
            seen = []
            if line == "## [Unreleased]" {
                if !versions.isEmpty { find(index, "[Unreleased] comes first, and once") }
                versions.append("Unreleased")
                return
            }
            let shape = Pattern(#"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$"#)
            guard let number = shape.matches(in: line).first?[1] else {
                return find(index, "a version is '## [1.2.3] - 2030-12-31'")
            }
            if let last = versions.last, last != "Unreleased",
                number.compare(last, options: .numeric) != .orderedAscending
            {
                find(index, "versions go from the newest to the oldest")
            }
            versions.append(number)
        }

        private mutating func sectionBegins(_ line: String, at index: Int) {
            endSection()
            let name = String(line.dropFirst(4))
            if !sections.contains(name) { find(index, "a section is one of \(sections.joined(separator: ", "))") }
            if versions.isEmpty { find(index, "a section stands below a version") }
            if !seen.insert(name).inserted { find(index, "section \(name) stands twice in one version") }
            section = (name, index, 0)
        }

        private mutating func entryBegins(_ line: String, at index: Int) {
            endEntry()
            if section == nil { find(index, "an entry stands in a section") }
            section?.entries += 1
            entry = (String(line.dropFirst(2)), index)
        }

        private mutating func endEntry() {
            guard let (text, index) = entry else { return }
            let first = text.first ?? " "
            if !first.isUppercase && first != "`" && !first.isNumber { find(index, "an entry begins as a sentence") }
            if !text.hasSuffix(".") { find(index, "an entry ends as a sentence, with a full stop") }
            entry = nil
        }

        private mutating func endSection() {
            endEntry()
            if let section, section.entries == 0 { find(section.line, "section \(section.name) is empty") }
            section = nil
        }

        private mutating func find(_ index: Int, _ text: String) {
            findings.append(Finding(path: path, line: index + 1, text: text))
        }
    }
}

@Suite("changelog")
struct ChangelogRuleTests {
    @Test("keeps its shape")
    func repository() throws {
        let file = try Repository.file("CHANGELOG.md")
        expectNone(ChangelogRules.findings(path: file.path, text: file.text))
    }

    private static let head = "# Changelog\n\nIntroduction.\n\n## [Unreleased]\n\n"

    @Test(
        "another shape is found",
        arguments: [
            "# History\n\n## [Unreleased]\n", "# Changelog\n\n## [1.0.0] - 2030-01-01\n",
            head + "### New\n\n- A thing.\n", head + "### Added\n", head + "- A thing.\n", head + "Prose.\n",
            head + "### Added\n\n- a thing.\n", head + "### Added\n\n- A thing\n  on two lines\n",
            head + "### Added\n\n- A.\n\n### Added\n\n- B.\n", head + "## 1.0.0\n",
            head + "## [1.0.0] - 2030-01-01\n\n## [1.0.1] - 2030-01-02\n", head + "## [Unreleased]\n",
        ])
    func bad(text: String) {
        #expect(ChangelogRules.findings(path: "a", text: text).count == 1)
    }

    @Test("the shape itself is let through")
    func good() {
        let text =
            Self.head + "### Added\n\n- A thing\n  on two lines.\n- `b` too.\n\n## [0.10.0] - 2030-01-02\n\n"
            + "### Fixed\n\n- C.\n\n## [0.9.0] - 2030-01-01\n"
        #expect(ChangelogRules.findings(path: "a", text: text).isEmpty)
    }
}
