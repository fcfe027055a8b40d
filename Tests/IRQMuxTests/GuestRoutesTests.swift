import CKernel
import EventRing
import Exerciser
import Foundation
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import TestSupport
import Testing

@Suite(
    "Routes into a real guest", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized,
    .timeLimit(.minutes(5)))
struct GuestRoutesTests {
    @Test("a bypassed vector reaches the guest, and the loop is not woken")
    func bypass() throws {
        let bench = try GuestBench(2)
        var mux = try Mux(smallOptions())
        try bench.attach(to: &mux)
        let attached = try mux.attach(bench.device)
        let ids = try mux.connect(attached, .msix, 0..<2) { .guest(bench.gsi($0)) }
        try mux.settle()
        let before = mux.remote.statistics.notifications
        for _ in 0..<20 {
            bench.device.raise(msix(1))
            #expect(try bench.await(1) == 1)
        }
        #expect(try mux.settle().isEmpty)
        #expect(mux.remote.statistics.notifications == before)
        #expect(try mux.route(of: ids[1]) == .guest(bench.gsi(1)))
        expectSettled(try mux.ledger(ids[1]), raised: 20)
        #expect(try mux.ledger(ids[1]).delivered == 20)
        #expect(try bench.taken(0) == 0)
        #expect(mux.guestState == .attached)
    }

    @Test("a detour reaches the guest by way of the loop, once a notification")
    func detour() throws {
        let bench = try GuestBench(1)
        var mux = try Mux(smallOptions())
        try bench.attach(to: &mux)
        let id = try mux.connect(mux.attach(bench.device), .msix, 0..<1) { .detour(bench.gsi($0)) }[0]
        for _ in 0..<20 {
            bench.device.raise(msix(0))
            try bench.fence()
            #expect(try bench.taken(0) == 0, "nobody has run the loop")
            #expect(try mux.settle().isEmpty)
            #expect(try bench.await(0) == 1)
        }
        expectSettled(try mux.ledger(id), raised: 20)
        #expect(try mux.route(of: id) == .detour(bench.gsi(0)))
    }

    @Test("any route to any route, step by step: each signal arrives once, where the route says", arguments: 1...4)
    func everyRoute(seed: UInt64) throws {
        let bench = try GuestBench(4)
        var walk = try Walk.make(bench, seed)
        for step in 0..<250 {
            try walk.step()
            if let complaint = walk.complaint {
                Issue.record("seed \(seed), step \(step): \(complaint)")
                return
            }
        }
        try walk.finish()
        if let complaint = walk.complaint { Issue.record("seed \(seed), at the end: \(complaint)") }
    }

    @Test(
        "any route to any route, switched by one or two threads, while another raises: one delivery a signal",
        arguments: [1, 2])
    func underFire(switchers count: Int) throws {
        let bench = try GuestBench(4)
        let tally = DeliveryCounts(bench.count)
        let target = try (0..<bench.count).map { _ in try SharedEventFD() }
        var ids: [VectorID] = []
        var attached: DeviceID?
        let running = try MuxThread(smallOptions(), handler: CountingHandler(tally: tally)) {
            (mux, _) throws(MuxError) in
            try bench.attach(to: &mux)
            let device = try mux.attach(bench.device)
            ids = try mux.connect(device, .msix, bench.numbers) { .guest(bench.gsi($0)) }
            attached = device
        }
        let remote = running.remote
        let isDone = Switch()
        let switchers = (0..<count).map { number in
            Switcher(bench, remote, ids, target.map(\.number), UInt64(7 + number))
        }
        let threads = switchers.map { switcher in Thread { switcher.run(until: isDone) } }
        for thread in threads { thread.start() }
        let rounds = 1500 / count
        try raiseOneByOne(bench, rounds: rounds) { number in
            try bench.taken(number) + tally.take(number) + target[Int(number)].take()
        }
        isDone.isOn = true
        eventually { threads.allSatisfy { $0.isFinished } }
        try bench.fence()
        for number in bench.numbers {
            #expect(try bench.taken(number) + tally.take(number) + target[Int(number)].take() == 0, "came twice")
        }
        let device = try #require(attached)
        expectSettled(try remote.ledger(device), raised: UInt64(rounds * bench.count))
        #expect(switchers.allSatisfy { $0.switches > 50 })
        let error = running.stop().error
        #expect(error == nil)
    }

