import EventRing
import Exerciser
import Foundation
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import Testing

/// Changes routes and masks from another thread, as fast as the mux takes them; at the end everything is open.
final class Switcher: @unchecked Sendable {
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
struct Walk: ~Copyable {
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
