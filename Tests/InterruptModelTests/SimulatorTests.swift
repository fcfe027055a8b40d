import Simulator
import Testing

@Suite("The simulator")
struct SimulatorTests {
    @Test("finds nothing wrong, for a few seeds of which one is new", arguments: seeds)
    func sound(seed: UInt64) {
        for number in 0..<4 {
            let history = History(seed: seed &+ UInt64(number))
            #expect(Simulation.run(history) == nil, "\(Simulation.report(history))")
        }
    }

    @Test("makes a history that fails short, and it still fails")
    func shrinks() throws {
        let found = try #require(Simulation.find(.masksOnlyInTheTable, within: 100))
        #expect(History(seed: found.seed).steps.count == 200 && found.history.steps.count <= 8)
        #expect(Simulation.run(found.history, mutation: .masksOnlyInTheTable) != nil)
        for index in found.history.steps.indices {
            var shorter = found.history
            shorter.steps.remove(at: index)
            #expect(Simulation.run(shorter, mutation: .masksOnlyInTheTable) == nil, "step \(index) is not needed")
        }
        #expect(Simulation.report(found.history, mutation: .masksOnlyInTheTable).contains("SEED=\(found.seed)"))
    }

    @Test("makes the same history of the same seed")
    func repeatable() {
        #expect(History(seed: 5).steps == History(seed: 5).steps)
        #expect(History(seed: 5).steps != History(seed: 6).steps)
    }

    @Test("gets to growths that are refused halfway, put back whole, and salvaged vector by vector")
    func rarities() {
        var (refused, whole, salvaged) = (0, 0, 0)
        for seed in 1...2000 as ClosedRange<UInt64> {
            let history = History(seed: seed)
            guard history.shape.faults, !history.shape.grows else { continue }
            let rarities = Simulation.rarities(of: history)
            refused += rarities.refusedGrowths
            whole += rarities.putBackWhole
            salvaged += rarities.salvages
        }
        #expect(refused > 0 && whole > 0 && salvaged > 0, "\(refused), \(whole), \(salvaged)")
    }
}
