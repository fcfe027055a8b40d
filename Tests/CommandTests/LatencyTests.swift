import CKernel
import EventRing
import Foundation
import InterruptModel
import Synchronization
import Testing

@testable import irqmux

@Suite("latency", .serialized)
struct LatencyTests {
    static let figures: Set<String> = ["min", "p50", "p90", "p99", "p99_9", "max", "mean"]
    static let kvmOpens = KVMFacts.read() == .open(lacks: [], routes: 4096)

    private func measure(_ arguments: String...) throws -> (CommandProcess, [String: Any]) {
        let run = try CommandProcess.run(["latency", "--warmup", "10ms", "--format", "json"] + arguments)
        return (run, run.output.isEmpty ? [:] : try run.object())
    }

    @Test("the JSON is irqmux.latency/1, with every figure in order", arguments: WaitChoice.allCases)
    func schema(wait: WaitChoice) throws {
        let (run, object) = try measure("--wait", wait.rawValue, "--count", "500")
        #expect(run.status == 0, "\(run.diagnostics)")
        #expect(
            Set(object.keys).isSuperset(of: [
                "schema", "device", "path", "wait", "vectors", "count", "lost", "coalesced", "latency_ns", "stages_ns",
                "self_cost_ns", "environment",
            ]))
        #expect(object["schema"] as? String == "irqmux.latency/1")
        #expect(object["path"] as? String == "eventfd" && object["wait"] as? String == wait.rawValue)
        #expect(object["count"] as? Int == 500 && object["lost"] as? Int == 0 && object["coalesced"] as? Int == 0)
        let latency = try #require(object["latency_ns"] as? [String: Double])
        #expect(Set(latency.keys) == Self.figures)
        let rising = ["min", "p50", "p90", "p99", "p99_9", "max"].compactMap { latency[$0] }
        #expect(rising == rising.sorted() && rising[0] > 0)
        let cost = try #require(object["self_cost_ns"] as? [String: Double])
        #expect(Set(cost.keys) == ["clock", "record"] && cost.values.allSatisfy { $0 > 0 })
        let environment = try #require(object["environment"] as? [String: Any])
        #expect(
            Set(environment.keys).isSuperset(of: ["kernel", "cpu", "governor", "hypervisor", "ring", "clocksource"]))
    }

    @Test("with a rate both readings are there: from the due time, and from the send")
    func rate() throws {
        let (run, object) = try measure("--rate", "5k/s", "--count", "1k", "--vectors", "8")
        #expect(run.status == 0, "\(run.diagnostics)")
        let stages = try #require(object["stages_ns"] as? [String: [String: Double]])
        #expect(Set(stages.keys) == ["lateness", "from_send", "dispatch"])
        #expect(stages.values.allSatisfy { Set($0.keys) == Self.figures })
        let latency = try #require(object["latency_ns"] as? [String: Double])
        // From due is lateness and the way from the send together; means add up but for what the buckets round.
        let parts = (stages["lateness"]?["mean"] ?? 0) + (stages["from_send"]?["mean"] ?? 0)
        #expect(abs((latency["mean"] ?? 0) - parts) <= 0.02 * parts + 200)
    }

    @Test("the software device's interrupts are all handled, by every index", arguments: ["intx", "msi", "msix"])
    func loopback(index: String) throws {
        let vectors = index == "intx" ? "1" : "16"
        let (run, object) = try measure(
            "--path", "loopback", "--index", index, "--vectors", vectors, "--count", "500")
        #expect(run.status == 0, "\(run.diagnostics)")
        #expect(object["device"] as? String == "software:msix=64,msi=32,intx=1")
        #expect(object["count"] as? Int == 500 && object["lost"] as? Int == 0)
    }

    @Test(
        "a real guest answers every interrupt",
        .enabled(if: kvmOpens, "kvm: /dev/kvm does not open, or lacks what the loop needs"))
    func guest() throws {
        let (run, object) = try measure("--path", "bypass", "--vectors", "4", "--count", "300", "--wait", "adaptive")
        #expect(run.status == 0, "\(run.diagnostics)")
        #expect(object["path"] as? String == "bypass" && object["device"] is NSNull)
        #expect(object["count"] as? Int == 300 && object["lost"] as? Int == 0)
    }

    @Test("a duration is kept by a rate that is slower than it, and one of centuries is not over at once")
    func durations() throws {
        let (slow, object) = try measure("--rate", "1/h", "--duration", "50ms")
        #expect(slow.status == 1 && object["count"] as? Int == 0, "nothing measured is no success")
        #expect(slow.diagnostics.contains("nothing was measured"))
        let (slowest, first) = try measure("--rate", "0.0000000000000000001/s", "--duration", "50ms", "--warmup", "0ns")
        #expect(slowest.status == 0 && first["count"] as? Int == 1)
        let (long, all) = try measure("--duration", "18446744073709551615ns", "--count", "50")
        #expect(long.status == 0 && all["count"] as? Int == 50, "\(long.diagnostics)")
    }

    @Test(
        "a detour into a real guest tells every stage, each of them once a signal, and its ledger closes",
        .enabled(if: kvmOpens, "kvm: /dev/kvm does not open, or lacks what the loop needs"))
    func detour() throws {
        let (run, object) = try measure("--path", "kvm", "--vectors", "4", "--count", "300")
        #expect(run.status == 0, "\(run.diagnostics)")
        #expect(object["path"] as? String == "kvm" && object["device"] as? String == "software:msix=64,msi=32,intx=1")
        #expect(object["count"] as? Int == 300 && object["lost"] as? Int == 0)
        let stages = try #require(object["stages_ns"] as? [String: [String: Any]])
        #expect(Set(stages.keys) == ["wake", "dispatch", "forward", "acknowledged"])
        for (name, figures) in stages {
            #expect(figures["max"] is NSNumber, "nothing was measured of \(name)")
        }
        let text = try CommandProcess.run("latency", "--path", "kvm", "--count", "200", "--warmup", "0ms")
        let rows = text.output.split(separator: "\n").map { $0.split(separator: " ") }
        for name in stages.keys {
            #expect(rows.contains { $0.first == Substring(name) && $0.last == "200" }, "\(text.output)")
        }
        #expect(text.output.contains("unexplained 0\n"))
    }

    @Test("a breached assertion ends with status 1, and the report says which")
    func assertions() throws {
        let (run, object) = try measure("--count", "200", "--assert", "p50<1ns", "--assert", "lost<1")
        #expect(run.status == 1)
        let verdicts = try #require(object["assertions"] as? [[String: Any]])
        #expect(verdicts.map { $0["held"] as? Bool } == [false, true])
        #expect(verdicts.map { $0["assertion"] as? String } == ["p50<1ns", "lost<1"])
        let (held, _) = try measure("--count", "200", "--assert", "p50<10s")
        #expect(held.status == 0)
    }

    @Test("the duration ends a measurement, and the count what comes first")
    func duration() throws {
        let (run, object) = try measure("--rate", "1k/s", "--duration", "200ms")
        #expect(run.status == 0)
        #expect(object["count"] as? Int == 200)
        let (_, counted) = try measure("--rate", "1k/s", "--duration", "10s", "--count", "50")
        #expect(counted["count"] as? Int == 50)
    }

    @Test("Ctrl-C prints what was measured until then")
    func interrupted() throws {
        let line = "$IRQMUX latency --duration 1h --rate 1k/s --format json & p=$!; sleep 1; kill -INT $p; wait $p"
        let run = try CommandProcess.shell(line)
        #expect(run.status == 0)
        let object = try run.object()
        #expect((object["count"] as? Int ?? 0) > 0 && object["lost"] as? Int == 0)
        #expect(run.diagnostics.contains("interrupted"))
    }

    @Test("a rate of one an hour is interrupted at once, and nothing measured breaches an assertion")
    func interruptedBeforeTheFirst() throws {
        let line = "$IRQMUX latency --rate 1/h --assert 'p99<1s' & p=$!; sleep 0.5; kill -TERM $p; wait $p"
        let run = try CommandProcess.shell(line)
        #expect(run.status == 1)
        #expect(run.output.contains("(nothing was measured)"))
        #expect(run.output.contains("breached: p99<1s, measured nothing"))
    }

    @Test("CSV and hgrm carry the same run in their forms")
    func forms() throws {
        let csv = try CommandProcess.run("latency", "--count", "100", "--warmup", "1ms", "--format", "csv")
        #expect(csv.status == 0)
        let rows = csv.output.split(separator: "\n").map { $0.split(separator: ",") }
        #expect(rows.map { $0[0] } == ["series", "latency", "dispatch"] && rows[1][1] == "100")
        let hgrm = try CommandProcess.run("latency", "--count", "100", "--warmup", "1ms", "--format", "hgrm")
        #expect(hgrm.status == 0)
        #expect(hgrm.output.contains("1/(1-Percentile)") && hgrm.output.contains("Total count    =          100]"))
    }

    @Test("the text has a table, a histogram, and its own cost")
    func text() throws {
        let run = try CommandProcess.run("latency", "--count", "100", "--warmup", "1ms", "--cpu", "0")
        #expect(run.status == 0)
        #expect(run.output.hasPrefix("eventfd, 1 vector, waiting by block, ring "))
        #expect(run.output.contains("p99.9") && run.output.contains("|@") && run.output.contains("own cost: clock "))
    }

    @Test(
        "what does not go together is refused in one line with status 64",
        arguments: [
            (["--path", "kvm", "--vectors", "193"], "1 to 192"),
            (["--path", "bypass", "--vectors", "193"], "1 to 192"),
            (["--path", "loopback", "--vectors", "2049"], "2048"),
            (["--path", "loopback", "--index", "msi", "--vectors", "33"], "32"), (["--cpu", "8000"], "accepted: 0"),
            (["--cpu", "0-3"], "up to 3"), (["--index", "err"], "msix"), (["--duration", "0s"], "with a unit"),
            (["--warmup", "2h"], "up to 1h"), (["--rate", "10000"], "10k/s"), (["--assert", "p99<20"], "with a unit"),
            (["--wait", "poll"], "adaptive"), (["--path", "tcp"], "loopback"), (["--count", "0"], "1 to"),
            (["--format", "yaml"], "hgrm"),
        ] as [([String], String)])
    func refused(arguments: [String], accepted: String) throws {
        let run = try CommandProcess.run(["latency"] + arguments)
        #expect(run.status == 64)
        #expect(run.output.isEmpty && run.diagnosticLines.count == 1, "\(run.diagnostics)")
        #expect(run.diagnostics.contains("accepted: ") && run.diagnostics.contains(accepted), "\(run.diagnostics)")
    }

    @Test("too few descriptors are told with the number needed, before anything is made")
    func descriptors() throws {
        let run = try CommandProcess.shell("ulimit -n 100; $IRQMUX latency --vectors 2000")
        #expect(run.status == 69 && run.diagnostics.contains("2000 vectors need 4064"))
    }
}

