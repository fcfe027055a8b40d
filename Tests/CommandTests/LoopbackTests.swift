import Exerciser
import Foundation
import IRQMux
import InterruptModel
import Testing

@testable import irqmux

@Suite("loopback")
struct LoopbackTests {
    @Test("every vector of every index passes, in every way of waiting", arguments: WaitChoice.allCases)
    func everything(wait: WaitChoice) throws {
        let run = try CommandProcess.run(
            "loopback", "--vectors", "16", "--storm", "5k", "--wait", wait.rawValue, "--format", "json")
        #expect(run.status == 0, "\(run.diagnostics)")
        let object = try run.object()
        #expect(Set(object.keys) == ["schema", "device", "checks", "passed", "failed", "skipped", "ledger"])
        #expect(object["schema"] as? String == "irqmux.loopback/1")
        #expect(object["failed"] as? Int == 0 && object["skipped"] as? Int == 0)
        let checks = try #require(object["checks"] as? [[String: Any]])
        #expect(object["passed"] as? Int == checks.count)
        for check in checks {
            #expect(Set(check.keys) == ["name", "index", "vector", "status", "detail"])
            #expect(check["status"] as? String == "pass", "\(check)")
        }
        for (index, vectors) in [("msi", 16), ("msix", 16)] {
            for name in ["trigger-none", "trigger-bool", "raise", "mask", "park", "fan-out"] {
                let tried = checks.filter { $0["index"] as? String == index && $0["name"] as? String == name }
                #expect(tried.compactMap { $0["vector"] as? Int } == Array(0..<vectors), "\(index) \(name)")
            }
        }
        #expect(Set(checks.compactMap { $0["index"] as? String }) == ["intx", "msi", "msix", "err", "req"])
        let ledger = try #require(object["ledger"] as? [String: Int])
        #expect(Set(ledger.keys) == ["raised", "delivered", "coalesced", "pending", "dropped", "unexplained"])
        let account = ["delivered", "coalesced", "pending", "dropped"].reduce(0) { $0 + (ledger[$1] ?? 0) }
        #expect(ledger["unexplained"] == 0 && ledger["raised"] == account && account > 10_000)
    }

    @Test("the text closes with the ledger and the count")
    func text() throws {
        let run = try CommandProcess.run("loopback", "--vectors", "4", "--storm", "1k")
        #expect(run.status == 0)
        #expect(run.output.hasPrefix("software:msix=64,msi=32,intx=1, waiting by block"))
        #expect(run.output.contains("unexplained 0\n") && run.output.hasSuffix(" passed, 0 failed, 0 skipped\n"))
    }

    @Test("an index the device lacks is skipped, and said to be")
    func absentIndex() throws {
        let run = try CommandProcess.run(
            "loopback", "--device", "software:msix=2,msi=0,intx=0", "--storm", "100", "--format", "json")
        #expect(run.status == 0)
        let object = try run.object()
        #expect(object["skipped"] as? Int == 2)
        let checks = try #require(object["checks"] as? [[String: Any]])
        let skipped = checks.filter { $0["status"] as? String == "skip" }
        #expect(skipped.allSatisfy { ($0["detail"] as? String)?.contains("the device has no") == true })
        #expect(skipped.compactMap { $0["index"] as? String } == ["intx", "msi"])
    }

    @Test("more vectors than the device was given are refused, more than the default has make it grow")
    func vectors() throws {
        let refused = try CommandProcess.run("loopback", "--device", "software:msix=4", "--vectors", "5")
        #expect(refused.status == 64 && refused.diagnosticLines.count == 1)
        let grown = try CommandProcess.run("loopback", "--vectors", "100", "--storm", "100")
        #expect(grown.status == 0 && grown.output.hasPrefix("software:msix=100,"))
    }

