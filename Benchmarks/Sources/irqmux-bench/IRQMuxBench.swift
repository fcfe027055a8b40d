internal import ArgumentParser
internal import CEngines
internal import Foundation

@main
struct IRQMuxBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "irqmux-bench",
        abstract: "Compares irqmux's event loop with its peers on the same eventfds, in one run.",
        discussion: "Table on stdout, progress on stderr, JSON in a file. docs/benchmarks.md explains the method.")

    @Option(
        name: .customLong("case"), help: ArgumentHelp("Measure only this case; may be repeated.", valueName: "name"))
    var cases: [String] = []

    @Option(name: .customLong("engine"), help: ArgumentHelp("Only this engine; may be repeated.", valueName: "name"))
    var engines: [String] = []

    @Option(help: "How often every engine is measured in every case.")
    var rounds = 21

    @Option(help: "Where the JSON goes; - is stdout, without the table.")
    var output = "Benchmarks/results/latest.json"

    @Flag(help: "Measure nothing; check that every engine dispatches exactly what was signalled.")
    var check = false

    @Flag(help: "Exit with 1 when a bar is missed.")
    var assertBars = false

    @Flag(help: "List cases and engines.")
    var list = false

    func validate() throws {
        guard rounds > 0 else { throw ValidationError("--rounds is a number above 0") }
        try require(cases, among: Case.all.map(\.name), "case")
        try require(engines, among: Registry.names, "engine")
    }

    private func require(_ names: [String], among known: [String], _ what: String) throws {
        guard let unknown = names.first(where: { !known.contains($0) }) else { return }
        throw ValidationError("there is no \(what) '\(unknown)'; there are \(known.joined(separator: ", "))")
    }

    func run() throws {
        if list { return printList() }
        let kinds = Registry.usable(engines)
        guard let machine = Machine() else {
            Progress.note("irqmux-bench needs two processors to pin to; this process may use \(bench_cpu_count())")
            throw ExitCode(69)
        }
        if check { return try runChecks(kinds, machine) }
        let report = try measure(kinds, machine)
        try write(report)
        if assertBars, Verdict.all(of: report.results).contains(where: { !$0.passes }) { throw ExitCode(1) }
    }

    private func printList() {
        for measured in Case.all { print("case    \(measured.name): \(measured.about)") }
        for kind in Registry.kinds { print("engine  \(kind.name): \(kind.about)") }
    }

    private func runChecks(_ kinds: [EngineKind], _ machine: Machine) throws {
        let sources = try Sources(capacity: 2048)
        var failed = false
        for kind in kinds {
            let faults = Check(sources: sources).faults(of: kind)
            print("\(faults.isEmpty ? "ok  " : "FAIL")  \(kind.name)")
            for fault in faults { print("      \(fault)") }
            failed = failed || !faults.isEmpty
        }
        if failed { throw ExitCode(1) }
    }

    private func measure(_ kinds: [EngineKind], _ machine: Machine) throws -> Report {
        let wanted = Case.all.filter { cases.isEmpty || cases.contains($0.name) }
        // An engine may need some file descriptors of its own.
        let possible = wanted.filter { $0.descriptors <= machine.descriptorLimit }
        for skipped in wanted where skipped.descriptors > machine.descriptorLimit {
            Progress.note(
                "left out: \(skipped.name): needs \(skipped.descriptors) file descriptors, "
                    + "the hard limit is \(machine.descriptorLimit) (ulimit -Hn)")
        }
        let sources = try Sources(capacity: possible.map(\.sources).max() ?? 1)
        var run = Run(cases: possible, kinds: kinds, sources: sources, machine: machine)
        for round in 0..<rounds { try run.round(round, of: rounds) }
        Progress.end()
        return Report(
            results: run.results, cases: possible, engines: kinds.map(\.name), rounds: rounds,
            environment: machine.environment)
    }

    private func write(_ report: Report) throws {
        let json = try report.json()
        guard output != "-" else { return FileHandle.standardOutput.write(json) }
        print(report.table)
        let file = URL(fileURLWithPath: output)
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try json.write(to: file)
        Progress.note("written: \(output)")
    }
}
