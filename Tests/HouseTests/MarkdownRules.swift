import Foundation
import Testing

/// README and docs say only what is there: make targets that exist, links that lead somewhere.
enum MarkdownRules {
    static let readmeLimit = 120

    /// The targets of a Makefile.
    static func targets(ofMakefile text: String) -> Set<String> {
        let rule = Pattern(#"^([a-z][a-z-]*):(?!=)"#)
        return Set(text.components(separatedBy: "\n").flatMap { rule.matches(in: $0).map { $0[1] } })
    }

    /// `make NAME` in fenced or quoted code, where NAME is no target.
    static func targetFindings(path: String, text: String, targets: Set<String>) -> [Finding] {
        let call = Pattern(#"\bmake\s+([a-z][a-z-]*)"#)
        let quoted = Pattern("`([^`]+)`")
        var fenced = false
        return text.components(separatedBy: "\n").enumerated().flatMap { index, line -> [Finding] in
            if line.hasPrefix("```") { fenced.toggle() }
            let code = fenced ? [line] : quoted.matches(in: line).map { $0[1] }
            return code.flatMap { call.matches(in: $0) }.filter { !targets.contains($0[1]) }.map {
                Finding(path: path, line: index + 1, text: "there is no target: make \($0[1])")
            }
        }
    }

    /// Links into the repository that lead nowhere. `exists` answers for a path from the root.
    static func linkFindings(path: String, text: String, exists: (String) -> Bool) -> [Finding] {
        let link = Pattern(#"\]\(([^)#\s]+)[^)]*\)"#)
        let folder = (path as NSString).deletingLastPathComponent
        return text.components(separatedBy: "\n").enumerated().flatMap { index, line in
            link.matches(in: line).map { $0[1] }.filter { target in
                !target.contains("://") && !target.hasPrefix("mailto:")
                    && !exists(normalised((folder as NSString).appendingPathComponent(target)))
            }.map { Finding(path: path, line: index + 1, text: "the link leads nowhere: \($0)") }
        }
    }

    static func lengthFindings(path: String, text: String) -> [Finding] {
        let count = LengthRules.lineCount(text)
        guard count > readmeLimit else { return [] }
        return [Finding(path: path, line: count, text: "\(count) lines; the limit is \(readmeLimit)")]
    }

    private static func normalised(_ path: String) -> String {
        path.split(separator: "/").reduce(into: [Substring]()) { parts, part in
            if part == "..", !parts.isEmpty { parts.removeLast() } else if part != "." { parts.append(part) }
        }.joined(separator: "/")
    }
}

@Suite("README and docs")
struct MarkdownRuleTests {
    private static let pages = Repository.files.filter { $0.path.hasSuffix(".md") }

    @Test("README has at most 120 lines")
    func readme() throws {
        let file = try Repository.file("README.md")
        expectNone(MarkdownRules.lengthFindings(path: file.path, text: file.text))
        #expect(MarkdownRules.lengthFindings(path: "a", text: String(repeating: "\n", count: 121)).count == 1)
    }

    @Test("every make target that is named exists")
    func targets() throws {
        let targets = MarkdownRules.targets(ofMakefile: try Repository.file("Makefile").text)
        #expect(targets.isSuperset(of: ["demo", "test", "test-fast", "bench", "lint", "docs", "install"]))
        expectNone(Self.pages.flatMap { MarkdownRules.targetFindings(path: $0.path, text: $0.text, targets: targets) })
    }

    @Test("every link into the repository leads somewhere")
    func links() {
        let exists = { path in FileManager.default.fileExists(atPath: Repository.root.appendingPathComponent(path).path)
        }
        expectNone(Self.pages.flatMap { MarkdownRules.linkFindings(path: $0.path, text: $0.text, exists: exists) })
    }

    @Test("a target that is not there is found, in code only")
    func badTarget() {
        let targets = MarkdownRules.targets(ofMakefile: "PREFIX := a\ntest: build ## all\n\tmake it\ntest-fast:\n")
        #expect(targets == ["test", "test-fast"])
        let text = "make sure\n`make test` and `make test-vm`\n```\nmake test-fast\nmake all\n```\nmake none\n"
        let found = MarkdownRules.targetFindings(path: "a", text: text, targets: targets)
        #expect(found.map(\.line) == [2, 5])
    }

    @Test("a link that leads nowhere is found")
    func badLink() {
        let text = "[a](b.md) [c](../README.md#top) [d](https://swift.org)\n[e](gone.md)"
        let found = MarkdownRules.linkFindings(path: "docs/x.md", text: text) {
            ["docs/b.md", "README.md"].contains($0)
        }
        #expect(found.map(\.line) == [2])
    }
}
