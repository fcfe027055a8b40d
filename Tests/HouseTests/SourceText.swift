import Foundation
import Testing

/// Swift source cut into lines twice: as written, and with comments and the contents of strings blanked out.
///
/// The rules read code through `code`, so that words in comments and strings never look like code. Regular expression
/// literals between slashes are not understood: house code writes them as strings.
struct SourceText {
    let raw: [String]
    let code: [String]
    /// The depth of braces at the beginning of each line.
    let depth: [Int]
    /// The least depth reached within each line.
    let leastDepth: [Int]

    init(_ text: String) {
        raw = text.components(separatedBy: "\n")
        var blanker = Blanker(text)
        code = blanker.blanked().components(separatedBy: "\n")
        var depths: [Int] = []
        var least: [Int] = []
        var now = 0
        for line in code {
            depths.append(now)
            var lowest = now
            for character in line.utf8 {
                if character == UInt8(ascii: "{") { now += 1 }
                if character == UInt8(ascii: "}") { now -= 1 }
                lowest = min(lowest, now)
            }
            least.append(lowest)
        }
        depth = depths
        leastDepth = least
    }

    /// Whether line `index` holds code, not only a comment or nothing.
    func isCode(_ index: Int) -> Bool { !code[index].allSatisfy(\.isWhitespace) }
}

/// Replaces comments and string contents with spaces; line breaks stay.
private struct Blanker {
    private let source: [UInt8]
    private var output: [UInt8] = []
    private var position = 0

    init(_ text: String) { source = Array(text.utf8) }

    mutating func blanked() -> String {
        code(until: nil)
        return String(decoding: output, as: UTF8.self)
    }

    private func starts(_ text: StaticString, at offset: Int = 0) -> Bool {
        let wanted = Array("\(text)".utf8)
        guard position + offset + wanted.count <= source.count else { return false }
        return source[(position + offset)..<(position + offset + wanted.count)].elementsEqual(wanted)
    }

    private mutating func blank(_ count: Int = 1) {
        for _ in 0..<count where position < source.count {
            let byte = source[position]
            // Continuation bytes vanish, so that a blanked line keeps its number of characters.
            if byte == 10 { output.append(10) } else if byte & 0xC0 != 0x80 { output.append(32) }
            position += 1
        }
    }

    private mutating func keep(_ count: Int = 1) {
        output.append(contentsOf: source[position..<min(position + count, source.count)])
        position += count
    }

    /// Code up to the end, or up to the `)` that ends an interpolation.
    private mutating func code(until closing: UInt8?) {
        var open = 0
        while position < source.count {
            if starts("//") {
                while position < source.count, source[position] != 10 { blank() }
            } else if starts("/*") {
                blockComment()
            } else if let hashes = stringOpening() {
                string(hashes: hashes)
            } else {
                if source[position] == UInt8(ascii: "(") { open += 1 }
                if source[position] == UInt8(ascii: ")") {
                    if open == 0, closing != nil { return }
                    open -= 1
                }
                keep()
            }
        }
    }

    private mutating func blockComment() {
        var nested = 0
        repeat {
            if starts("/*") {
                nested += 1
                blank(2)
            } else if starts("*/") {
                nested -= 1
                blank(2)
            } else {
                blank()
            }
        } while nested > 0 && position < source.count
    }

    /// How many `#` precede the quote, when a string begins here.
    private func stringOpening() -> Int? {
        var hashes = 0
        while position + hashes < source.count, source[position + hashes] == UInt8(ascii: "#") { hashes += 1 }
        return starts("\"", at: hashes) ? hashes : nil
    }

    private mutating func string(hashes: Int) {
        keep(hashes)
        let multiline = starts("\"\"\"")
        let quotes = multiline ? 3 : 1
        keep(quotes)
        while position < source.count {
            if isEscape(hashes: hashes) {
                blank(1 + hashes)
                if starts("(") {
                    blank()
                    code(until: UInt8(ascii: ")"))
                }
                blank()
            } else if isEnd(quotes: quotes, hashes: hashes) {
                return keep(quotes + hashes)
            } else if source[position] == 10, !multiline {
                return
            } else {
                blank()
            }
        }
    }

    private func isEscape(hashes: Int) -> Bool {
        guard starts("\\") else { return false }
        return (0..<hashes).allSatisfy { starts("#", at: 1 + $0) }
    }

    private func isEnd(quotes: Int, hashes: Int) -> Bool {
        (0..<quotes).allSatisfy { starts("\"", at: $0) } && (0..<hashes).allSatisfy { starts("#", at: quotes + $0) }
    }
}

/// A regular expression over one line, with its groups.
struct Pattern {
    private let expression: NSRegularExpression

    init(_ pattern: String, ignoringCase: Bool = false) {
        do {
            expression = try NSRegularExpression(pattern: pattern, options: ignoringCase ? .caseInsensitive : [])
        } catch {
            preconditionFailure("not a regular expression: \(pattern): \(error)")
        }
    }

    /// The matches in `line`, each as the whole match followed by its groups ("" where a group took no part).
    func matches(in line: String) -> [[String]] {
        let whole = NSRange(line.startIndex..., in: line)
        return expression.matches(in: line, range: whole).map { match in
            (0..<match.numberOfRanges).map { group in
                Range(match.range(at: group), in: line).map { String(line[$0]) } ?? ""
            }
        }
    }

    func matches(_ line: String) -> Bool { !matches(in: line).isEmpty }
}

@Suite("source text")
struct SourceTextTests {
    @Test("comments and strings are blanked, code and line breaks stay")
    func blanking() {
        let text =
            "let a = \"any { }\" // any\n/* { /* } */ any */ let b = #\"\"x\"\"#\nlet c = \"\"\"\n  } any\n  \"\"\" + d"
        let source = SourceText(text)
        #expect(source.code.count == source.raw.count)
        #expect(!source.code.joined().contains("any"))
        #expect(source.code[1].hasSuffix("let b = #\"   \"#"))
        #expect(source.code[4].hasSuffix("\"\"\" + d"))
        #expect(source.depth.allSatisfy { $0 == 0 })
    }

    @Test("an interpolation may hold strings and brackets of its own")
    func interpolation() {
        let source = SourceText("print(\"a \\(f(\"}\", [1]))\", { 1 })\nnext")
        #expect(source.depth == [0, 0])
        #expect(source.code[1] == "next")
        #expect(source.code[0].hasSuffix(", { 1 })"))
    }

    @Test("depth follows the braces")
    func depth() {
        let source = SourceText("a {\n  b { c }\n} d {\n}")
        #expect(source.depth == [0, 1, 1, 1])
        #expect(source.leastDepth == [0, 1, 0, 0])
    }
}
