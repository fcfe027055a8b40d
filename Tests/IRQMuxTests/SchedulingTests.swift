import CKernel
import EventRing
import Exerciser
import IRQMux
import InterruptModel
import TestSupport
import Testing

@Suite("Schedules", .timeLimit(.minutes(5)))
struct SchedulingTests {
    @Test("strict: by priority, in order of arrival within one")
    func strict() throws {
        let rig = try Rig(.strict)
        var mux = rig.mux.take()!
        for (vector, priority) in [7, 0, 4, 4, 0, 3].enumerated() { try mux.setPriority(rig.ids[vector], priority) }
        for vector in 0..<6 { rig.raise(vector) }
        #expect(try mux.settle().map(\.vector.number) == [1, 4, 5, 2, 3, 0])
    }

    @Test("round robin: in order of arrival, one turn each, and a look after the budget")
    func roundRobin() throws {
        let rig = try Rig(.roundRobin(budget: 2))
        var mux = rig.mux.take()!
        for vector in [3, 1, 2, 1, 3, 3] { rig.raise(vector) }
        try mux.wait(timeout: 0)
        #expect([mux.next(), mux.next(), mux.next()].map { $0?.vector.number } == [3, 1, nil])
        // What comes now is seen by the look, behind what waits; what is handed out already begins anew.
        rig.raise(3)
        rig.raise(0)
        try mux.wait()
        #expect([mux.next(), mux.next(), mux.next()].map { $0?.vector.number } == [2, 3, nil])
        try mux.wait()
        #expect([mux.next(), mux.next()].map { $0?.vector.number } == [0, nil])
        expectSettled(try mux.ledger(rig.attached), raised: 8)
        #expect(mux.scheduleCounts.looks == 2)
    }

    @Test("weighted: storming vectors are handed out in proportion to their weights")
    func weights() throws {
        let rig = try Rig(.weighted)
        var mux = rig.mux.take()!
        for (vector, weight) in [3, 1, 2].enumerated() { try mux.setWeight(rig.ids[vector], weight) }
        var order: [UInt32] = []
        for vector in 0..<3 { rig.raise(vector) }
        while order.count < 60 {
            try mux.wait(timeout: 0)
            while let event = mux.next(), order.count < 60 {
                order.append(event.vector.number)
                // The storm: ready again before the next look.
                rig.raise(Int(event.vector.number))
            }
        }
        #expect(Array(order[0..<12]) == [0, 0, 0, 1, 2, 2, 0, 0, 0, 1, 2, 2])
        let counts = (0..<3 as Range<UInt32>).map { vector in order.count { $0 == vector } }
        #expect(counts == [30, 10, 20])
    }

    @Test(
        "a storm does not keep a quiet vector waiting for longer than the schedule says",
        arguments: [(Schedule.strict, 8), (.weighted, 8 + 7 * 2), (.roundRobin(budget: 4), 4 + 7)])
    func starvation(schedule: Schedule, bound: Int) throws {
        for storm in [1, 2, 5, 20] {
            let rig = try Rig(schedule)
            var mux = rig.mux.take()!
            for vector in 1..<8 { try mux.setWeight(rig.ids[vector], 2) }
            try mux.setPriority(rig.ids[0], 0)
            for round in 0..<50 {
                var before = 0
                var told = false
                var raised: Int?
                for vector in 1..<8 { rig.raise(vector) }
                var steps = 0
                while !told, steps < 1000 {
                    steps += 1
                    try mux.wait(timeout: 0)
                    while let event = mux.next(), !told {
                        if event.vector.number == 0 { told = true } else { before += 1 }
                        if raised == nil, before > round % 9 {
                            raised = before
                            rig.raise(0)
                        }
                        for _ in 0..<storm where !told { rig.raise(Int(event.vector.number)) }
                    }
                }
                #expect(told, "the quiet vector starves")
                #expect(before - (raised ?? 0) <= bound, "\(schedule), \(storm) signals at a time, round \(round)")
                try mux.settle()
            }
            let ledger = try mux.ledger(rig.attached)
            #expect(ledger.unexplained == 0 && ledger.pending == 0, "\(ledger)")
        }
    }

    @Test("what is ready already is coalesced, and the account closes", arguments: [Schedule.strict, .weighted])
    func coalescing(schedule: Schedule) throws {
        let rig = try Rig(schedule)
        var mux = rig.mux.take()!
        try mux.route(rig.ids[1], to: .parked)
        for _ in 0..<3 { for vector in 0..<3 { rig.raise(vector) } }
        try mux.wait(timeout: 0)
        #expect(mux.next()?.vector.number == 0)
        // Ready and not handed out: a mask holds it, a route releases it.
        try mux.mask(rig.ids[2])
        rig.raise(2)
        #expect(try mux.settle().isEmpty)
        #expect(try mux.isPending(rig.ids[2]))
        try mux.unmask(rig.ids[2])
        try mux.route(rig.ids[1], to: .handler)
        #expect(Set(try mux.settle().map(\.vector.number)) == [1, 2])
        expectSettled(try mux.ledger(rig.attached), raised: 10)
    }

