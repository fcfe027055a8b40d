import Foundation
import Testing

/// Files, functions and lines that a reader can hold in mind.
enum LengthRules {
    static let fileAim = 400
    static let fileLimit = 450
    static let functionLimit = 70
    static let columnLimit = 120
    /// One file by contract: a VMM gets one header.
    static let publicHeader = "Sources/CIRQMuxHeader/include/irqmux.h"

    static func lineFindings(path: String, text: String) -> [Finding] {
        text.components(separatedBy: "\n").enumerated().compactMap { index, line in
            guard line.count > columnLimit else { return nil }
            return Finding(path: path, line: index + 1, text: "\(line.count) columns; the limit is \(columnLimit)")
        }
    }

    static func lineCount(_ text: String) -> Int {
        text.components(separatedBy: "\n").count - (text.hasSuffix("\n") ? 1 : 0)
    }

    static func fileFindings(path: String, text: String) -> [Finding] {
        let count = lineCount(text)
        guard count > fileLimit, path != publicHeader else { return [] }
        return [Finding(path: path, line: count, text: "\(count) lines; aim at \(fileAim), the limit is \(fileLimit)")]
    }

    static func functionFindings(path: String, text: String) -> [Finding] {
        functions(SourceText(text)).compactMap { function in
            let length = function.last - function.first + 1
            guard length > functionLimit else { return nil }
            return Finding(
                path: path, line: function.first + 1,
                text: "a function of \(length) lines; the limit is \(functionLimit)")
        }
    }

    /// The first and last line of every function, initialiser, deinitialiser and subscript that has a body.
    static func functions(_ source: SourceText) -> [(first: Int, last: Int)] {
        let opening = Pattern(#"(?<![.\w])(func\s+\S|init[?]?\s*[(<]|deinit\b|subscript\s*[(<])"#)
        return source.code.indices.compactMap { index in
            guard opening.matches(source.code[index]), let body = bodyLine(source, from: index) else { return nil }
            // The body ends on the first line that comes back to the depth at which the declaration stands.
            let outside = source.depth[index]
            let end = (body..<source.code.count).first { line in
                let after = line + 1 < source.code.count ? source.depth[line + 1] : 0
                return after <= outside && (line > body || source.code[line].contains("}"))
            }
            return end.map { (index, $0) }
        }
    }

    /// The line on which the body of the declaration at `index` opens; `nil` for a requirement without one.
    private static func bodyLine(_ source: SourceText, from index: Int) -> Int? {
        var parentheses = 0
        for line in index..<min(index + 40, source.code.count) {
            for character in source.code[line] {
                if character == "(" || character == "[" { parentheses += 1 }
                if character == ")" || character == "]" { parentheses -= 1 }
                if character == "{", parentheses <= 0 { return line }
                if character == "}", parentheses <= 0 { return nil }
            }
            guard parentheses <= 0, line + 1 < source.code.count else { continue }
            let next = source.code[line + 1].drop(while: \.isWhitespace)
            let here = source.code[line].last { !$0.isWhitespace }
            let goesOn = ["{", "->", "throws", "where", "async", ")"].contains { next.hasPrefix($0) }
            if !goesOn, here != ",", here != ">" || !source.code[line].hasSuffix("->") { return nil }
        }
        return nil
    }
}

@Suite("lengths")
struct LengthRuleTests {
    private static let lineKinds: Set<String> = ["swift", "c", "h", "sh", "awk"]

    @Test("lines have at most 120 columns")
    func lines() {
        let files = Repository.files.filter { Self.lineKinds.contains(($0.path as NSString).pathExtension) }
        #expect(files.count > 30)
        expectNone(files.flatMap { LengthRules.lineFindings(path: $0.path, text: $0.text) })
    }

    @Test("files have at most 450 lines, and those over the aim of 400 are named")
    func files() {
        let files = Repository.files.filter { Self.lineKinds.contains(($0.path as NSString).pathExtension) }
        expectNone(files.flatMap { LengthRules.fileFindings(path: $0.path, text: $0.text) })
        for file in files
        where LengthRules.lineCount(file.text) > LengthRules.fileAim && file.path != LengthRules.publicHeader {
            Issue.record("\(file.path) has \(LengthRules.lineCount(file.text)) lines; aim at 400", severity: .warning)
        }
    }

    @Test("functions have at most 70 lines")
    func functions() {
        expectNone(Repository.swiftFiles.flatMap { LengthRules.functionFindings(path: $0.path, text: $0.text) })
    }

    @Test("a long line, a long file and a long function are found")
    func bad() {
        #expect(LengthRules.lineFindings(path: "a", text: String(repeating: "é", count: 121)).count == 1)
        #expect(LengthRules.lineFindings(path: "a", text: String(repeating: "é", count: 120)).isEmpty)
        #expect(LengthRules.fileFindings(path: "a", text: String(repeating: "\n", count: 451)).count == 1)
        #expect(LengthRules.fileFindings(path: "a", text: String(repeating: "\n", count: 450)).isEmpty)
        for head in ["func f()", "init(a: Int)", "deinit", "func g<T>(\n    a: T\n) throws(E) -> Int"] {
            let shorter = "struct S {\n\(head) {\n" + String(repeating: "call { }\n", count: 64) + "}\n}"
            let longer = "struct S {\n\(head) {\n" + String(repeating: "call { }\n", count: 69) + "}\n}"
            #expect(LengthRules.functionFindings(path: "a", text: shorter).isEmpty, "\(head)")
            #expect(LengthRules.functionFindings(path: "a", text: longer).count == 1, "\(head)")
        }
    }

    @Test("a requirement has no body, and a call of an initialiser is none")
    func requirements() {
        let text =
            "protocol P {\n func f() throws(E) -> Int\n func g()\n init(a: Int)\n}\nlet a = B.init(1)\nfunc h() { }\n"
        let found = LengthRules.functions(SourceText(text))
        #expect(found.map(\.first) == [6])
        #expect(found.map(\.last) == [6])
    }
}