    @Test("too few descriptors are told before anything is made, with the number needed")
    func descriptors() throws {
        let run = try CommandProcess.shell("ulimit -n 128; $IRQMUX loopback --vectors 2048")
        #expect(run.status == 69)
        #expect(run.output.isEmpty && run.diagnosticLines.count == 1)
        #expect(run.diagnostics.contains("2048 vectors need 4160 file descriptors"))
    }

    @Test("a soft limit below what is needed is raised")
    func softLimit() throws {
        let run = try CommandProcess.shell("ulimit -Sn 100; $IRQMUX loopback --vectors 64 --storm 100")
        #expect(run.status == 0, "\(run.diagnostics)")
    }

    @Test("Ctrl-C ends a storm without end, prints the summary and skips the rest")
    func interrupted() throws {
        let line = "$IRQMUX loopback --storm 1G --format json & p=$!; sleep 0.5; kill -INT $p; wait $p"
        let run = try CommandProcess.shell(line)
        #expect(run.status == 0)
        let object = try run.object()
        #expect((object["skipped"] as? Int ?? 0) > 0 && object["failed"] as? Int == 0)
        let checks = try #require(object["checks"] as? [[String: Any]])
        let storms = checks.filter { $0["name"] as? String == "storm" }
        #expect(storms.allSatisfy { $0["status"] as? String == "skip" }, "a storm that was cut short has not passed")
        #expect(run.diagnostics.contains("interrupted"))
    }

    @Test("Ctrl-C in the middle of a check loses nothing that was raised: it arrives, and the ledger closes")
    func interruptedCheck() throws {
        let interruption = Interruption()
        let device = try SoftwareDevice(SoftwareLayout(msix: 1, msi: 0, intx: 0))
        let plan = LoopbackPlan(counts: try device.counts(), vectors: 1, storm: 1, seed: 1, wait: .block)
        var run = try LoopbackRun(device, plan, interruption)
        let id = try run.mux.connect(run.deviceID, .msix, 0..<1)[0]
        interruption.request()
        try run.device.raise(Vector(.msix, 0))
        #expect(run.fault(try run.events(expecting: 1), Vector(.msix, 0)) == nil)
        let ledger = try run.mux.ledger(id)
        #expect(ledger.delivered == 1 && ledger.pending == 0 && ledger.unexplained == 0)
    }

    @Test("the report goes to a file where one is named, and a path that cannot be written is told at once")
    func output() throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("loopback-\(UUID()).json")
        defer { try? FileManager.default.removeItem(at: file) }
        let run = try CommandProcess.run(
            "loopback", "--vectors", "2", "--storm", "10", "--format", "json", "--output", file.path)
        #expect(run.status == 0 && run.output.isEmpty)
        #expect(try String(contentsOf: file, encoding: .utf8).contains("irqmux.loopback/1"))
        let refused = try CommandProcess.run("loopback", "--output", "/nonexistent/file")
        #expect(refused.status == 2 && refused.diagnosticLines.count == 1)
        #expect(refused.diagnostics.contains("ENOENT"))
    }

    @Test("a report with a failure, or a ledger that does not close, ends with status 1; nothing but skips with 77")
    func statuses() {
        func report(_ statuses: [LoopbackCheck.Status], _ ledger: Ledger = Ledger()) -> LoopbackReport {
            LoopbackReport(
                device: "d", ring: "r", wait: .block,
                checks: statuses.map {
                    LoopbackCheck(name: "n", index: .msix, vector: 3, status: $0, detail: "because")
                }, ledger: ledger)
        }
        #expect(report([.pass, .skip]).status == .success)
        #expect(report([.pass, .fail]).status == .checkFailed)
        #expect(report([.skip, .skip]).status == .skipped)
        #expect(report([.pass], Ledger(raised: 2, delivered: 1)).status == .checkFailed)
        let text = report([.pass, .fail]).text(terminal: .plain)
        #expect(text.contains("✗ MSI-X") && text.contains("1/2") && text.contains("vector 3: because"))
    }
}
