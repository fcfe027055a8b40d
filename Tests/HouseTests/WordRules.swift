import Foundation
import Testing

/// Each room has words that it never says, since saying one means that knowledge of another room leaked in.
enum WordRules {
    /// Never, in code or comment.
    static let forbiddenAnywhere: [String: Set<String>] = [
        "EventRing": [
            "vfio", "kvm", "vector", "vectors", "masking", "automask", "automasked", "unmask", "unmasks", "unmasked",
            "unmasking",
        ],
        "KVM": ["vfio"],
    ]
    /// Never in code; a comment may compare.
    static let forbiddenInCode: [String: Set<String>] = [
        "EventRing": ["exerciser"],
        "InterruptModel": ["exerciser", "ioctl", "mmap", "clock"],
        "KVM": ["exerciser"],
        "VFIO": ["exerciser", "route", "routes", "routing", "mux", "kvm"],
        "IRQMux": ["exerciser"],
    ]
    /// What can be masked in the other rooms. EventRing may mask bits (`position & mask`, `ringMask`), so there `mask`
    /// is out of place only next to one of these, or as the name of a function.
    static let maskable: Set<String> = [
        "source", "sources", "interrupt", "interrupts", "signal", "signals", "eventfd", "notification", "notifications",
    ]
    static let neverMasks: Set<String> = ["EventRing"]

    static func findings(path: String, text: String) -> [Finding] {
        guard path.hasPrefix("Sources/"), let room = RepositoryFile.room(ofPath: path) else { return [] }
        let source = SourceText(text)
        return found(forbiddenAnywhere[room], in: source.raw, path: path, room: room)
            + found(forbiddenInCode[room], in: source.code, path: path, room: room)
            + (neverMasks.contains(room) ? maskings(in: source.raw, path: path, room: room) : [])
    }

    private static func found(_ words: Set<String>?, in lines: [String], path: String, room: String) -> [Finding] {
        guard let words else { return [] }
        return lines.enumerated().flatMap { index, line in
            Self.words(line).filter { words.contains($0) }.map {
                Finding(path: path, line: index + 1, text: "\(room) never says '\($0)'")
            }
        }
    }

    /// Lines where something other than bits is masked.
    private static func maskings(in lines: [String], path: String, room: String) -> [Finding] {
        let function = Pattern(#"\bfunc\s+(is)?[mM]ask|\.mask\("#)
        return lines.enumerated().compactMap { index, line in
            let said = Self.words(line)
            let masked = said.indices.contains { position in
                guard ["mask", "masks", "masked"].contains(said[position]) else { return false }
                // "a masked source", "mask the source", "the source is masked", but not "the index is masked".
                let verb = position > 1 && ["is", "are", "was", "being", "stays"].contains(said[position - 1])
                let near = said[max(0, position - (verb ? 2 : 1))...min(said.count - 1, position + 2)]
                return !maskable.isDisjoint(with: near)
            }
            guard masked || function.matches(line) else { return nil }
            return Finding(path: path, line: index + 1, text: "\(room) masks bits and nothing else")
        }
    }

    /// The words of a line in lower case, with `camelCase`, `snake_case` and `IRQName` taken apart.
    static func words(_ line: String) -> [String] {
        Pattern("[A-Z]+(?![a-z])|[A-Z]?[a-z]+").matches(in: line).map { $0[0].lowercased() }
    }
}

@Suite("words of the rooms")
struct WordRuleTests {
    @Test("no room says what it must never hold")
    func repository() {
        expectNone(Repository.swiftFiles.flatMap { WordRules.findings(path: $0.path, text: $0.text) })
    }

    @Test("words are taken apart at case, underscore and digit")
    func words() {
        #expect(
            WordRules.words("irqMaskedVector VFIO_PCI KVMRoute vfio2") == [
                "irq", "masked", "vector", "vfio", "pci", "kvm", "route", "vfio",
            ])
    }

    @Test(
        "a word out of place is found",
        arguments: [
            ("EventRing", "// one eventfd a vector"), ("EventRing", "func unmask() {}"),
            ("EventRing", "let VFIOName = 1"),
            ("EventRing", "func mask(a: Int)"), ("EventRing", "// while the source is masked"),
            ("EventRing", "// a masked source"), ("EventRing", "let maskedSources = 1"),
            ("KVM", "/// what VFIO signals"),
            ("InterruptModel", "let c = ContinuousClock()"),
            ("IRQMux", "let device = Exerciser()"),
        ])
    func bad(room: String, text: String) {
        #expect(WordRules.findings(path: "Sources/\(room)/A.swift", text: text).count == 1)
    }

    @Test("a mask of bits, and a comparison in a comment, are let through")
    func good() {
        let ring = "let ringMask = ring.cq.ring_mask // the index is masked\nlet mask = 1\nlet at = position & mask"
        #expect(WordRules.findings(path: "Sources/EventRing/A.swift", text: ring).isEmpty)
        #expect(WordRules.findings(path: "Sources/IRQMux/A.swift", text: "// as the Exerciser does").isEmpty)
        #expect(WordRules.findings(path: "Sources/irqmux/A.swift", text: "let vector = kvm.mask").isEmpty)
    }
}
