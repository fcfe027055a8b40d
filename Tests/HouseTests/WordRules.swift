import Foundation
import Testing

/// Each room has words that it never says, since saying one means that knowledge of another room leaked in.
enum WordRules {
    /// Never, in code or comment.
    static let forbiddenAnywhere: [String: Set<String>] = [
        "EventRing": [
            "vfio", "kvm", "vector", "vectors", "mask", "masks", "masked", "masking", "unmask", "unmasks", "unmasked",
            "unmasking",
        ],
        "KVM": ["vfio"],
    ]
    /// Never in code; a comment may compare.
    static let forbiddenInCode: [String: Set<String>] = [
        "EventRing": ["exerciser"],
        "InterruptModel": ["exerciser", "ioctl", "mmap", "clock"],
        "KVM": ["exerciser"],
        "IRQMux": ["exerciser"],
    ]
    /// A mask of bits is no masked interrupt: `mask` is fine right after one of these, as in `ringMask` or `poll_mask`.
    static let bitMasks: Set<String> = ["ring", "index", "bit", "event", "events", "poll", "slot", "mmap", "signal"]

    static func findings(path: String, text: String) -> [Finding] {
        guard path.hasPrefix("Sources/"), let room = RepositoryFile.room(ofPath: path) else { return [] }
        let source = SourceText(text)
        return found(forbiddenAnywhere[room], in: source.raw, path: path, room: room)
            + found(forbiddenInCode[room], in: source.code, path: path, room: room)
    }

    private static func found(_ words: Set<String>?, in lines: [String], path: String, room: String) -> [Finding] {
        guard let words else { return [] }
        return lines.enumerated().flatMap { index, line in
            let said = Self.words(line)
            return said.indices.filter { position in
                words.contains(said[position])
                    && !(said[position].hasPrefix("mask") && position > 0 && bitMasks.contains(said[position - 1]))
            }.map { Finding(path: path, line: index + 1, text: "\(room) never says '\(said[$0])'") }
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
            ("EventRing", "let mask = 1"), ("KVM", "/// what VFIO signals"),
            ("InterruptModel", "let c = ContinuousClock()"),
            ("IRQMux", "let device = Exerciser()"),
        ])
    func bad(room: String, text: String) {
        #expect(WordRules.findings(path: "Sources/\(room)/A.swift", text: text).count == 1)
    }

    @Test("a mask of bits, and a comparison in a comment, are let through")
    func good() {
        let ring = "let ringMask = ring.cq.ring_mask // the ring mask\nlet pollMask = 1"
        #expect(WordRules.findings(path: "Sources/EventRing/A.swift", text: ring).isEmpty)
        #expect(WordRules.findings(path: "Sources/IRQMux/A.swift", text: "// as the Exerciser does").isEmpty)
        #expect(WordRules.findings(path: "Sources/irqmux/A.swift", text: "let vector = kvm.mask").isEmpty)
    }
}