@Suite("what latency is made of")
struct LatencyPartsTests {
    @Test("every signal of the log is measured, and those that share an event are coalesced")
    func recorder() {
        let log = SignalLog(lanes: 2)
        let clock = CycleClock.monotonic
        var recorder = LatencyRecorder(log, clock)
        let now = clock.now
        for _ in 0..<3 { log.publish(0, SignalLog.Stamp(due: now - 5000, sent: now - 1000, isMeasured: true)) }
        log.publish(1, SignalLog.Stamp(due: now, sent: now, isMeasured: false))
        recorder.handle(0)
        recorder.handle(0)
        recorder.handle(1)
        #expect(recorder.handled == 3 && recorder.coalesced == 2)
        #expect(log.handledTotal.load(ordering: .relaxed) == 4)
        let snapshots = recorder.snapshots()
        #expect(snapshots.fromDue.total == 3 && snapshots.fromDue.minimum >= 4900)
        #expect(snapshots.fromSend.minimum >= 990)
        #expect(snapshots.lateness.minimum <= 4000 && snapshots.lateness.maximum >= 4000)
    }

    @Test("a stamp a little ahead of the reader's clock counts as no time, not as centuries")
    func clocksApart() {
        let log = SignalLog(lanes: 1)
        let clock = CycleClock.monotonic
        var recorder = LatencyRecorder(log, clock)
        let ahead = clock.now + 1_000_000_000
        log.publish(0, SignalLog.Stamp(due: ahead, sent: ahead, isMeasured: true))
        recorder.handle(0)
        #expect(recorder.snapshots().fromSend.maximum == 0)
    }

