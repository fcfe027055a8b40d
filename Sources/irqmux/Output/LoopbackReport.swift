internal import EventRing
internal import InterruptModel

/// What loopback found: `irqmux.loopback/1`.
struct LoopbackReport {
    let device: String
    let ring: String
    let wait: WaitChoice
    let checks: [LoopbackCheck]
    let ledger: Ledger

    var passed: Int { checks.count { $0.status == .pass } }
    var failed: Int { checks.count { $0.status == .fail } }
    var skipped: Int { checks.count { $0.status == .skip } }

    /// How the command ends.
    var status: ExitStatus {
        if failed > 0 || ledger.unexplained != 0 { return .checkFailed }
        return passed == 0 ? .skipped : .success
    }

    /// One line an index and check, then what failed, then the balance.
    func text(terminal: Terminal) -> String {
        var text = "\(device), waiting by \(wait.rawValue), ring \(ring)\n"
        let names = groups.map { $0.checks[0].name.count }.max() ?? 0
        for group in groups {
            let first = group.checks[0]
            let passed = group.checks.count { $0.status == .pass }
            let worst = group.checks.first { $0.status == .fail } ?? group.checks.first { $0.status == .skip }
            let mark =
                switch worst?.status {
                case .fail: terminal.paint("✗", .red)
                case .skip: terminal.paint("-", .yellow)
                default: terminal.paint("✓", .green)
                }
            text += "\(mark) \(NumberText.left(first.index.label, 5))  \(NumberText.left(first.name, names))"
            text += "  \(NumberText.right("\(passed)/\(group.checks.count)", 9))"
            let detail = worst?.detail ?? first.detail
            text += detail.isEmpty ? "\n" : "  \(Self.place(worst))\(detail)\n"
        }
        text += "ledger: \(Self.sum(ledger))\n"
        return text + "\(passed) passed, \(failed) failed, \(skipped) skipped\n"
    }

    /// Checks of the same index and name, in the order of their first.
    private var groups: [(key: String, checks: [LoopbackCheck])] {
        var groups: [(key: String, checks: [LoopbackCheck])] = []
        var places: [String: Int] = [:]
        for check in checks {
            let key = "\(check.index.name) \(check.name)"
            if let place = places[key] {
                groups[place].checks.append(check)
            } else {
                places[key] = groups.count
                groups.append((key, [check]))
            }
        }
        return groups
    }

    private static func place(_ check: LoopbackCheck?) -> String {
        check?.vector.map { "vector \($0): " } ?? ""
    }

    /// The account as the equation it is.
    static func sum(_ ledger: Ledger) -> String {
        "raised \(ledger.raised) = delivered \(ledger.delivered) + coalesced \(ledger.coalesced)"
            + " + pending \(ledger.pending) + dropped \(ledger.dropped), unexplained \(ledger.unexplained)"
    }

    var json: JSON {
        .object([
            ("schema", .string("irqmux.loopback/1")),
            ("device", .string(device)),
            ("checks", .array(checks.map(Self.json))),
            ("passed", .integer(UInt64(passed))),
            ("failed", .integer(UInt64(failed))),
            ("skipped", .integer(UInt64(skipped))),
            (
                "ledger",
                .object([
                    ("raised", .integer(ledger.raised)),
                    ("delivered", .integer(ledger.delivered)),
                    ("coalesced", .integer(ledger.coalesced)),
                    ("pending", .integer(ledger.pending)),
                    ("dropped", .integer(ledger.dropped)),
                    ("unexplained", .number(Double(ledger.unexplained))),
                ])
            ),
        ])
    }

    private static func json(_ check: LoopbackCheck) -> JSON {
        .object([
            ("name", .string(check.name)),
            ("index", .string(check.index.name)),
            ("vector", check.vector.map { .integer(UInt64($0)) } ?? .null),
            ("status", .string(check.status.rawValue)),
            ("detail", .string(check.detail)),
        ])
    }
}
