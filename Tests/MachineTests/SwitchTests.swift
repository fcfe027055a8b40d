import CKernel
import EventRing
import Foundation
import IRQMux
import InterruptModel
import Synchronization
import Testing
import VFIO

@Suite(
    "Routes are switched while a real device fires", .enabled(if: Machine.isHere, Machine.reason), .serialized,
    .timeLimit(.minutes(5)))
struct SwitchTests {
    @Test("nothing is lost and nothing comes twice: each of the device's interrupts is one delivery")
    func underFire() throws {
        let seed: UInt64 = 5
        let count = 8
        let rounds = 150
        let device = try RealDevice(Machine.rocker, .msix)
        let nested = try NestedGuest(count)
        let tally = Tally(count)
        let targets = try (0..<count).map { _ in try SharedEventFD() }
        var ids: [VectorID] = []
        var attached: DeviceID?
        let running = try MuxThread(handler: TallyHandler(tally: tally)) { (mux, _) throws(MuxError) in
            try nested.attach(to: &mux)
            let id = try mux.attach(device)
            ids = try mux.connect(id, .msix, 0..<UInt32(count)) { .guest(nested.gsi($0)) }
            attached = id
        }
        let switcher = Switcher(nested, running.remote, ids, targets.map(\.number), seed)
        let thread = Thread { switcher.run() }
        thread.start()
        defer { switcher.isDone.store(true, ordering: .sequentiallyConsistent) }
        for round in 0..<rounds {
            var missing = Set(0..<UInt32(count))
            for number in missing { try device.fire(number) }
            let deadline = irqmux_monotonic_ns() + 20_000_000_000
            while !missing.isEmpty {
                for number in missing {
                    let arrived = try nested.taken(number) + tally.take(number) + targets[Int(number)].take()
                    if arrived > 0 { missing.remove(number) }
                    #expect(arrived <= 1, "seed \(seed), round \(round): \(number) came \(arrived) times")
                }
                try #require(irqmux_monotonic_ns() < deadline, "seed \(seed), round \(round): lost on \(missing)")
                // One processor: the guest, the loop and the switcher have to get it.
                usleep(100)
            }
        }
        switcher.isDone.store(true, ordering: .sequentiallyConsistent)
        while !thread.isFinished { usleep(1000) }
        try nested.fence()
        for number in 0..<UInt32(count) {
            #expect(try nested.taken(number) + tally.take(number) + targets[Int(number)].take() == 0, "came twice")
        }
        expectClosed(try running.remote.ledger(try #require(attached)), raised: UInt64(rounds * count))
        #expect(switcher.switches.load(ordering: .relaxed) > 50)
        #expect(switcher.complaint.withLock { $0 } == nil)
        let error = running.stop().error
        #expect(error == nil)
    }
}

/// Switches the routes of random vectors until it is told to stop.
final class Switcher: Sendable {
    let isDone = Atomic<Bool>(false)
    let switches = Atomic<Int>(0)
    let complaint = Mutex<String?>(nil)
    private let nested: NestedGuest
    private let remote: MuxRemote
    private let ids: [VectorID]
    private let targets: [Int32]
    private let seed: UInt64

    init(_ nested: NestedGuest, _ remote: MuxRemote, _ ids: [VectorID], _ targets: [Int32], _ seed: UInt64) {
        self.nested = nested
        self.remote = remote
        self.ids = ids
        self.targets = targets
        self.seed = seed
    }

    func run() {
        var state = seed
        func below(_ limit: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int((state >> 33) % UInt64(limit))
        }
        while !isDone.load(ordering: .sequentiallyConsistent) {
            let number = below(ids.count)
            do throws(MuxError) { try change(number, below(8)) } catch {
                complaint.withLock { $0 = "\(error)" }
                return
            }
            switches.add(1, ordering: .relaxed)
            usleep(200)
        }
    }

    private func change(_ number: Int, _ operation: Int) throws(MuxError) {
        let id = ids[number]
        let gsi = nested.gsi(UInt32(number))
        switch operation {
        case 0, 1: try remote.route(id, to: .guest(gsi))
        case 2: try remote.route(id, to: .detour(gsi))
        case 3: try remote.route(id, to: .handler)
        case 4: try remote.route(id, to: .fanOut([targets[number]]))
        case 5:
            // A vector that is shut holds the other thread up: not for long.
            try remote.route(id, to: .parked)
            try remote.route(id, to: .guest(gsi))
        default:
            try remote.mask(id)
            try remote.unmask(id)
        }
    }
}

/// Counts what the handler was told, by vector.
final class Tally: Sendable {
    private let counts: [Box]
    private final class Box: Sendable { let value = Atomic<UInt64>(0) }
    init(_ count: Int) { counts = (0..<count).map { _ in Box() } }
    func add(_ number: UInt32) { counts[Int(number)].value.add(1, ordering: .sequentiallyConsistent) }
    func take(_ number: UInt32) -> UInt64 { counts[Int(number)].value.exchange(0, ordering: .sequentiallyConsistent) }
}

struct TallyHandler: VectorHandler {
    let tally: Tally
    mutating func handle(_ event: VectorEvent, on mux: inout Mux) {
        if event.kind == .interrupt { tally.add(event.vector.number) }
    }
}

/// An eventfd that closures of other threads may hold.
final class SharedEventFD: Sendable {
    let eventFD: EventFD
    init() throws { eventFD = try EventFD() }
    var number: Int32 { eventFD.number }
    func take() throws -> UInt64 { try eventFD.take() }
}
