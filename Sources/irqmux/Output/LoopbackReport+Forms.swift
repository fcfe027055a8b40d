internal import InterruptModel

// What test harnesses read.
extension LoopbackReport {
    /// Test Anything Protocol, version 13: a line a check.
    var tap: String {
        var text = "TAP version 13\n1..\(checks.count + 1)\n"
        for (number, check) in checks.enumerated() {
            text += "\(check.status == .fail ? "not ok" : "ok") \(number + 1) - \(Self.title(check))"
            if check.status == .skip { text += " # SKIP \(Diagnostics.singleLine(check.detail))" }
            text += "\n"
            if check.status == .fail { text += "# \(Diagnostics.singleLine(check.detail))\n" }
        }
        let closes = ledger.unexplained == 0
        return text + "\(closes ? "ok" : "not ok") \(checks.count + 1) - ledger: \(Self.sum(ledger))\n"
    }

    /// JUnit's XML: a test case a check, a class an index.
    var junit: String {
        let closes = ledger.unexplained == 0
        var text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        text += "<testsuite name=\"\(Self.escaped("irqmux loopback \(device)"))\" tests=\"\(checks.count + 1)\""
        text += " failures=\"\(failed + (closes ? 0 : 1))\" skipped=\"\(skipped)\">\n"
        for check in checks {
            let name = check.vector.map { "\(check.name) \($0)" } ?? check.name
            text += "  <testcase classname=\"\(check.index.name)\" name=\"\(Self.escaped(name))\""
            let detail = Self.escaped(check.detail)
            switch check.status {
            case .pass: text += "/>\n"
            case .fail: text += "><failure message=\"\(detail)\"/></testcase>\n"
            case .skip: text += "><skipped message=\"\(detail)\"/></testcase>\n"
            }
        }
        text += "  <testcase classname=\"ledger\" name=\"closes\""
        text += closes ? "/>\n" : "><failure message=\"\(Self.escaped(Self.sum(ledger)))\"/></testcase>\n"
        return text + "</testsuite>\n"
    }

    private static func title(_ check: LoopbackCheck) -> String {
        let vector = check.vector.map { " \($0)" } ?? ""
        return "\(check.index.name)\(vector) \(check.name)"
    }

    private static func escaped(_ text: String) -> String {
        var escaped = ""
        for character in Diagnostics.singleLine(text) {
            switch character {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            default: escaped.append(character)
            }
        }
        return escaped
    }
}
