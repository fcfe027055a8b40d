import InterruptModel

/// How often situations came about in a history that only few steps in the right order lead to: where none of many
/// histories has one, what happens then is judged by nobody.
public struct Rarities: Sendable {
    /// An index that cannot grow was disabled, and enabling it with more vectors was refused halfway.
    public internal(set) var refusedGrowths = 0
    /// After that it could be had again with all that it had.
    public internal(set) var putBackWhole = 0
    /// It could not, and each vector got back by itself what it could.
    public internal(set) var salvages = 0
}

extension Host {
    /// Tells by what the kernel was asked, and answered, what the host is about.
    mutating func note(_ request: IRQRequest, _ outcome: Outcome) {
        guard irq == .msix, case .eventfd(let numbers) = request.data, case .enabled? = outcome.changes.first else {
            return
        }
        if case .refused = outcome.verdict {
            // The first enabling is with one vector. What is refused again is the attempt to put it back.
            guard numbers.count > 1, !isRefusedGrowth else { return }
            rarities.refusedGrowths += 1
            isRefusedGrowth = true
        } else if outcome.verdict == .done, isRefusedGrowth {
            isRefusedGrowth = false
            if numbers.contains(where: { $0 >= 0 }) { rarities.putBackWhole += 1 } else { rarities.salvages += 1 }
        }
    }
}