    @Test("a vector that is disconnected while it is ready leaves its place and its settings")
    func disconnected() throws {
        let rig = try Rig(.strict)
        var mux = rig.mux.take()!
        try mux.setPriority(rig.ids[5], 0)
        for vector in 0..<8 { rig.raise(vector) }
        try mux.wait(timeout: 0)
        #expect(mux.next()?.vector.number == 5)
        for vector in [0, 3, 7] { try mux.disconnect(rig.ids[vector]) }
        #expect(try mux.settle().map(\.vector.number) == [1, 2, 4, 6])
        try mux.disconnect(rig.ids[5])
        try mux.settle()
        let again = try mux.connect(rig.attached, .msix, 5..<6)
        for vector in [1, 5] { rig.raise(vector) }
        #expect(try mux.settle().map(\.vector.number) == [1, 5], "the new vector has the usual priority")
        #expect(errno { () throws(MuxError) in try mux.setPriority(again[0], 8) } == EINVAL)
        #expect(errno { () throws(MuxError) in try mux.setWeight(again[0], 0) } == EINVAL)
        #expect(errno { () throws(MuxError) in try mux.setWeight(rig.ids[5], 1) } == ENOENT)
    }

    @Test("INTx, timers and sources of one's own pass under every schedule")
    func others() throws {
        let device = try Exerciser()
        var options = smallOptions()
        options.schedule = .weighted
        var mux = try Mux(options)
        let attached = try mux.attach(device)
        try mux.connect(attached, .intx, 0..<1)
        let own = try EventFD()
        _ = try mux.addSource(own.number, tag: 5)
        _ = try mux.addTimer(after: 1, tag: 6)
        try own.signal()
        device.assertINTx()
        var kinds: [VectorEvent.Kind] = []
        try eventually {
            for event in try mux.settle({ _, _ in device.acknowledgeINTx() }) { kinds.append(event.kind) }
            return kinds.count >= 3
        }
        #expect(kinds.count == 3)
        #expect([.interrupt, .timer, .source].allSatisfy { kinds.contains($0) })
        expectSettled(try mux.ledger(attached), raised: 1)
    }

    @Test("each priority has a histogram of the delays from arrival to turn")
    func histograms() throws {
        let rig = try Rig(.strict, measured: true)
        var mux = rig.mux.take()!
        try mux.setPriority(rig.ids[0], 1)
        for vector in 0..<4 { rig.raise(vector) }
        var turns = 0
        try mux.settle { event, _ in
            turns += 1
            // A handler that takes its time, where it delays the others.
            let end = irqmux_monotonic_ns() + 100_000
            while event.vector.number == 0, irqmux_monotonic_ns() < end {}
        }
        #expect(turns == 4)
        #expect(mux.scheduleDelays(ofPriority: 1).total == 1)
        #expect(mux.scheduleDelays(ofPriority: 4).total == 3)
        #expect(mux.scheduleDelays(ofPriority: 4).minimum > 50_000, "they waited for the slow handler")
        #expect(mux.scheduleDelays(ofPriority: 9).total == 0)
    }

    @Test(
        "nothing is allocated per event", .enabled(if: allocationsAreCounted, "sanitizer: it stands in for malloc"),
        arguments: [Schedule.arrival, .strict, .weighted, .roundRobin(budget: 2)])
    func allocation(schedule: Schedule) throws {
        let rig = try Rig(schedule, measured: true)
        var mux = rig.mux.take()!
        func round() throws {
            for vector in 0..<8 { rig.raise(vector) }
            var looks = 0
            while looks < 12 {
                try mux.wait(timeout: 0)
                while mux.next() != nil {}
                looks += 1
            }
        }
        try round()
        let count = try allocations { try round() }
        #expect(count == 0)
    }
}

/// Eight vectors on a mux with a schedule.
private final class Rig {
    let device: Exerciser
    let attached: DeviceID
    let ids: [VectorID]
    var mux: Mux?

    init(_ schedule: Schedule, measured: Bool = false) throws {
        device = try Exerciser()
        var options = smallOptions()
        options.schedule = schedule
        options.measuresSchedule = measured
        var mux = try Mux(options)
        attached = try mux.attach(device)
        ids = try mux.connect(attached, .msix, 0..<8)
        // Armed, so that the order of arrival is that of raising.
        try mux.wait(timeout: 0)
        self.mux = consume mux
    }

    func raise(_ vector: Int) { device.raise(msix(UInt32(vector))) }
}