    @Test("a lane has room for its depth, and keeps each stamp until it is settled")
    func log() {
        let log = SignalLog(lanes: 3)
        var number: UInt64 = 0
        while log.hasRoom(1, most: .max) {
            log.publish(1, SignalLog.Stamp(due: number, sent: number, isMeasured: true))
            number += 1
        }
        #expect(number == 4096 && log.published(1) == number && log.published(0) == 0)
        for place in 0..<number { #expect(log.stamp(1, place).due == place) }
        #expect(log.hasRoom(0, most: 1) && !log.hasRoom(1, most: .max))
        log.settle(1, upTo: 10)
        #expect(log.hasRoom(1, most: .max) && !log.hasRoom(1, most: number - 10))
    }

    private func plan(rate: String? = nil) throws -> LatencyPlan {
        LatencyPlan(
            path: .eventfd, wait: .block, index: .msix, device: nil, vectors: 1, count: 100,
            durationNs: nil, rate: try rate.map { try RateArgument(parsing: $0) }, warmUpNs: 0, cpus: [],
            usableCPUs: CPUList([0, 1]))
    }

    private func report(
        _ change: (inout LatencyResult) -> Void, assert: [String] = [], rate: String? = nil
    ) throws -> LatencyReport {
        let histogram = Histogram()
        for _ in 0..<100 { histogram.record(1000) }
        let snapshot = histogram.snapshot()
        var result = LatencyResult(
            fromDue: snapshot, fromSend: snapshot, lateness: snapshot, dispatch: snapshot, sent: 100, lost: 0,
            coalesced: 0, ring: .probe())
        change(&result)
        return LatencyReport(
            plan: try plan(rate: rate), result: result, selfCost: SelfCost(clock: 1, record: 1),
            machine: MachineFingerprint(ring: "deferred", stealPercent: 0),
            assertions: try assert.map { try Assertion(parsing: $0) })
    }

    @Test("a lost signal, a ledger that does not close and a dead guest are no success, and are said")
    func statuses() throws {
        #expect(try report({ _ in }).status == .success)
        let lost = try report({ $0.lost = 1 })
        #expect(lost.status == .checkFailed && lost.warnings.contains { $0.contains("1 of 100 signals were lost") })
        let open = try report({ $0.ledger = Ledger(raised: 2, delivered: 1) })
        #expect(open.status == .checkFailed && open.warnings.contains { $0.contains("does not close") })
        let dead = try report({ $0.trouble = "the guest shut down" })
        #expect(dead.status == .failure && dead.warnings.contains("the guest shut down"))
        #expect(try report({ _ in }, assert: ["max<1ns"]).status == .checkFailed)
    }

    @Test("a rate that coalesces more than one in a hundred is warned of")
    func coalescing() throws {
        #expect(try !report({ $0.coalesced = 1 }).warnings.contains { $0.contains("coalesced") })
        #expect(try report({ $0.coalesced = 2 }).warnings.contains { $0.contains("2.0 % of the signals") })
    }

    @Test("a rate that the path cannot keep is warned of")
    func overload() throws {
        // Every signal of the report was 1 us late.
        #expect(try report({ _ in }, rate: "100M/s").warnings.contains { $0.contains("cannot keep 100M/s") })
        #expect(try !report({ _ in }, rate: "1M/s").warnings.contains { $0.contains("cannot keep") })
        #expect(try !report({ _ in }).warnings.contains { $0.contains("cannot keep") })
    }

    @Test("a path on which nothing arrives ends by itself, and all that was sent is lost")
    func brokenPath() throws {
        let log = SignalLog(lanes: 1)
        let stimulus = Stimulus(
            try plan(), log, .calibrated(), Interruption(), startsMeasuring: {}, signal: { _ in })
        stimulus.run()
        #expect(stimulus.sent == UInt64(Stimulus.mostLostInARow))
        #expect(log.handledTotal.load(ordering: .relaxed) == 0)
    }

    @Test("Ctrl-C stops the sender before the next signal")
    func interruption() throws {
        let interruption = Interruption()
        interruption.request()
        let stimulus = Stimulus(
            try plan(), SignalLog(lanes: 1), .calibrated(), interruption, startsMeasuring: {}, signal: { _ in })
        stimulus.run()
        #expect(stimulus.sent == 0)
    }

    @Test("what is asked to stop, stops before the next signal")
    func stopped() throws {
        let stimulus = Stimulus(
            try plan(rate: "1/h"), SignalLog(lanes: 1), .calibrated(), Interruption(),
            startsMeasuring: {}, signal: { _ in })
        stimulus.stop()
        stimulus.run()
        #expect(stimulus.sent == 0)
    }
}
