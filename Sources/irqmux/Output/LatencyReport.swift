internal import EventRing
internal import InterruptModel

/// A measured latency in every form: `irqmux.latency/1`, a table with a histogram, CSV, hgrm.
struct LatencyReport {
    let plan: LatencyPlan
    let result: LatencyResult
    let selfCost: SelfCost
    let machine: MachineFingerprint
    let assertions: [Assertion]

    /// With a rate from when the signal was due; without, from when it was sent, which then is the same.
    var latency: HistogramSnapshot { plan.rate == nil ? result.fromSend : result.fromDue }

    /// The parts of the way: into a guest all of its stages, elsewhere the loop's dispatch. With a rate: how late the
    /// sender was, and the reading from the send, which hides that.
    var stages: [LatencySeries] {
        let paced = [
            LatencySeries(name: "lateness", snapshot: result.lateness),
            LatencySeries(name: "from_send", snapshot: result.fromSend),
        ]
        let way =
            result.guestStages.isEmpty
            ? [LatencySeries(name: "dispatch", snapshot: result.dispatch)] : result.guestStages
        return (plan.rate == nil ? [] : paced) + way
    }

    private var series: [LatencySeries] { [LatencySeries(name: "latency", snapshot: latency)] + stages }

    /// What was measured of each assertion.
    var verdicts: [(assertion: Assertion, measured: Double?)] {
        assertions.map { ($0, $0.measured(latency: latency, lost: result.lost, coalesced: result.coalesced)) }
    }

    /// How the command ends.
    var status: ExitStatus {
        if result.trouble != nil { return .failure }
        let unexplained = result.ledger?.unexplained ?? 0
        let breached = verdicts.contains { !$0.assertion.holds($0.measured) }
        // Nothing measured is no good news, whatever was asserted.
        return result.sent == 0 || result.lost > 0 || unexplained != 0 || breached ? .checkFailed : .success
    }

    /// What to know before believing the figures; for stderr.
    var warnings: [String] {
        var warnings: [String] = []
        if let trouble = result.trouble { warnings.append(trouble) }
        if result.sent == 0 {
            warnings.append("nothing was measured: no signal was due after the warm-up and before the end")
        }
        if result.lost > 0 { warnings.append("\(result.lost) of \(result.sent) signals were lost") }
        if let ledger = result.ledger, ledger.unexplained != 0 {
            warnings.append("the ledger does not close: \(LoopbackReport.sum(ledger))")
        }
        let share = result.sent > 0 ? 100 * Double(result.coalesced) / Double(result.sent) : 0
        if share > 1 {
            let percent = NumberText.decimal(share, places: 1)
            warnings.append("\(percent) % of the signals were coalesced: the rate is too high for this wait")
        }
        if let rate = plan.rate, result.lateness.total > 0 {
            let interval = 1e9 / rate.perSecond
            let late = Double(result.lateness.percentile(50))
            if late > 10 * interval {
                warnings.append(
                    "this path cannot keep \(rate): half the signals went \(NumberText.duration(late)) late")
            }
        }
        if latency.total > 0, latency.percentile(99.9) > 100 * max(1, latency.percentile(50)) {
            warnings.append("p99.9 is more than 100 times p50: something else runs here; see --cpu and steal time")
        }
        if let steal = machine.stealPercent, steal > 1 {
            warnings.append("the hypervisor took \(NumberText.decimal(steal, places: 1)) % of the processor time")
        }
        if plan.wait != .block, plan.usableCPUs.numbers.count == 1 {
            warnings.append("spinning on a single processor delays whoever sends")
        }
        #if DEBUG
            warnings.append("this is a debug build: the figures are those of unoptimised code")
        #endif
        return warnings
    }

    // MARK: Forms

    func text(terminal: Terminal) -> String {
        let vectors = plan.vectors == 1 ? "1 vector" : "\(plan.vectors) vectors"
        let what = device.map { " of \($0), \(plan.index.label)" } ?? ""
        let how = plan.rate.map { "at \($0), from when each was due" } ?? "one after the other"
        var text = "\(plan.path.rawValue)\(what), \(vectors), waiting by \(plan.wait.rawValue), ring \(machine.ring)\n"
        text += "\(result.sent) signals \(how); \(result.coalesced) coalesced, \(result.lost) lost\n\n"
        text += PercentileTable.text(series, terminal: terminal) + "\n"
        text += HistogramBars.text(latency, terminal: terminal) + "\n"
        text +=
            "own cost: clock \(NumberText.duration(selfCost.clock)), record \(NumberText.duration(selfCost.record))\n"
        if let ledger = result.ledger { text += "ledger: \(LoopbackReport.sum(ledger))\n" }
        for (assertion, measured) in verdicts {
            let holds = assertion.holds(measured)
            text += terminal.paint(holds ? "✓" : "✗", holds ? .green : .red) + " \(assertion.verdict(measured))\n"
        }
        return text
    }

    private var device: String? {
        plan.device?.name.description
    }

    var json: JSON {
        .object([
            ("schema", .string("irqmux.latency/1")),
            ("device", device.map { .string($0) } ?? .null),
            ("path", .string(plan.path.rawValue)),
            ("wait", .string(plan.wait.rawValue)),
            ("vectors", .integer(UInt64(plan.vectors))),
            ("rate_per_s", plan.rate.map { .number($0.perSecond) } ?? .null),
            ("count", .integer(result.sent)),
            ("lost", .integer(result.lost)),
            ("coalesced", .integer(result.coalesced)),
            ("latency_ns", LatencySummary(latency).json),
            ("stages_ns", .object(stages.map { ($0.name, LatencySummary($0.snapshot).json) })),
            ("self_cost_ns", selfCost.json),
            ("assertions", .array(verdicts.map(Self.json))),
            ("environment", machine.json),
        ])
    }

    private static func json(_ verdict: (assertion: Assertion, measured: Double?)) -> JSON {
        .object([
            ("assertion", .string(verdict.assertion.description)),
            ("measured", verdict.measured.map { .number($0) } ?? .null),
            ("held", .boolean(verdict.assertion.holds(verdict.measured))),
        ])
    }

    var csv: String { CSVDocument.text(series) }
    var hgrm: String { HgrmDocument.text(latency) }
}
