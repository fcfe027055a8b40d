import CKernel
import EventRing
import Exerciser
import Foundation
import IRQMux
import InterruptModel
import Synchronization

/// Fires signals at a group of loops while everything that can change about a vector changes at random, and then asks
/// where each signal went.
struct Soak {
    /// What a vector's signals may be routed to; one of them is drawn at each switch.
    struct RouteKind: Sendable {
        let name: String
        let make: @Sendable (_ vector: Int, _ targets: Targets) -> Route
    }

    static let routes = [
        RouteKind(name: "handler") { _, _ in .handler },
        RouteKind(name: "fanOut") { vector, targets in .fanOut([targets.counted[vector].number]) },
        RouteKind(name: "fanOut, batched") { vector, targets in
            .fanOut(targets.others.map(\.number) + [targets.counted[vector].number])
        },
        RouteKind(name: "parked") { _, _ in .parked },
    ]

    var signals: UInt64
    var seed: UInt64
    var loops = 2
    var vectors = 64
    var raisers = 2
    var tier = RingTier.deferred
    var schedule = Schedule.arrival
    /// Told now and then how many signals have been raised.
    var progress: (UInt64) -> Void = { _ in }

    /// Runs to the end.
    ///
    /// - Throws: What the mux, the loop or the device refuses: nothing of it is expected.
    func run() throws -> SoakResult {
        var configuration = ExerciserConfiguration()
        configuration.msix = UInt32(vectors)
        let device = try Exerciser(configuration)
        let records = (0..<vectors).map { _ in VectorRecord() }
        let targets = try Targets(count: vectors)
        let listener = try LoopThread(
            handler: TargetHandler(device: device, records: records)
        ) { (loop, _) throws(RingError) in
            for vector in 0..<records.count {
                _ = try loop.add(targets.counted[vector].number, tag: UInt64(vector), delivery: .counted)
            }
        }
        var options = MuxOptions()
        options.loop.capacity = vectors * 2
        options.loop.bestTier = tier
        options.fanOutTargets = vectors * (Targets.batch + 4)
        options.batchedFanOut = 4
        options.schedule = schedule
        options.silenceAfter = 8
        let group = try MuxGroup(options, cpus: [Int?](repeating: nil, count: loops)) { _ in
            SoakHandler(device: device, records: records)
        }
        let attached = try group.remote.attach(device)
        let ids = try group.remote.connect(attached, .msix, 0..<UInt32(vectors))
        var director = Director(soak: self, group: group.remote, ids: ids, targets: targets)
        try director.direct(while: Raisers(device: device, soak: self))
        try director.openEverything()
        let ledger = try settle(group.remote, attached, device, records)
        let perVector = try ids.map { try group.remote.ledger($0) }
        let moves = group.remote.moves
        group.stop { _, _ in }
        _ = listener.stop()
        return SoakResult(ledger, perVector, records, device, changes: director.changes, moves: moves)
    }

    /// Waits until all that was raised has been told, or for so long that it never will be.
    private func settle(
        _ group: MuxGroupRemote, _ attached: GroupDeviceID, _ device: Exerciser, _ records: [VectorRecord]
    ) throws -> Ledger {
        let deadline = irqmux_monotonic_ns() + 10_000_000_000
        while true {
            usleep(20_000)
            let ledger = try group.ledger(attached)
            let told = records.reduce(0) { $0 + $1.received.load(ordering: .relaxed) }
            let isQuiet = ledger.pending == 0 && ledger.delivered == told
            let isComplete = records.enumerated().allSatisfy { $1.hasSeen(device, $0) }
            if isQuiet && isComplete || irqmux_monotonic_ns() > deadline { return ledger }
        }
    }
}

/// Eventfds to fan out to: one of each vector's own, and some more to make a batch.
final class Targets: Sendable {
    static let batch = 7
    let counted: [SharedEventFD]
    let others: [SharedEventFD]

    init(count: Int) throws {
        counted = try (0..<count).map { _ in try SharedEventFD() }
        others = try (0..<Self.batch).map { _ in try SharedEventFD() }
    }
}

/// An eventfd where an array can hold it.
final class SharedEventFD: Sendable {
    private let eventfd: EventFD
    init() throws { eventfd = try EventFD() }
    var number: Int32 { eventfd.number }
}

