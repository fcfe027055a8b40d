/// The engines of this build, ours first.
enum Registry {
    static let kinds: [EngineKind] =
        [EventLoopEngine.kind] + CEngine.kinds
        + [DispatchEngine.kind, MuxMeasurement.irqfdCycle, MuxMeasurement.setIRQs, CallbackMeasurement.swiftHandler]

    static var names: [String] { kinds.map(\.name) }

    /// The kinds that `names` choose (all when empty) and that can be used here; says loudly which cannot.
    static func usable(_ names: [String]) -> [EngineKind] {
        let chosen = names.isEmpty ? kinds : kinds.filter { names.contains($0.name) }
        for kind in chosen { kind.missing.map { Progress.note("left out: \(kind.name): \($0)") } }
        return chosen.filter { $0.missing == nil }
    }
}