    @Test("a storm through random routes and masks: the account closes to the last signal")
    func storm() throws {
        let bench = try GuestBench(4)
        var mux = try Mux(smallOptions())
        try bench.attach(to: &mux)
        let attached = try mux.attach(bench.device)
        let ids = try mux.connect(attached, .msix, bench.numbers) { .guest(bench.gsi($0)) }
        let target = try EventFD()
        let seed: UInt64 = 11
        var random = SplitMix(seed: seed)
        try bench.device.start(RaisePlan(msix(0), width: 4, .random, count: 40_000, intervalNs: 4_000, seed: seed))
        while bench.device.isBusy {
            let number = UInt32(random.below(4))
            let id = ids[Int(number)]
            switch random.below(8) {
            case 0, 1: try mux.route(id, to: .guest(bench.gsi(number)))
            case 2: try mux.route(id, to: .detour(bench.gsi(number)))
            case 3: try mux.route(id, to: .handler)
            case 4: try mux.route(id, to: .fanOut([target.number]))
            case 5: try mux.route(id, to: .parked)
            case 6: try mux.mask(id)
            default: try mux.unmask(id)
            }
            try mux.wait(timeout: 100_000)
            // The account is looked at all the time; it has to close when the device has stopped.
            while mux.next() != nil {}
            _ = try mux.ledger(id)
        }
        bench.device.waitUntilIdle()
        for id in ids {
            try mux.route(id, to: .handler)
            try mux.unmask(id)
        }
        try mux.settle()
        expectSettled(try mux.ledger(attached), raised: 40_000)
    }

    @Test("a mask storm on a bypassed vector: held, then told once, and never deassigned")
    func maskStorm() throws {
        let bench = try GuestBench(1)
        var mux = try Mux(smallOptions())
        try bench.attach(to: &mux)
        let interposer = Interposer(bench.device)
        let id = try mux.connect(mux.attach(interposer), .msix, 0..<1) { .guest(bench.gsi($0)) }[0]
        try mux.settle()
        let first = interposer.requests[0].data
        for round in 0..<300 {
            try mux.mask(id)
            try mux.mask(id)
            let burst = round % 4
            for _ in 0..<burst {
                bench.device.raise(msix(0))
                if round % 3 == 0 { try mux.settle() }
            }
            if round % 5 == 0 { #expect(try bench.taken(0) == 0, "round \(round): masked") }
            try mux.unmask(id)
            try mux.settle()
            if burst > 0 {
                let count = try bench.await(0)
                #expect(count >= 1 && count <= UInt64(burst), "round \(round)")
            }
            bench.device.raise(msix(0))
            #expect(try bench.await(0) >= 1, "round \(round): bypassed again")
            try bench.fence()
            #expect(try bench.taken(0) <= UInt64(burst))
        }
        #expect(interposer.requests.last?.data == first, "the same bypass eventfd as at the beginning")
        expectSettled(try mux.ledger(id), raised: UInt64(300 + 75 * 6))
    }

    @Test("one more silenced storm on a masked guest vector is one interrupt after the unmask")
    func silencedStorm() throws {
        let bench = try GuestBench(1)
        var options = smallOptions()
        options.silenceAfter = 4
        var mux = try Mux(options)
        try bench.attach(to: &mux)
        let id = try mux.connect(mux.attach(bench.device), .msix, 0..<1) { .guest(bench.gsi($0)) }[0]
        for round in 1...3 as ClosedRange<UInt64> {
            try mux.mask(id)
            for _ in 0..<50 {
                bench.device.raise(msix(0))
                try mux.settle()
            }
            #expect(try mux.isPending(id))
            try mux.unmask(id)
            try mux.settle()
            #expect(try bench.await(0) == 1)
            try bench.fence()
            #expect(try bench.taken(0) == 0)
            expectSettled(try mux.ledger(id), raised: round * 50)
        }
    }

    @Test("another GSI for a live vector: from one irqfd to the other in one step")
    func gsiChange() throws {
        let bench = try GuestBench(2)
        var mux = try Mux(smallOptions())
        try bench.attach(to: &mux)
        let id = try mux.connect(mux.attach(bench.device), .msix, 0..<1) { .guest(bench.gsi($0)) }[0]
        for round in 0..<10 as Range<UInt32> {
            let number = (round + 1) % 2
            bench.device.raise(msix(0))
            #expect(try bench.await(1 - number) == 1)
            try mux.route(id, to: .guest(bench.gsi(number)))
            bench.device.raise(msix(0))
            #expect(try bench.await(number) == 1)
        }
        try bench.fence()
        #expect(try bench.taken(0) + bench.taken(1) == 0)
        expectSettled(try mux.ledger(id), raised: 20)
    }

    @Test("switching and masking allocate nothing on the loop's side once the irqfd is there")
    func switchingAllocatesNothing() throws {
        let bench = try GuestBench(1)
        var mux = try Mux(smallOptions())
        try bench.attach(to: &mux)
        let id = try mux.connect(mux.attach(SilentDevice()), .msix, 0..<1) { .guest(bench.gsi($0)) }[0]
        let gsi = bench.gsi(0)
        func cycle(_ mux: inout Mux) throws(MuxError) {
            try mux.route(id, to: .handler)
            try mux.route(id, to: .detour(gsi))
            try mux.route(id, to: .guest(gsi))
            try mux.mask(id)
            try mux.unmask(id)
        }
        try cycle(&mux)
        guard allocationsAreCounted else { return }
        #expect(try allocations { () throws(MuxError) in try cycle(&mux) } == 0)
    }
}

/// A device that takes every request and does nothing.
private struct SilentDevice: InterruptDevice {
    func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo { IRQInfo(count: 1, eventfd: true) }
    func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 { 0 }
    func reset() throws(DeviceError) {}
    func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 { 0 }
    func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {}
    func raisedCount(_ vector: Vector) -> UInt64? { nil }
}
