internal import CEngines

/// Whether an engine dispatches exactly the events that were signalled, in each of the ways it is measured at.
struct Check {
    var sources: Sources

    /// What is wrong with the engine; empty when nothing is.
    func faults(of kind: EngineKind) -> [String] {
        var faults: [String] = []
        for ability in [Abilities.drain, .spin, .block] where kind.abilities.contains(ability) {
            for count in [1, 2, 64, 2048] where count <= kind.largest {
                let title = "\(kind.name), \(ability.name), \(count) sources"
                // SAFETY: the text is copied.
                unsafe bench_watchdog(20, title)
                do {
                    try exercise(kind, ability, count)
                } catch let fault as Fault {
                    faults.append("\(title): \(fault.text)")
                } catch {
                    faults.append("\(title): \(error)")
                }
                // SAFETY: as above.
                unsafe bench_watchdog(0, "")
            }
        }
        return faults
    }

    private struct Fault: Error { var text: String }

    private func exercise(_ kind: EngineKind, _ ability: Abilities, _ count: Int) throws {
        sources.reset(count: count)
        let engine = try kind.make(sources, ability)
        var random = Xorshift(seed: UInt32(count))
        var expected = [UInt64](repeating: 0, count: count)
        try engine.arm()
        // A lost event hangs and meets the watchdog; a spurious or doubled one shows in a later step's counts.
        for step in 0..<20 {
            let ready = step == 0 ? count : 1 + Int(random.next() % UInt64(count))
            try signal(random.choose(ready, of: count), engine, ability, &expected, "step \(step)")
        }
        // What is signalled while nobody listens must not be dispatched, not even later.
        try engine.disarm()
        sources.choose([0])
        try sources.signalChosen(1)
        sources.clear()
        try engine.arm()
        try signal([count - 1], engine, ability, &expected, "after disarm and arm")
        try engine.disarm()
        try compare(expected, "after the last disarm")
    }

    private func signal(
        _ chosen: [Int], _ engine: any Engine, _ ability: Abilities, _ expected: inout [UInt64], _ step: String
    ) throws {
        let before = sources.total
        sources.choose(chosen)
        for source in chosen { expected[source] += 1 }
        try sources.signalChosen(chosen.count)
        switch ability {
        case .spin: try engine.spin(until: before + UInt64(chosen.count))
        case .block: try engine.block(until: before + UInt64(chosen.count))
        default: try engine.drain(until: before + UInt64(chosen.count))
        }
        try compare(expected, step)
    }

    private func compare(_ expected: [UInt64], _ step: String) throws {
        for (source, count) in expected.enumerated() where sources.events(of: source) != count {
            throw Fault(text: "\(step): source \(source): \(sources.events(of: source)) events, \(count) signals")
        }
    }
}

extension Abilities {
    var name: String { contains(.drain) ? "drain" : contains(.spin) ? "spin" : "block" }
}
