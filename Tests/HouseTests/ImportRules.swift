import Foundation
import Testing

/// Rooms import one way: the picture of docs/architecture.md as a table.
enum ImportRules {
    /// Which of our own rooms each room may import. A room that is not listed here may not exist.
    static let allowed: [String: Set<String>] = [
        "CLiburing": [],
        "CKernel": [],
        "EventRing": ["CKernel", "CLiburing"],
        "InterruptModel": ["CKernel"],
        "Exerciser": ["InterruptModel", "EventRing", "CKernel"],
        "HostDevices": ["VFIO", "InterruptModel", "CKernel"],
        "VFIOUser": ["InterruptModel", "EventRing", "CKernel"],
        "ServedExerciser": ["Exerciser", "VFIOUser", "InterruptModel"],
        "KVM": ["EventRing", "CKernel"],
        "VFIO": ["InterruptModel", "CKernel"],
        "MicroGuest": ["KVM", "EventRing", "CKernel"],
        "IRQMux": ["InterruptModel", "EventRing", "KVM", "CKernel"],
        "CIRQMuxHeader": [],
        // VFIOUser in the ordinary build alone.
        "CIRQMux": ["CIRQMuxHeader", "IRQMux", "VFIO", "VFIOUser", "KVM", "InterruptModel", "EventRing", "CKernel"],
        "irqmux": [
            "CLiburing", "CKernel", "EventRing", "InterruptModel", "Exerciser", "VFIOUser", "ServedExerciser", "KVM",
            "MicroGuest", "VFIO", "HostDevices", "IRQMux",
        ],
    ]
    /// The rooms that also build in Embedded Swift.
    static let embeddedClean: Set<String> = ["EventRing", "InterruptModel", "VFIO", "KVM", "IRQMux", "CIRQMux"]
    /// What an Embedded-clean room may import besides our own.
    static let embeddedModules: Set<String> = ["Synchronization", "Glibc"]
    /// What no test target but the house's own may do without: HouseTests reads sources and imports no room.
    static let readsOnly: Set<String> = ["HouseTests"]

    static func imports(_ source: SourceText) -> [(line: Int, module: String)] {
        let pattern = Pattern(
            #"^\s*(?:@\w+(?:\([^)]*\))?\s+)*(?:(?:public|package|internal|fileprivate|private)\s+)?import\s+"#
                + #"(?:(?:struct|class|enum|protocol|typealias|func|let|var)\s+)?(\w+)"#)
        return source.code.enumerated().flatMap { index, line in
            pattern.matches(in: line).map { (index + 1, $0[1]) }
        }
    }

    static func findings(path: String, text: String) -> [Finding] {
        guard let room = RepositoryFile.room(ofPath: path) else { return [] }
        let found = imports(SourceText(text))
        if readsOnly.contains(room) {
            return found.filter { allowed[$0.module] != nil }.map {
                Finding(
                    path: path, line: $0.line, text: "\(room) reads sources and imports no room, not even \($0.module)")
            }
        }
        guard path.hasPrefix("Sources/") else { return [] }
        guard let mayImport = allowed[room] else {
            return [Finding(path: path, line: 1, text: "room \(room) has no row in ImportRules.allowed")]
        }
        return found.compactMap { line, module in
            if allowed[module] != nil {
                guard !mayImport.contains(module) else { return nil }
                return Finding(path: path, line: line, text: "\(room) may not import \(module): rooms import one way")
            }
            guard embeddedClean.contains(room), !embeddedModules.contains(module) else { return nil }
            return Finding(path: path, line: line, text: "\(room) is Embedded-clean and may not import \(module)")
        }
    }
}

@Suite("imports")
struct ImportRuleTests {
    @Test("rooms import one way")
    func repository() {
        expectNone(Repository.swiftFiles.flatMap { ImportRules.findings(path: $0.path, text: $0.text) })
    }

    @Test("the table has no circle")
    func acyclic() {
        var settled: Set<String> = []
        while let next = ImportRules.allowed.first(where: {
            !settled.contains($0.key) && $0.value.isSubset(of: settled)
        }) {
            settled.insert(next.key)
        }
        #expect(settled == Set(ImportRules.allowed.keys))
    }

    @Test(
        "an import against the picture is found",
        arguments: [
            ("Sources/EventRing/A.swift", "internal import KVM"),
            ("Sources/KVM/A.swift", "import InterruptModel"),
            ("Sources/InterruptModel/A.swift", "@preconcurrency import struct EventRing.Histogram"),
            ("Sources/IRQMux/A.swift", "public import Foundation"),
            ("Sources/IRQMux/A.swift", "import Exerciser"),
            ("Sources/Attic/A.swift", "import Synchronization"),
            ("Tests/HouseTests/A.swift", "@testable import EventRing"),
        ])
    func bad(path: String, text: String) {
        #expect(ImportRules.findings(path: path, text: text).count == 1)
    }

    @Test("an import along the picture, in a comment or of the system is let through")
    func good() {
        let text = "// import KVM\npublic import CLiburing\ninternal import Synchronization\nlet important = 1"
        #expect(ImportRules.findings(path: "Sources/EventRing/A.swift", text: text).isEmpty)
        #expect(ImportRules.findings(path: "Sources/Exerciser/A.swift", text: "import Foundation").isEmpty)
        #expect(ImportRules.findings(path: "Tests/KVMTests/A.swift", text: "import KVM").isEmpty)
    }
}
