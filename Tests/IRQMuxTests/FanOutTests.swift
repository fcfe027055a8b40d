import CKernel
import EventRing
import Exerciser
import IRQMux
import InterruptModel
import TestSupport
import Testing

@Suite("Long fan-outs, and fan-in", .timeLimit(.minutes(5)))
struct FanOutTests {
    @Test("a long fan-out is one system call more, however many targets", arguments: [4, 16, 64])
    func oneCall(count: Int) throws {
        var rig = try Rig(batchFrom: 4)
        let targets = try (0..<count).map { _ in try SharedTarget() }
        let quiet = try rig.callsOfOneSignal()
        try rig.mux.route(rig.ids[0], to: .fanOut(targets.map(\.number)))
        #expect(try rig.callsOfOneSignal() == quiet + 1)
        #expect(rig.mux.remote.statistics.signalBatches == 1)
        #expect(try targets.map { try $0.take() } == [UInt64](repeating: 1, count: count))
        expectSettled(try rig.mux.ledger(rig.attached), raised: 2)
    }

    @Test(
        "a long fan-out tells all its targets on every tier",
        arguments: [
            RingTier.deferred, .cooperative, .plain, .epoll,
        ])
    func tiers(tier: RingTier) throws {
        var rig = try Rig(tier, batchFrom: 4)
        let targets = try (0..<40).map { _ in try SharedTarget() }
        // Routed before the loop has a thread, and after.
        try rig.mux.route(rig.ids[0], to: .fanOut(targets.map(\.number)))
        rig.device.raise(msix(0))
        try rig.mux.settle()
        try rig.mux.route(rig.ids[1], to: .fanOut(targets[0..<20].map(\.number)))
        rig.device.raise(msix(1))
        try rig.mux.settle()
        #expect(try targets.map { try $0.take() } == (0..<40).map { $0 < 20 ? 2 : 1 })
        #expect((rig.mux.remote.statistics.signalBatches > 0) == (rig.mux.ringReport.tier >= .cooperative))
        expectSettled(try rig.mux.ledger(rig.attached), raised: 2)
    }

    @Test("blocking targets, full ones and one that is there twice are signalled like the others")
    func mixed() throws {
        var rig = try Rig(batchFrom: 4)
        let plain = try (0..<4).map { _ in try SharedTarget() }
        let full = try SharedTarget()
        try full.fill()
        let blocking = try SharedTarget(blocking: true)
        let all = [blocking.number] + plain.map(\.number) + [full.number, plain[3].number]
        try rig.mux.route(rig.ids[0], to: .fanOut(all))
        rig.device.raise(msix(0))
        try rig.mux.settle()
        #expect(rig.mux.remote.statistics.signalBatches == 1)
        #expect(try plain.map { try $0.take() } == [1, 1, 1, 2])
        #expect(try blocking.take() == 1)
        #expect(try full.take() == UInt64.max - 1)
        expectSettled(try rig.mux.ledger(rig.attached), raised: 1)
    }

    @Test("a route that goes gives its targets back to the ring")
    func reuse() throws {
        var rig = try Rig(batchFrom: 4)
        for _ in 0..<30 {
            let targets = try (0..<60).map { _ in try SharedTarget() }
            try rig.mux.route(rig.ids[0], to: .fanOut(targets.map(\.number)))
            rig.device.raise(msix(0))
            try rig.mux.settle()
            try rig.mux.route(rig.ids[0], to: .handler)
            #expect(try targets.map { try $0.take() } == [UInt64](repeating: 1, count: 60))
        }
        expectSettled(try rig.mux.ledger(rig.attached), raised: 30)
    }

    @Test("nothing is allocated per fan-out", .enabled(if: allocationsAreCounted, "sanitizer: it stands in for malloc"))
    func allocation() throws {
        var rig = try Rig(batchFrom: 4)
        let targets = try (0..<16).map { _ in try SharedTarget() }
        try rig.mux.route(rig.ids[0], to: .fanOut(targets.map(\.number)))
        _ = try rig.callsOfOneSignal()
        let count = try allocations { _ = try rig.callsOfOneSignal() }
        #expect(count == 0)
    }

    @Test("vectors of several devices to one eventfd, and to one tag: each account stays exact")
    func fanIn() throws {
        var mux = try Mux(smallOptions())
        let devices = [try Exerciser(), try Exerciser()]
        let target = try EventFD()
        var ids: [VectorID] = []
        for device in devices {
            let attached = try mux.attach(device)
            ids += try mux.connect(attached, .msix, 0..<4, route: .fanOut([target.number]), tag: { _ in 77 })
        }
        for (number, device) in devices.enumerated() {
            for vector in 0..<4 as Range<UInt32> { for _ in 0...number { device.raise(msix(vector)) } }
        }
        try mux.settle()
        let ledgers = try ids.map { try mux.ledger($0) }
        for (number, ledger) in ledgers.enumerated() { expectSettled(ledger, raised: number < 4 ? 1 : 2) }
        #expect(try target.take() == ledgers.reduce(0) { $0 + $1.delivered })
        for id in ids { try mux.route(id, to: .handler) }
        for device in devices { for vector in 0..<4 as Range<UInt32> { device.raise(msix(vector)) } }
        let events = try mux.settle()
        #expect(events.count == 8 && events.allSatisfy { $0.tag == 77 } && Set(events.map(\.id)) == Set(ids))
    }
}

private struct Rig: ~Copyable {
    let device: Exerciser
    var mux: Mux
    let attached: DeviceID
    let ids: [VectorID]

    init(_ tier: RingTier = .deferred, batchFrom: Int) throws {
        let device = try Exerciser()
        var options = smallOptions(tier)
        options.batchedFanOut = batchFrom
        var mux = try Mux(options)
        let attached = try mux.attach(device)
        let ids = try mux.connect(attached, .msix, 0..<2)
        self.device = device
        self.ids = ids
        self.attached = attached
        self.mux = mux
    }

    /// System calls of the loop for a signal of vector 0 and four looks.
    mutating func callsOfOneSignal() throws -> UInt64 {
        try mux.wait(timeout: 0)
        while mux.next() != nil {}
        try mux.wait(timeout: 0)
        let before = mux.remote.statistics.systemCalls
        device.raise(msix(0))
        var looks = 0
        while looks < 4 {
            try mux.wait(timeout: 0)
            while mux.next() != nil {}
            looks += 1
        }
        try mux.wait(timeout: 0)
        return mux.remote.statistics.systemCalls - before
    }
}

/// An eventfd where an array can hold it.
private final class SharedTarget {
    let number: Int32

    init(blocking: Bool = false) throws {
        number = eventfd(0, blocking ? 0 : Int32(EFD_NONBLOCK))
        #expect(number >= 0)
    }

    deinit { _ = irqmux_close(number) }

    func fill() throws { #expect(irqmux_eventfd_signal(number, UInt64.max - 1) == 0) }

    func take() throws -> UInt64 {
        var count: UInt64 = 0
        // SAFETY: the pointer is valid for the call.
        let result = unsafe irqmux_eventfd_take_without_waiting(number, &count)
        return result == 0 ? count : 0
    }
}
