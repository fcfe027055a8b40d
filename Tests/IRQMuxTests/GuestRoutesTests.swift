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
    .timeLimit(.minutes(2)))
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

    @Test("any route to any route while another thread raises: exactly one delivery a signal")
    func underFire() throws {
        let seed: UInt64 = 7
        let bench = try GuestBench(4)
        let tally = DeliveryCounts(bench.count)
        let target = try (0..<bench.count).map { _ in try SharedEventFD() }
        var ids: [VectorID] = []
        var attached: DeviceID?
        let running = try MuxThread(smallOptions(), handler: CountingHandler(tally: tally)) { (mux, _) throws(MuxError) in
            try bench.attach(to: &mux)
            let device = try mux.attach(bench.device)
            ids = try mux.connect(device, .msix, bench.numbers) { .guest(bench.gsi($0)) }
            attached = device
        }
        let remote = running.remote
        let isDone = Switch()
        let switcher = Switcher(bench, remote, ids, target.map(\.number), seed)
        let thread = Thread { switcher.run(until: isDone) }
        thread.start()
        for round in 0..<1500 {
            var missing = Set(bench.numbers)
            for number in bench.numbers { bench.device.raise(msix(number)) }
            let deadline = irqmux_monotonic_ns() + 20_000_000_000
            while !missing.isEmpty {
                for number in missing {
                    let count =
                        try bench.taken(number) + tally.take(number) + (try target[Int(number)].take())
                    if count > 0 { missing.remove(number) }
                    if count > 1 { Issue.record("seed \(seed), round \(round): \(number) came \(count) times") }
                }
                guard irqmux_monotonic_ns() < deadline else {
                    Issue.record("seed \(seed), round \(round): lost on \(missing)")
                    break
                }
            }
        }
        isDone.isOn = true
        eventually { thread.isFinished }
        try bench.fence()
        for number in bench.numbers {
            #expect(try bench.taken(number) + tally.take(number) + target[Int(number)].take() == 0, "came twice")
        }
        let device = try #require(attached)
        expectSettled(try remote.ledger(device), raised: UInt64(1500 * bench.count))
        #expect(switcher.switches > 50)
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
            while mux.next() != nil {}
            #expect(try mux.ledger(id).unexplained == 0, "seed \(seed)")
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

/// Changes routes and masks from another thread, as fast as the mux takes them; at the end everything is open.
private final class Switcher: @unchecked Sendable {
    private let bench: GuestBench
    private let remote: MuxRemote
    private let ids: [VectorID]
    private let targets: [Int32]
    private var random: SplitMix
    private(set) var switches = 0

    init(_ bench: GuestBench, _ remote: MuxRemote, _ ids: [VectorID], _ targets: [Int32], _ seed: UInt64) {
        self.bench = bench
        self.remote = remote
        self.ids = ids
        self.targets = targets
        random = SplitMix(seed: seed)
    }

    func run(until isDone: Switch) {
        while !isDone.isOn {
            let number = random.below(ids.count)
            let operation = random.below(8)
            do throws(MuxError) {
                try change(number, operation)
                // A vector that is shut holds the other thread up: not for long.
                if operation >= 6 { try remote.unmask(ids[number]) }
                if operation == 5 { try change(number, 0) }
                switches += 1
            } catch { Issue.record("\(error)") }
        }
    }

    private func change(_ number: Int, _ operation: Int) throws(MuxError) {
        let gsi = bench.gsi(UInt32(number))
        switch operation {
        case 0, 1: try remote.route(ids[number], to: .guest(gsi))
        case 2: try remote.route(ids[number], to: .detour(gsi))
        case 3: try remote.route(ids[number], to: .handler)
        case 4: try remote.route(ids[number], to: .fanOut([targets[number]]))
        case 5: try remote.route(ids[number], to: .parked)
        default: try remote.mask(ids[number])
        }
    }
}

/// A random history of one thread: every signal into the bypass is awaited at once, so that whatever the guest takes
/// later came by the loop, from a signal that this model knows of.
private struct Walk: ~Copyable {
    private let bench: GuestBench
    private var mux: Mux
    private let attached: DeviceID
    private let ids: [VectorID]
    private let targets: [SharedEventFD]
    private var random: SplitMix
    private var routes: [Int]
    private var isMasked: [Bool]
    /// Signals to the user eventfd that nobody has been told of.
    private var waiting: [UInt64]
    /// Those of them that were certainly not coalesced into what was told already.
    private var certain: [UInt64]
    private var handed: [UInt64]
    private(set) var complaint: String?

    private init(
        _ bench: GuestBench, _ mux: consuming Mux, _ attached: DeviceID, _ ids: [VectorID], _ targets: [SharedEventFD],
        _ random: SplitMix
    ) {
        self.bench = bench
        self.mux = mux
        self.attached = attached
        self.ids = ids
        self.targets = targets
        self.random = random
        routes = [Int](repeating: 0, count: bench.count)
        isMasked = [Bool](repeating: false, count: bench.count)
        waiting = [UInt64](repeating: 0, count: bench.count)
        certain = waiting
        handed = waiting
    }

    static func make(_ bench: GuestBench, _ seed: UInt64) throws -> Walk {
        var random = SplitMix(seed: seed)
        var options = smallOptions(RingTier.allCases[random.below(RingTier.allCases.count)])
        options.silenceAfter = UInt64(1 + random.below(5))
        var mux = try Mux(options)
        try bench.attach(to: &mux)
        let attached = try mux.attach(bench.device)
        let ids = try mux.connect(attached, .msix, bench.numbers)
        let targets = try (0..<bench.count).map { _ in try SharedEventFD() }
        return Walk(bench, mux, attached, ids, targets, random)
    }

    private mutating func fail(_ text: String) { complaint = complaint ?? text }

    mutating func step() throws {
        let number = random.below(bench.count)
        switch random.below(10) {
        case 0, 1, 2: try route(number, random.below(5))
        case 3:
            try mux.mask(ids[number])
            isMasked[number] = true
        case 4, 5:
            try mux.unmask(ids[number])
            isMasked[number] = false
        case 6, 7, 8: try raise(number)
        default: for number in 0..<bench.count { try settle(number) }
        }
    }

    /// Opens everything, and looks whether anything comes that should not.
    mutating func finish() throws {
        for number in 0..<bench.count {
            try route(number, 3)
            try mux.unmask(ids[number])
            isMasked[number] = false
            try settle(number)
        }
        try bench.fence()
        for number in 0..<bench.count where try bench.taken(UInt32(number)) > 0 && handed[number] == 0 {
            fail("\(number): the guest was told once more")
        }
        expectSettled(try mux.ledger(attached), raised: (0..<4).reduce(0) { $0 + bench.device.raisedCount(msix($1))! })
    }

    private mutating func route(_ number: Int, _ kind: Int) throws {
        let gsi = bench.gsi(UInt32(number))
        let route: Route =
            switch kind {
            case 0: .handler
            case 1: .fanOut([targets[number].number])
            case 2: .parked
            case 3: .guest(gsi)
            default: .detour(gsi)
            }
        try mux.route(ids[number], to: route)
        routes[number] = kind
    }

    private mutating func raise(_ number: Int) throws {
        if routes[number] == 3, !isMasked[number] {
            // Forwards of earlier signals may still be on their way through the guest: let them end first.
            try settle(number)
            bench.device.raise(msix(UInt32(number)))
            let count = try bench.await(UInt32(number))
            if count != 1 { fail("\(number): one signal into the bypass, \(count) interrupts") }
        } else {
            bench.device.raise(msix(UInt32(number)))
            waiting[number] += 1
            certain[number] += 1
        }
    }

    /// Runs the loop dry; what waits on an open vector has to come now, where its route says.
    private mutating func settle(_ number: Int) throws {
        for event in try mux.settle() { handed[Int(event.vector.number)] += 1 }
        try bench.fence()
        let told = [handed[number], try targets[number].take(), 0, try bench.taken(UInt32(number))]
        handed[number] = 0
        let isOpen = !isMasked[number] && routes[number] != 2
        let all = told.reduce(0, +)
        if all > waiting[number] { fail("\(number): \(all) told, \(waiting[number]) signalled") }
        if isOpen, certain[number] > 0, all == 0 { fail("\(number): lost") }
        if isOpen || all > 0 { certain[number] = 0 }
        waiting[number] = isOpen ? 0 : waiting[number] - min(all, waiting[number])
        let ledger = try mux.ledger(ids[number])
        if ledger.unexplained != 0 || (isOpen && ledger.pending != 0) { fail("\(number): \(ledger)") }
    }
}
