/// A ratio that a run must not exceed.
struct Bar: Sendable {
    var name: String
    /// The case beside which the table shows it.
    var place: String
    var limit: Double
    /// The ratio; nil when an engine or a case it needs was not measured.
    var value: @Sendable (Results) -> Double?

    static let all: [Bar] =
        ["drain-64", "drain-2048"].flatMap { name in
            [
                against("c-uring", in: name, limit: 1.15),
                against("c-epoll-read", in: name, limit: 1.0 / 6),
            ]
        } + [
            Bar(name: "wake-spin-1 ÷ best C spin", place: "wake-spin-1", limit: 1.1) { results in
                bestSpin(results).flatMap { results.ratio(results.values("wake-spin-1", Results.ours), $0) }
            },
            against("spin-read", in: "wake-spin-64", limit: 0.25),
            acrossCases("wake-spin-64", "wake-spin-1", limit: 1.25),
            against("blocking-read", in: "wake-block", limit: 1.1),
            against("blocking-read", in: "kvm-loop-block", limit: 1.1),
            acrossCases("drain-2048", "drain-64", limit: 1.25),
            against("irqfd-cycle", in: "mask-guest", limit: 0.1),
            against("irqfd-cycle", in: "mask-msix", limit: 0.1),
            against("swift-handler", in: "c-callback", limit: 1.05),
            value("msix-unchanged", "ns", limit: 50),
            value("msix-enable-2048", "SET_IRQS", limit: 2048),
            value("msix-commits-2048", "commits", limit: 12),
            acrossCases("storm-block", "quiet-block", limit: 3),
            acrossCases("storm-spin", "quiet-spin", limit: 3),
            Bar(name: "routing-2048, commits", place: "routing-2048", limit: 1) { results in
                results.values("routing-2048", Results.ours).max()
            },
        ]

    private static func against(_ engine: String, in name: String, limit: Double) -> Bar {
        Bar(name: "\(name) ÷ \(engine)", place: name, limit: limit) { results in
            results.ratio(results.values(name, Results.ours), results.values(name, engine))
        }
    }

    /// The case's own value: a count, or a time too short for a peer to have a part in it.
    private static func value(_ name: String, _ unit: String, limit: Double) -> Bar {
        Bar(name: "\(name), \(unit)", place: name, limit: limit) { results in
            let values = results.values(name, Results.ours)
            return values.isEmpty ? nil : values.percentile(50)
        }
    }

    private static func acrossCases(_ first: String, _ second: String, limit: Double) -> Bar {
        Bar(name: "\(first) ÷ \(second)", place: first, limit: limit) { results in
            results.ratio(results.values(first, Results.ours), results.values(second, Results.ours))
        }
    }

    /// The values of the C engine whose spinning has the lowest median at one source.
    private static func bestSpin(_ results: Results) -> [Double]? {
        ["c-uring", "c-uring-enter", "c-epoll-read", "c-epoll-et", "spin-read"]
            .map { results.values("wake-spin-1", $0) }
            .filter { !$0.isEmpty }
            .min { $0.percentile(50) < $1.percentile(50) }
    }
}

/// What became of a bar.
struct Verdict: Sendable {
    var bar: Bar
    var value: Double
    var passes: Bool { value <= bar.limit }

    static func all(of results: Results) -> [Verdict] {
        Bar.all.compactMap { bar in bar.value(results).map { Verdict(bar: bar, value: $0) } }
    }
}
