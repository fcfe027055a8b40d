import Foundation
import Simulator

/// `irqmux-sim [SEEDS [SEED [STEPS]]]`: so many histories from a first seed on. The last line on stdout is the sum; a
/// seed that fails is printed with the shortest history that fails, and the exit status is 1.
///
/// `irqmux-sim mutations`: breaks the machine in every way it knows, and fails when one of them goes unnoticed.
@main
enum SimCommand {
    static func main() {
        let words = CommandLine.arguments.dropFirst()
        if words.elementsEqual(["mutations"]) { exit(mutations() ? 0 : 1) }
        let numbers = words.compactMap { UInt64($0) }
        guard words.count <= 3, numbers.count == words.count, numbers.dropFirst(2).allSatisfy({ 1...1_000_000 ~= $0 })
        else {
            FileHandle.standardError.write(Data("usage: irqmux-sim [SEEDS [SEED [STEPS]]] | mutations\n".utf8))
            exit(64)
        }
        let seeds = numbers.first ?? 10_000
        let first = numbers.dropFirst().first ?? 1
        let length = Int(numbers.dropFirst(2).first ?? 200)
        var failed = 0
        let began = processorTime
        var done: UInt64 = 0
        while done < seeds, failed < 3 {
            let history = History(seed: first &+ done, steps: length)
            done += 1
            guard Simulation.run(history) != nil else { continue }
            failed += 1
            print(Simulation.report(history))
        }
        let seconds = max(processorTime - began, 1e-9)
        let rate = Int(Double(done) * Double(length) / seconds)
        print("\(done) seeds of \(length) steps, \(failed) failed, \(rate) steps a second of processor time")
        exit(failed == 0 ? 0 : 1)
    }

    /// What this process has used of a processor, in seconds: others on the machine do not change it.
    private static var processorTime: Double { Double(clock()) / Double(CLOCKS_PER_SEC) }

    /// Whether every mutation is found, each told with the shortest history that shows it.
    private static func mutations() -> Bool {
        var missed = 0
        for mutation in Mutation.allCases {
            guard let (history, seeds) = Simulation.find(mutation, within: 2000) else {
                missed += 1
                print("MISSED \(mutation.rawValue)")
                continue
            }
            print("found  \(mutation.rawValue) at seed \(seeds), \(history.steps.count) steps:")
            for step in history.steps { print("         \(step)") }
            print("         → \(Simulation.run(history, mutation: mutation)?.text ?? "")")
        }
        print("\(Mutation.allCases.count) mutations, \(missed) missed")
        return missed == 0
    }
}
