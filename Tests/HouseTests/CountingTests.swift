import Foundation
import Testing

/// Runs a script of the repository and returns what it printed.
private func run(_ tool: String, _ arguments: [String], input: String) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [tool] + arguments
    process.currentDirectoryURL = Repository.root
    let (stdin, stdout) = (Pipe(), Pipe())
    process.standardInput = stdin
    process.standardOutput = stdout
    try process.run()
    try stdin.fileHandleForWriting.write(contentsOf: Data(input.utf8))
    try stdin.fileHandleForWriting.close()
    let output = stdout.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return String(decoding: output, as: UTF8.self)
}

/// A stream of events as Swift Testing writes it, version 0, cut down to what the counting reads.
private struct Stream {
    var lines: [String] = []

    mutating func test(_ id: String, name: String? = nil, cases: [String] = []) {
        let arguments = cases.map { #"{"displayName":"\#($0)","id":"case \#($0)"}"# }.joined(separator: ",")
        let before = cases.isEmpty ? "" : #""_testCases":[\#(arguments)],"#
        let shown = name.map { #""displayName":"\#($0)","# } ?? ""
        lines.append(
            #"{"kind":"test","payload":{\#(before)\#(shown)"id":"T.S\/\#(id)\/T.swift:1:1","isParameterized":"#
                + #"\#(!cases.isEmpty),"kind":"function","name":"\#(id)"},"version":0}"#)
    }

    mutating func event(_ kind: String, _ id: String, symbol: String, comment: String? = nil, argument: String? = nil) {
        let comments = comment.map { #""_comments":["\#($0)"],"# } ?? ""
        let testCase = argument.map { #""_testCase":{"displayName":"\#($0)","id":"case \#($0)"},"# } ?? ""
        lines.append(
            #"{"kind":"event","payload":{\#(comments)\#(testCase)"instant":{},"kind":"\#(kind)","messages":"#
                + #"[{"symbol":"\#(symbol)","text":"\"kind\":\"testEnded\""}],"testID":"T.S\/\#(id)\/T.swift:1:1"},"#
                + #""version":0}"#)
    }

    mutating func runs(_ id: String, symbol: String) {
        event("testStarted", id, symbol: "default")
        event("testEnded", id, symbol: symbol)
    }

    mutating func end() {
        lines.append(
            #"{"kind":"event","payload":{"kind":"runEnded","messages":[{"symbol":"pass","text":"x"}]},"version":0}"#)
    }

    func tally() throws -> [String] {
        try run("awk", ["-f", "Scripts/tally.awk"], input: lines.joined(separator: "\n") + "\n")
            .split(separator: "\n").map { $0.split(separator: "\t").prefix(2).joined(separator: " ") }
    }
}

@Suite("counting of tests")
struct CountingTests {
    @Test("passed, failed, skipped, cancelled, known and warned tests count once each")
    func outcomes() throws {
        var stream = Stream()
        for id in ["a()", "b()", "c()", "d()", "e()", "f()"] { stream.test(id, name: "test \(id)") }
        stream.runs("a()", symbol: "pass")
        stream.runs("b()", symbol: "fail")
        stream.event("testSkipped", "c()", symbol: "skip", comment: "kvm: it is not there")
        stream.event("testStarted", "d()", symbol: "default")
        stream.event("testCancelled", "d()", symbol: "skip", comment: "vfio: gone")
        stream.event("testEnded", "d()", symbol: "skip")
        stream.runs("e()", symbol: "passWithKnownIssue")
        stream.runs("f()", symbol: "passWithWarnings")
        stream.end()
        #expect(
            try stream.tally() == [
                "pass T.S: test a()", "fail T.S: test b()", "skip T.S: test c()", "skip T.S: test d()",
                "pass T.S: test e()", "pass T.S: test f()",
            ])
    }

    @Test("a parameterised test counts once for each set of arguments")
    func parameters() throws {
        var stream = Stream()
        stream.test("p(x:)", cases: ["1", "2"])
        stream.event("testStarted", "p(x:)", symbol: "default")
        for argument in ["1", "2"] {
            stream.event("testCaseStarted", "p(x:)", symbol: "default", argument: argument)
            if argument == "2" { stream.event("issueRecorded", "p(x:)", symbol: "fail", argument: argument) }
            stream.event("testCaseEnded", "p(x:)", symbol: "default", argument: argument)
        }
        stream.event("testEnded", "p(x:)", symbol: "fail")
        stream.end()
        #expect(try stream.tally() == ["pass T.S/p(x:) (1)", "fail T.S/p(x:) (2)"])
    }

    @Test("after a crash, what had not ended or not begun counts as failed, and the crash itself too")
    func crash() throws {
        var stream = Stream()
        for id in ["a()", "b()", "c()"] { stream.test(id) }
        stream.runs("a()", symbol: "pass")
        stream.event("testStarted", "b()", symbol: "default")
        stream.lines.append(#"{"kind":"event","payload":{"kind":"testEn"#)
        #expect(try stream.tally() == ["pass T.S/a()", "fail T.S/b()", "fail T.S/c()", "fail the test process"])
    }

    @Test("an empty stream is a failure")
    func nothing() throws {
        #expect(try Stream().tally() == ["fail the test process"])
    }
}

@Suite("skips in CI")
struct SkipRuleTests {
    private func verdict(_ reason: String) throws -> String {
        let script = "source Scripts/stages.sh; skip_verdict \"$(cat)\""
        return try run("bash", ["-c", script], input: reason)
    }

    @Test("a reason that names no stage fails")
    func unknown() throws {
        #expect(try verdict("the weather").contains("names no stage"))
        #expect(try verdict("").contains("names no stage"))
    }

    @Test("a skip fails exactly where the machine could have run it")
    func kvm() throws {
        let there =
            FileManager.default.isReadableFile(atPath: "/dev/kvm")
            && FileManager.default.isWritableFile(atPath: "/dev/kvm")
        #expect(try verdict("kvm: /dev/kvm does not open").contains("CI must run it") == there)
        #expect(try verdict("sanitizer: it stands in for malloc") == "")
    }
}
