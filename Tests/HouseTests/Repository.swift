import Foundation
import Testing

/// One file of the repository, by its path from the root.
struct RepositoryFile: Sendable {
    let path: String
    let text: String

    /// The folder below `Sources` or `Tests` that owns the file: `EventRing` for `Sources/EventRing/Loop.swift`.
    var room: String? { Self.room(ofPath: path) }
    var isSwift: Bool { path.hasSuffix(".swift") }

    static func room(ofPath path: String) -> String? {
        let parts = path.split(separator: "/")
        guard parts.count > 2, parts[0] == "Sources" || parts[0] == "Tests" else { return nil }
        return String(parts[1])
    }
}

/// Something a rule found: where, and what is wrong.
struct Finding: CustomStringConvertible, Equatable {
    var path: String
    var line: Int
    var text: String

    var description: String { "\(path):\(line): \(text)" }
}

/// The repository that these tests were built from.
enum Repository {
    /// The root, three folders above this file.
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    /// Every text file that is, or would be, committed.
    static let files: [RepositoryFile] = paths(below: "").compactMap { path in
        guard let text = try? String(contentsOf: root.appendingPathComponent(path), encoding: .utf8) else { return nil }
        return RepositoryFile(path: path, text: text)
    }

    static var swiftFiles: [RepositoryFile] { files.filter(\.isSwift) }

    static func file(_ path: String) throws -> RepositoryFile {
        try #require(files.first { $0.path == path }, "\(path) is missing")
    }

    /// Names in the root, without what .gitignore leaves out.
    static var topLevel: [String] { entries(of: "") }

    /// What is never committed, as .gitignore says.
    static func isIgnored(_ name: String) -> Bool {
        [".git", ".swiftpm", "Package.resolved", "core"].contains(name) || name.hasPrefix(".build")
            || ["o", "a", "profraw", "trace"].contains((name as NSString).pathExtension)
    }

    private static func entries(of folder: String) -> [String] {
        let names = try? FileManager.default.contentsOfDirectory(atPath: root.appendingPathComponent(folder).path)
        return (names ?? []).filter { !isIgnored($0) && !(folder == "Benchmarks" && $0 == "results") }.sorted()
    }

    private static func paths(below folder: String) -> [String] {
        entries(of: folder).flatMap { name -> [String] in
            let path = folder.isEmpty ? name : "\(folder)/\(name)"
            let values = try? root.appendingPathComponent(path).resourceValues(forKeys: [.isDirectoryKey])
            return values?.isDirectory == true ? paths(below: path) : [path]
        }
    }
}

/// Fails the test once for each finding, with the place.
func expectNone(_ findings: [Finding], sourceLocation: SourceLocation = #_sourceLocation) {
    for finding in findings { Issue.record("\(finding)", sourceLocation: sourceLocation) }
}

@Suite("repository")
struct RepositoryTests {
    @Test("the root is found and holds the package")
    func root() throws {
        #expect(try Repository.file("Package.swift").text.hasPrefix("// swift-tools-version"))
        #expect(Repository.swiftFiles.count > 20)
        #expect(!Repository.files.contains { $0.path.contains(".build") })
    }

    @Test("a file's room is the folder below Sources or Tests")
    func rooms() {
        #expect(RepositoryFile.room(ofPath: "Sources/EventRing/Deep/Loop.swift") == "EventRing")
        #expect(RepositoryFile.room(ofPath: "Tests/KVMTests/A.swift") == "KVMTests")
        #expect(RepositoryFile.room(ofPath: "Sources/Loose.swift") == nil)
        #expect(RepositoryFile.room(ofPath: "docs/a/b.md") == nil)
    }
}
