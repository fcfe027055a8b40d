import InterruptModel

/// Runs histories, and makes those that fail short.
public enum Simulation {
    /// Carries out a history; `nil` when nothing is wrong.
    public static func run(_ history: History, mutation: Mutation? = nil) -> Failure? {
        do throws(Failure) {
            switch history.shape.kind {
            case .msix:
                var world = MSIXWorld(history.shape, mutation)
                try world.run(history.steps)
            case .msi:
                var world = MSIWorld(history.shape, mutation)
                try world.run(history.steps)
            case .line:
                var world = LineWorld(history.shape, mutation)
                try world.run(history.steps)
            }
        } catch { return error }
        return nil
    }

    /// How often rare situations come about in a history of MSI-X; none in others.
    public static func rarities(of history: History) -> Rarities {
        guard history.shape.kind == .msix else { return Rarities() }
        var world = MSIXWorld(history.shape, nil)
        try? world.run(history.steps)
        return world.host.rarities
    }

    /// The first of so many seeds that shows a mutation, with the shortest history that does; `nil` when none does.
    public static func find(_ mutation: Mutation, within seeds: UInt64) -> (history: History, seed: UInt64)? {
        for seed in 1...seeds {
            let history = History(seed: seed)
            if run(history, mutation: mutation) != nil { return (shrink(history, mutation: mutation), seed) }
        }
        return nil
    }

    /// The shortest history found that still fails: pieces of it are left out, large ones first, until no single step
    /// can be left out any more (delta debugging).
    public static func shrink(_ history: History, mutation: Mutation? = nil) -> History {
        var shortest = history
        if let failure = run(history, mutation: mutation), failure.step < history.steps.count {
            shortest.steps = Array(history.steps[0...failure.step])
            if run(shortest, mutation: mutation) == nil { shortest = history }
        }
        var piece = max(shortest.steps.count / 2, 1)
        while true {
            var isShorter = false
            var begin = 0
            while begin < shortest.steps.count {
                var candidate = shortest
                candidate.steps.removeSubrange(begin..<min(begin + piece, shortest.steps.count))
                if run(candidate, mutation: mutation) != nil {
                    shortest = candidate
                    isShorter = true
                } else {
                    begin += piece
                }
            }
            if piece == 1, !isShorter { return shortest }
            if !isShorter { piece = max(piece / 2, 1) }
        }
    }

    /// What a person needs to see it happen.
    public static func report(_ history: History, mutation: Mutation? = nil) -> String {
        let shortest = shrink(history, mutation: mutation)
        let failure = run(shortest, mutation: mutation)
        let shape = history.shape
        var lines = [
            "seed \(history.seed): \(failure.map(\.text) ?? "nothing is wrong")",
            "  \(shape)",
        ]
        for (index, step) in shortest.steps.enumerated() { lines.append("  \(index + 1). \(step)") }
        lines.append("  again: make test-sim SEED=\(history.seed)")
        return lines.joined(separator: "\n")
    }
}
