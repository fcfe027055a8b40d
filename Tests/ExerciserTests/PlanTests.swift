import CKernel
import EventRing
import Foundation
import InterruptModel
import Synchronization
import TestSupport
import Testing

@testable import Exerciser

@Suite("The device keeps its plans")
struct PlanTests {
    private final class Countdown: Sendable {
        let left: Atomic<Int>
        init(_ count: Int) { left = Atomic(count) }
    }

    static func ready(_ count: Int) throws -> (Exerciser, EventFDs) {
        let device = try Exerciser()
        let events = try EventFDs(count)
        try device.assign(.msix, events.numbers)
        return (device, events)
    }

    @Test("every pattern raises what its plan foretells", arguments: RaisePlan.Pattern.allCases)
    func patterns(_ pattern: RaisePlan.Pattern) throws {
        let (device, events) = try Self.ready(8)
        let plan = RaisePlan(Vector(.msix, 2), width: 5, pattern, count: 1000, seed: 42)
        var expected = [UInt64](repeating: 0, count: 8)
        for tick in 0..<plan.count { for number in plan.vectors(atTick: tick) { expected[Int(number)] += 1 } }
        try device.start(plan)
        device.waitUntilIdle()
        #expect(device.ticksDone == 1000 && !device.isBusy)
        #expect(try events.takeAll() == expected)
        for number in 0..<8 { #expect(device.raisedCount(Vector(.msix, UInt32(number))) == expected[number]) }
        #expect(pattern == .single || expected[2..<7].allSatisfy { $0 > 100 })
    }

    @Test("random draws the same lots from the same seed, and others from another")
    func seeds() {
        func draw(_ seed: UInt64) -> [UInt32] {
            let plan = RaisePlan(Vector(.msix, 0), width: 64, .random, count: 100, seed: seed)
            return (0..<100).map { plan.vectors(atTick: $0).lowerBound }
        }
        #expect(draw(1) == draw(1))
        #expect(draw(1) != draw(2))
    }

    @Test("ticks are due at start + k × interval, also those that come late")
    func schedule() throws {
        let (device, _) = try Self.ready(4)
        let begin = irqmux_monotonic_ns()
        try device.start(RaisePlan(Vector(.msix, 0), width: 4, .roundRobin, count: 40, intervalNs: 100_000))
        device.waitUntilIdle()
        let last = (0..<4).map { device.lastRaise(Vector(.msix, $0)) }
        for number in 0..<3 { #expect(last[number + 1].intendedNs - last[number].intendedNs == 100_000) }
        #expect(last.allSatisfy { $0.sequence == 10 })
        #expect(last[0].intendedNs >= begin + 36 * 100_000)
        #expect(irqmux_monotonic_ns() >= last[3].intendedNs)
    }

    @Test("ticks that cannot be kept are raised all the same, and counted as late")
    func late() throws {
        let (device, events) = try Self.ready(1)
        try device.start(RaisePlan(Vector(.msix, 0), count: 20_000, intervalNs: 1))
        device.waitUntilIdle()
        #expect(device.ticksDone == 20_000 && device.ticksLate > 0)
        #expect(try events.take(0) == 20_000)
    }

    @Test("sequence number and due time of a signal are never torn")
    func lastRaiseIsWhole() throws {
        let (device, _) = try Self.ready(1)
        let vector = Vector(.msix, 0)
        // One nanosecond an interval: due time and sequence number grow in step, so their difference is constant.
        try device.start(RaisePlan(vector, count: 200_000, intervalNs: 1))
        var differences: Set<UInt64> = []
        var sequences: Set<UInt64> = []
        repeat {
            let last = device.lastRaise(vector)
            guard last.sequence > 0 else { continue }
            differences.insert(last.intendedNs - last.sequence)
            sequences.insert(last.sequence)
        } while device.isBusy
        #expect(differences.count == 1)
        #expect(sequences.count > 1)
    }

    @Test("a stamp that is read while it is written is read again")
    func stampIsWhole() {
        final class Shared: Sendable {
            let record = VectorRecord()
            let writing = Atomic<Bool>(true)
            let torn = Atomic<Int>(0)
        }
        let shared = Shared()
        inParallel(2) { worker in
            if worker == 0 {
                for sequence in 1...500_000 as ClosedRange<UInt64> { _ = shared.record.stamp(sequence &* 1000) }
                shared.writing.store(false, ordering: .releasing)
            } else {
                while shared.writing.load(ordering: .acquiring) {
                    let last = shared.record.last()
                    if last.intendedNs != last.sequence &* 1000 { shared.torn.add(1, ordering: .relaxed) }
                }
            }
        }
        #expect(shared.torn.load(ordering: .relaxed) == 0)
        #expect(shared.record.last() == (500_000, 500_000_000))
    }

    @Test("a reset ends the run in progress")
    func resetStops() throws {
        let (device, _) = try Self.ready(1)
        try device.start(RaisePlan(Vector(.msix, 0), count: 1 << 60))
        try device.reset()
        #expect(!device.isBusy)
    }

    @Test("the stamp of a signal is there when its eventfd wakes somebody")
    func stampBeforeSignal() throws {
        let (device, events) = try Self.ready(1)
        let vector = Vector(.msix, 0)
        try device.start(RaisePlan(vector, count: 2000, intervalNs: 2000))
        var taken: UInt64 = 0
        while taken < 2000 {
            let count = try events.take(0)
            taken += count
            if count > 0 { #expect(device.lastRaise(vector).sequence >= taken) }
        }
        device.waitUntilIdle()
        #expect(device.lastRaise(vector).sequence == 2000)
    }

    @Test("a run is stopped in its sleep and in its storm")
    func stop() throws {
        let (device, _) = try Self.ready(2)
        try device.start(RaisePlan(Vector(.msix, 0), count: 3, intervalNs: 3_600_000_000_000))
        eventually("no first tick") { device.ticksDone == 1 }
        device.stop()
        #expect(!device.isBusy && device.ticksDone == 1)
        try device.start(RaisePlan(Vector(.msix, 0), width: 2, .storm, count: 1 << 60))
        eventually("no tick") { device.ticksDone > 0 }
        device.stop()
        #expect(!device.isBusy)
    }

    @Test("a stop ends a run that others wait for, and one that is started meanwhile")
    func stopAgainstWaitAndStart() throws {
        let (device, _) = try Self.ready(1)
        let forEver = RaisePlan(Vector(.msix, 0), count: 1 << 60)
        for _ in 0..<20 {
            try device.start(forEver)
            inParallel(3) { worker in
                switch worker {
                case 0: device.waitUntilIdle()
                case 1: device.stop()
                default: try? device.start(forEver)
                }
                // The run that worker 2 may have started after the stop is nobody's but this one's to end.
                if worker == 2 { device.stop() }
            }
            device.stop()
            #expect(!device.isBusy)
        }
    }

    @Test("one run at a time")
    func busy() throws {
        let (device, _) = try Self.ready(1)
        let long = RaisePlan(Vector(.msix, 0), count: 10, intervalNs: 1_000_000_000)
        try device.start(long)
        #expect(throws: DeviceError("start raising", errno: EBUSY)) { try device.start(long) }
        device.stop()
        try device.start(RaisePlan(Vector(.msix, 0), count: 1))
        device.waitUntilIdle()
        #expect(device.ticksDone == 1)
    }

    @Test(
        "impossible plans are refused",
        arguments: [
            RaisePlan(Vector(.msix, 64), count: 1), RaisePlan(Vector(.msix, 0), width: 65, count: 1),
            RaisePlan(Vector(.msix, 0), width: 0, count: 1), RaisePlan(Vector(.msix, .max), width: 2, count: 1),
            RaisePlan(Vector(.msix, 0), count: .max, intervalNs: 2),
            RaisePlan(Vector(.err, 0), width: 2, .storm, count: 1),
        ])
    func impossible(_ plan: RaisePlan) throws {
        let device = try Exerciser()
        #expect(throws: DeviceError("start raising", errno: EINVAL)) { try device.start(plan) }
        #expect(!device.isBusy)
    }

    @Test("a device that goes while it raises ends its run")
    func goesWhileRaising() throws {
        let events = try EventFDs(1)
        do {
            let device = try Exerciser()
            try device.assign(.msix, events.numbers)
            try device.start(RaisePlan(Vector(.msix, 0), count: 1 << 40))
            eventually("no tick") { device.ticksDone > 0 }
        }
        #expect(descriptors(toEventFDBehind: events.numbers[0]) == 1)
    }

    @Test("raises from several threads while assignments change: every signal is somewhere, and the ledger closes")
    func concurrent() throws {
        let (device, events) = try Self.ready(3)
        let vector = Vector(.msix, 0)
        let raising = Countdown(3)
        inParallel(4) { worker in
            if worker < 3 {
                for _ in 0..<20_000 { device.raise(vector) }
                raising.left.subtract(1, ordering: .releasing)
            } else {
                var turn = 0
                while raising.left.load(ordering: .acquiring) > 0 {
                    let number = turn % 4 == 3 ? -1 : events.numbers[turn % 4]
                    #expect(device.errno(of: IRQRequest(.msix, .trigger, .eventfd([number]))) == 0)
                    turn += 1
                }
            }
        }
        let ledger = device.ledger(vector)
        #expect(ledger.unexplained == 0 && ledger.raised == 60_000)
        #expect(try events.takeAll().reduce(0, +) == ledger.delivered)
        #expect(device.raisedCount(vector) == ledger.delivered)
    }

    @Test(
        "a raise allocates nothing, whether it signals, pends or is dropped",
        .enabled(if: allocationsAreCounted, "allocations are not counted under a sanitizer"))
    func noAllocation() throws {
        let (device, events) = try Self.ready(1)
        try device.assign(.err, events.numbers)
        let vectors = [Vector(.msix, 0), Vector(.msix, 9), Vector(.msi, 0), Vector(.err, 0), Vector(.req, 0)]
        for vector in vectors {
            device.raise(vector)
            let count = allocations { for _ in 0..<100 as Range<Int> { device.raise(vector) } }
            #expect(count == 0, "\(vector)")
        }
    }
}