/// What was told of one vector, by whichever thread.
final class VectorRecord: Sendable {
    let received = Atomic<UInt64>(0)
    /// The device's count at the latest delivery: when it is not the last in the end, the last signal was lost. A
    /// stronger test than the ledger, which cannot tell a lost signal from a coalesced one.
    let seen = Atomic<UInt64>(0)
    let failures = Atomic<UInt64>(0)

    func tell(_ count: UInt64, _ device: Exerciser, _ vector: Int) {
        received.wrappingAdd(count, ordering: .relaxed)
        seen.max(device.raisedCount(Vector(.msix, UInt32(vector))) ?? 0, ordering: .relaxed)
    }

    func hasSeen(_ device: Exerciser, _ vector: Int) -> Bool {
        seen.load(ordering: .relaxed) == device.raisedCount(Vector(.msix, UInt32(vector)))
    }
}

struct SoakHandler: VectorHandler {
    let device: Exerciser
    let records: [VectorRecord]

    mutating func handle(_ event: VectorEvent, on mux: inout Mux) {
        let vector = Int(event.tag)
        guard event.kind == .interrupt else {
            records[vector].failures.wrappingAdd(1, ordering: .relaxed)
            return
        }
        records[vector].tell(1, device, vector)
    }
}

struct TargetHandler: EventHandler {
    let device: Exerciser
    let records: [VectorRecord]

    mutating func handle(_ event: Event, on loop: inout EventLoop) {
        let vector = Int(event.tag)
        guard event.kind == .signal else {
            records[vector].failures.wrappingAdd(1, ordering: .relaxed)
            return
        }
        records[vector].tell(event.count, device, vector)
    }
}

/// Threads that raise.
final class Raisers: Sendable {
    private let group = DispatchGroup()
    private let raised = Atomic<UInt64>(0)

    init(device: Exerciser, soak: Soak) {
        for number in 0..<soak.raisers {
            let share = soak.signals / UInt64(soak.raisers)
            let count = number == 0 ? soak.signals - share * UInt64(soak.raisers - 1) : share
            let (seed, vectors) = (soak.seed &* 1000 &+ UInt64(number), soak.vectors)
            group.enter()
            Thread { [self] in
                raise(count, SplitMix(seed: seed), device, vectors)
                group.leave()
            }.start()
        }
    }

    /// Bursts on one vector, single signals, and now and then a silence in which the loops fall asleep.
    private func raise(_ count: UInt64, _ random: SplitMix, _ device: Exerciser, _ vectors: Int) {
        var (random, left) = (random, count)
        while left > 0 {
            let vector = Vector(.msix, UInt32(random.below(vectors)))
            let burst = min(left, random.below(8) == 0 ? UInt64(1 + random.below(64)) : 1)
            for _ in 0..<burst { device.raise(vector) }
            left -= burst
            raised.wrappingAdd(burst, ordering: .relaxed)
            if random.below(64) == 0 { usleep(UInt32(random.below(60))) }
        }
    }

    var count: UInt64 { raised.load(ordering: .relaxed) }

    /// Whether all is raised.
    var areDone: Bool { group.wait(timeout: .now()) == .success }
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

    mutating func direct(while raisers: Raisers) throws {
        while !raisers.areDone {
            try change()
            if changes % 4096 == 0 { soak.progress(raisers.count) }
        }
        // However few the signals were, everything has been tried.
        while changes < 64 { try change() }
    }

    private mutating func change() throws {
        let vector = random.below(ids.count)
        switch random.below(8) {
        case 0, 1, 2: try group.move(ids[vector], to: random.below(soak.loops))
        case 3: try group.mask(ids[vector])
        case 4, 5: try group.unmask(ids[vector])
        default: try group.route(ids[vector], to: Soak.routes[random.below(Soak.routes.count)].make(vector, targets))
        }
        changes += 1
    }

    func openEverything() throws {
        for id in ids {
            try group.route(id, to: .handler)
            try group.unmask(id)
        }
    }
}

/// A generator whose whole state is one number, so that a failing run is named by its seed.
struct SplitMix: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = (state ^ (state >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
}
