internal import CEngines

/// A run: rounds over all cases, each over all engines, so that the machine's drift hits all alike.
struct Run {
    let cases: [Case]
    let kinds: [EngineKind]
    let sources: Sources
    let machine: Machine
    private(set) var results = Results()
    /// Engines that could not be made for a case; said once.
    private var refused: Set<String> = []

    init(cases: [Case], kinds: [EngineKind], sources: Sources, machine: Machine) {
        self.cases = cases
        self.kinds = kinds
        self.sources = sources
        self.machine = machine
    }

    mutating func round(_ round: Int, of rounds: Int) throws {
        var order = Xorshift(seed: UInt32(round + 1))
        for measured in cases {
            let able = kinds.filter {
                $0.abilities.contains(measured.needs) && $0.largest >= measured.sources
                    && !refused.contains("\(measured.name) \($0.name)")
            }
            // In random order, so that none always follows the same neighbour: what an engine leaves behind (threads of
            // libdispatch going to sleep, a processor's idle state) had cost its successor a third in wake-block.
            for kind in able.shuffled(using: &order) {
                Progress.show("round \(round + 1) of \(rounds): \(measured.name), \(kind.name)")
                try measure(measured, kind, round)
            }
        }
        if round == 0 || (round + 1) % 7 == 0 { Progress.note("\rround \(round + 1) of \(rounds) done") }
    }

    private mutating func measure(_ measured: Case, _ kind: EngineKind, _ round: Int) throws {
        // SAFETY: the text is copied.
        unsafe bench_watchdog(30, "\(measured.name), \(kind.name)")
        defer {
            // SAFETY: as above.
            unsafe bench_watchdog(0, "")
        }
        let measurement = Measurement(
            sources: sources, readerCPU: machine.readerCPU, writerCPU: machine.writerCPU,
            nanosecondsPerCycle: machine.nanosecondsPerCycle, seed: UInt32(round + 1) &* 2_654_435_761)
        do {
            results.add(try measurement.run(measured, kind), name: measured.name, engine: kind.name)
        } catch let error as EngineError where error.operation == "create" {
            refused.insert("\(measured.name) \(kind.name)")
            Progress.note("left out: \(measured.name), \(error)")
        }
    }
}
