import CKernel
import EventRing
import Exerciser
import Foundation
import IRQMux
import InterruptModel
import Synchronization

/// What was told of one vector to this process, by whichever thread.
final class VectorRecord: Sendable {
    let received = Atomic<UInt64>(0)
    /// The device's count at the latest delivery: when it is not the last in the end, the last signal was lost.
    let seen = Atomic<UInt64>(0)
    let failures = Atomic<UInt64>(0)

    func tell(_ count: UInt64, _ device: Exerciser, _ vector: Int) {
        received.wrappingAdd(count, ordering: .relaxed)
        seen.max(device.raisedCount(Vector(.msix, UInt32(vector))) ?? 0, ordering: .relaxed)
    }

    func hasSeenLast(_ device: Exerciser, _ vector: Int) -> Bool {
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

/// Compares what was raised with what arrived.
struct Audit {
    let soak: Soak
    let group: MuxGroupRemote
    let device: Exerciser
    let attached: GroupDeviceID
    let ids: [GroupVectorID]
    /// Vectors whose last signal of a round reached nobody, of all rounds.
    var lost: UInt64 = 0
    /// A round never became quiet: there is no sense in another one.
    private(set) var hasGivenUp = false

    /// Waits until the last signal of every vector has reached somebody and nothing is pending, or for so long that it
    /// never will. How many vectors' last signals are missing.
    mutating func settle(_ records: [VectorRecord]) throws -> UInt64 {
        let deadline = irqmux_monotonic_ns() + 10_000_000_000
        while true {
            let missing = records.indices.count { !hasArrived(records, $0) }
            let isQuiet = try missing == 0 && group.ledger(attached).pending == 0 && isToldOf(records)
            hasGivenUp = irqmux_monotonic_ns() > deadline || soak.guest?.exit != nil
            if isQuiet || hasGivenUp { return UInt64(missing) }
            usleep(2_000)
        }
    }

    private func hasArrived(_ records: [VectorRecord], _ vector: Int) -> Bool {
        records[vector].hasSeenLast(device, vector) || soak.guest?.hasSeenLast(vector) ?? false
            || device.raisedCount(Vector(.msix, UInt32(vector))) == 0
    }

    /// Whether everything that the loops wrote to eventfds has been counted by who listens to them.
    private func isToldOf(_ records: [VectorRecord]) throws -> Bool {
        for (vector, id) in ids.enumerated() {
            let received = records[vector].received.load(ordering: .relaxed)
            if try group.deliveries(of: id).toUser != received { return false }
        }
        return true
    }

    func result(_ records: [VectorRecord], changes: UInt64, rounds: UInt64) throws -> SoakResult {
        soak.guest?.awaitCalm()
        var result = SoakResult(try group.ledger(attached))
        (result.lost, result.changes, result.rounds, result.moves) = (lost, changes, rounds, group.moves)
        result.guestExit = soak.guest?.exit.map { "\($0)" }
        for (vector, id) in ids.enumerated() {
            let deliveries = try group.deliveries(of: id)
            result.compare(
                deliveries, received: records[vector].received.load(ordering: .relaxed),
                runs: soak.guest?.runs(vector) ?? 0,
                raised: device.raisedCount(Vector(.msix, UInt32(vector))) ?? 0)
            result.failures += records[vector].failures.load(ordering: .relaxed)
        }
        return result
    }
}
