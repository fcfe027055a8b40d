internal import EventRing
internal import IRQMux

/// The stages of one vector at one moment.
struct StageSnapshots: Sendable {
    private let snapshots: [HistogramSnapshot]

    init(_ histograms: StageHistograms) { snapshots = Stage.allCases.map { histograms.snapshot($0) } }

    /// Every stage of all vectors together, in the order in which a signal goes through them, without what was recorded
    /// before `earlier`. Without an earlier moment measuring never began, and there is nothing.
    static func series(_ histograms: [StageHistograms], since earlier: [StageSnapshots]?) -> [LatencySeries] {
        let now = histograms.map { StageSnapshots($0) }
        return Stage.allCases.enumerated().map { place, stage in
            var sum = HistogramSnapshot()
            for (vector, before) in (earlier ?? []).enumerated() {
                sum.merge(now[vector].snapshots[place].since(before.snapshots[place]))
            }
            return LatencySeries(name: "\(stage.name)", snapshot: sum)
        }
    }
}
