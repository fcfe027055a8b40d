import CKernel
import EventRing
import Exerciser
import Foundation
import IRQMux
import InterruptModel

/// Fires signals at a group of loops while everything that can change about a vector changes at random, and then asks
/// where each signal went.
///
/// In rounds: at the end of each, nobody raises, every vector is opened, and the last signal of each must have reached
/// somebody. The ledger alone cannot tell a lost signal from a coalesced one; this can.
struct Soak {
    /// What a vector's signals may be routed to; one of them is drawn at each switch.
    struct RouteKind: Sendable {
        let name: String
        let make: @Sendable (_ vector: Int, _ targets: Targets) -> Route
    }

    static let userRoutes = [
        RouteKind(name: "handler") { _, _ in .handler },
        RouteKind(name: "fanOut") { vector, targets in .fanOut([targets.counted[vector].number]) },
        RouteKind(name: "fanOut, batched") { vector, targets in
            .fanOut(targets.others.map(\.number) + [targets.counted[vector].number])
        },
        RouteKind(name: "parked") { _, _ in .parked },
    ]

    /// Twice each, so that half of what is drawn leads into the guest.
    static let guestRoutes = [
        RouteKind(name: "guest") { vector, targets in .guest(targets.gsis[vector]) },
        RouteKind(name: "detour") { vector, targets in .detour(targets.gsis[vector]) },
        RouteKind(name: "guest") { vector, targets in .guest(targets.gsis[vector]) },
        RouteKind(name: "detour") { vector, targets in .detour(targets.gsis[vector]) },
    ]

    var signals: UInt64
    var seed: UInt64
    var loops = 2
    var vectors = 64
    var raisers = 2
    var tier = RingTier.deferred
    var schedule = Schedule.arrival
    /// Where routes into the guest lead; without one they are left out.
    var guest: SoakGuest?
    /// Signals from one look at what arrived to the next: drawn, from 64 up to this many, short rounds as often as long
    /// ones. A signal that is lost shows when it was its vector's last of a round; so there are many rounds.
    var longestRound: UInt64 = 32_768
    /// Told now and then how many signals have been raised.
    var progress: (UInt64) -> Void = { _ in }

    var routes: [RouteKind] { guest == nil ? Self.userRoutes : Self.userRoutes + Self.guestRoutes }

    /// Runs to the end.
    ///
    /// - Throws: What the mux, the loop or the device refuses: nothing of it is expected.
    func run() throws -> SoakResult {
        var configuration = ExerciserConfiguration()
        configuration.msix = UInt32(vectors)
        let device = try Exerciser(configuration)
        let records = (0..<vectors).map { _ in VectorRecord() }
        let group = try MuxGroup(options, cpus: [Int?](repeating: nil, count: loops)) { _ in
            SoakHandler(device: device, records: records)
        }
        let targets = try Targets(count: vectors, gsis: try guest?.attach(to: group.remote) ?? [])
        let listener = try LoopThread(
            handler: TargetHandler(device: device, records: records)
        ) { (loop, _) throws(RingError) in
            for vector in 0..<records.count {
                _ = try loop.add(targets.counted[vector].number, tag: UInt64(vector), delivery: .counted)
            }
        }
        let attached = try group.remote.attach(device)
        let ids = try group.remote.connect(attached, .msix, 0..<UInt32(vectors))
        var director = Director(soak: self, group: group.remote, ids: ids, targets: targets)
        var audit = Audit(soak: self, group: group.remote, device: device, attached: attached, ids: ids)
        var (raised, round, random) = (UInt64(0), UInt64(0), SplitMix(seed: seed))
        while raised < signals, !audit.hasGivenUp {
            let length = min(UInt64(64) << random.below(10), longestRound, signals - raised)
            let fire = Raisers(device: device, soak: self, signals: length, round: round)
            try director.direct(while: fire) { progress(raised + $0) }
            try director.openEverything(intoGuest: guest != nil && round % 2 == 1)
            audit.lost += try audit.settle(records)
            (raised, round) = (raised + length, round + 1)
        }
        let result = try audit.result(records, changes: director.changes, rounds: round)
        group.stop { _, _ in }
        _ = listener.stop()
        return result
    }

    private var options: MuxOptions {
        var options = MuxOptions()
        options.loop.capacity = vectors * 2
        options.loop.bestTier = tier
        options.fanOutTargets = vectors * (Targets.batch + 4)
        options.batchedFanOut = 4
        options.schedule = schedule
        options.silenceAfter = 8
        return options
    }
}

/// Where to route to: eventfds to fan out to, one of each vector's own and some more to make a batch; and GSIs.
final class Targets: Sendable {
    static let batch = 7
    let counted: [SharedEventFD]
    let others: [SharedEventFD]
    /// Empty without a guest.
    let gsis: [GSI]

    init(count: Int, gsis: [GSI]) throws {
        counted = try (0..<count).map { _ in try SharedEventFD() }
        others = try (0..<Self.batch).map { _ in try SharedEventFD() }
        self.gsis = gsis
    }
}

/// An eventfd where an array can hold it.
final class SharedEventFD: Sendable {
    private let eventfd: EventFD
    init() throws { eventfd = try EventFD() }
    var number: Int32 { eventfd.number }
}

/// Changes things while the raisers raise.
struct Director {
    let soak: Soak
    let group: MuxGroupRemote
    let ids: [GroupVectorID]
    let targets: Targets
    private var random: SplitMix
    private(set) var changes: UInt64 = 0

    init(soak: Soak, group: MuxGroupRemote, ids: [GroupVectorID], targets: Targets) {
        self.soak = soak
        self.group = group
        self.ids = ids
        self.targets = targets
        random = SplitMix(seed: soak.seed)
    }

    mutating func direct(while raisers: Raisers, _ progress: (UInt64) -> Void) throws {
        let before = changes
        while !raisers.areDone {
            try change()
            if changes % 4096 == 0 { progress(raisers.count) }
        }
        // However few the signals were, everything has been tried.
        while changes < before + 64 { try change() }
    }

    private mutating func change() throws {
        let vector = random.below(ids.count)
        switch random.below(8) {
        case 0, 1: try group.move(ids[vector], to: random.below(soak.loops))
        case 2: try group.mask(ids[vector])
        case 3, 4: try group.unmask(ids[vector])
        default:
            let routes = soak.routes
            try group.route(ids[vector], to: routes[random.below(routes.count)].make(vector, targets))
        }
        changes += 1
    }

    /// What is held goes to the handler, or into the guest.
    func openEverything(intoGuest: Bool) throws {
        for (vector, id) in ids.enumerated() {
            try group.route(id, to: intoGuest ? .guest(targets.gsis[vector]) : .handler)
            try group.unmask(id)
        }
    }
}
