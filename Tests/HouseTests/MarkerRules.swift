import Foundation
import Testing

/// Nothing half done is committed, and nothing that is true on one machine only.
enum MarkerRules {
    // Put together here, so that this file does not hold what it looks for.
    static let markers = ["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK", "W" + "IP"]
    static let phrases = [
        "for" + " now", "not" + " implemented", "not" + " yet implemented", "place" + "holder", "coming" + " soon",
    ]
    static let machineFolders = ["work", "root", "home", "tmp", "Users", "opt/swift"]

    static func findings(path: String, text: String) -> [Finding] {
        let marker = Pattern(#"\b(\#(markers.joined(separator: "|")))\b"#)
        let phrase = Pattern(#"\b(\#(phrases.joined(separator: "|")))\b"#, ignoringCase: true)
        return text.components(separatedBy: "\n").enumerated().flatMap { index, line in
            (marker.matches(in: line) + phrase.matches(in: line)).map {
                Finding(path: path, line: index + 1, text: "a left-over marker: \($0[0])")
            }
        }
    }

    static func machinePaths(path: String, text: String) -> [Finding] {
        let absolute = Pattern(#"(?<![\w.$}*~)-])/(\#(machineFolders.joined(separator: "|")))(?![\w-])"#)
        return text.components(separatedBy: "\n").enumerated().flatMap { index, line in
            absolute.matches(in: line).map {
                Finding(path: path, line: index + 1, text: "a path of one machine: \($0[0])")
            }
        }
    }
}

@Suite("left-overs")
struct MarkerRuleTests {
    // The licence is not ours to word.
    private static let files = Repository.files.filter { $0.path != "LICENSE" }

    @Test("no left-over marker")
    func markers() { expectNone(Self.files.flatMap { MarkerRules.findings(path: $0.path, text: $0.text) }) }

    @Test("no path of one machine")
    func paths() { expectNone(Self.files.flatMap { MarkerRules.machinePaths(path: $0.path, text: $0.text) }) }

    @Test("a marker is found", arguments: MarkerRules.markers + MarkerRules.phrases)
    func badMarker(marker: String) {
        #expect(MarkerRules.findings(path: "a", text: "let a = 1 // \(marker): later").count == 1)
    }

    @Test("a path of one machine is found", arguments: MarkerRules.machineFolders)
    func badPath(folder: String) {
        #expect(MarkerRules.machinePaths(path: "a", text: "cd \("/" + folder)/somewhere").count == 1)
        #expect(MarkerRules.machinePaths(path: "a", text: "let a = \"\("/" + folder)\"").count == 1)
    }

    @Test("words that only hold a marker, and paths that only end like one, are let through")
    func good() {
        #expect(MarkerRules.findings(path: "a", text: "mktemp -t X\("XXXX")X; hackney; forward nowhere").isEmpty)
        #expect(MarkerRules.machinePaths(path: "a", text: "docs/work $HOME/tmp /dev/kvm /usr/local ../home").isEmpty)
    }
}
