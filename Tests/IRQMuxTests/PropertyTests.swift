import CKernel
import EventRing
import Exerciser
import IRQMux
import InterruptModel
import Testing

@Suite("Random operations against a model", .timeLimit(.minutes(5)))
struct PropertyTests {
    @Test("whatever is connected, routed, masked and raised: delivered only when open, nothing lost, the ledger closes")
    func randomOperations() throws {
        for seed in 1...200 as ClosedRange<UInt64> {
            var trial = try Trial.make(seed)
            for step in 0..<80 {
                try trial.step()
                if let complaint = trial.complaint {
                    Issue.record("seed \(seed), step \(step): \(complaint)")
                    return
                }
            }
        }
    }
}

/// What is known of one vector without looking at the mux.
private struct ModelVector {
    var id: VectorID
    var isMasked = false
    var route = 0
    /// The device's count when it was connected, and when something of it was delivered last.
    var seen: UInt64
    var delivered: UInt64 = 0

    var isOpen: Bool { !isMasked && route != 1 }
}

/// One random history of a mux and a device with eight vectors.
private struct Trial: ~Copyable {
    private static let count = 8
    private var mux: Mux
    private let device: Exerciser
    private let attached: DeviceID
    private let targets: Targets
    private var vectors = [ModelVector?](repeating: nil, count: count)
    private var random: SplitMix
    private(set) var complaint: String?

    private init(
        _ random: SplitMix, _ mux: consuming Mux, _ device: Exerciser, _ attached: DeviceID, _ targets: Targets
    ) {
        self.random = random
        self.mux = mux
        self.device = device
        self.attached = attached
        self.targets = targets
    }

    static func make(_ seed: UInt64) throws -> Trial {
        var random = SplitMix(seed: seed)
        var options = smallOptions(RingTier.allCases[random.below(RingTier.allCases.count)])
        options.silenceAfter = UInt64(1 + random.below(6))
        let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: UInt32(count)))
        var mux = try Mux(options)
        let attached = try mux.attach(device)
        return Trial(random, mux, device, attached, try Targets(count))
    }

    mutating func step() throws {
        let number = random.below(Self.count)
        switch random.below(20) {
        case 0, 1: try connect(number, 1 + random.below(3))
        case 2: try disconnect(number)
        case 3, 4: try route(number, random.below(3))
        case 5, 6: try mask(number)
        case 7, 8, 9: try unmask(number)
        case 10, 11, 12: device.raise(msix(UInt32(number)))
        case 13: for _ in 0..<random.below(50) { device.raise(msix(UInt32(number))) }
        case 14: for _ in 0..<random.below(12) { try raiseAndRun(number) }
        case 15, 16, 17: try run(atMost: random.below(4))
        default: try settle()
        }
    }

    private mutating func fail(_ text: String) { complaint = complaint ?? text }

    private func count(_ number: Int) -> UInt64 { device.raisedCount(msix(UInt32(number))) ?? 0 }

    // MARK: Operations

    private mutating func connect(_ first: Int, _ width: Int) throws {
        let range = first..<min(first + width, Self.count)
        let before = range.map { count($0) }
        let isFree = range.allSatisfy { vectors[$0] == nil }
        do throws(MuxError) {
            let ids = try mux.connect(attached, .msix, UInt32(range.lowerBound)..<UInt32(range.upperBound))
            if !isFree { fail("connected twice") }
            for (place, number) in range.enumerated() {
                vectors[number] = ModelVector(id: ids[place], seen: before[place])
            }
        } catch {
            if isFree || error.errno != EBUSY { throw error }
        }
    }

    private mutating func disconnect(_ number: Int) throws {
        guard let vector = vectors[number] else { return }
        try checkDelivered(number)
        try mux.disconnect(vector.id)
        vectors[number] = nil
        if errno({ () throws(MuxError) in try mux.unmask(vector.id) }) != ENOENT { fail("\(number) is still there") }
    }

    private mutating func route(_ number: Int, _ route: Int) throws {
        guard let vector = vectors[number] else { return }
        try mux.route(vector.id, to: route == 0 ? .handler : route == 1 ? .parked : targets.route(number))
        vectors[number]?.route = route
    }

    private mutating func mask(_ number: Int) throws {
        guard let vector = vectors[number] else { return }
        try mux.mask(vector.id)
        vectors[number]?.isMasked = true
    }

    private mutating func unmask(_ number: Int) throws {
        guard let vector = vectors[number] else { return }
        try mux.unmask(vector.id)
        vectors[number]?.isMasked = false
    }

    private mutating func raiseAndRun(_ number: Int) throws {
        device.raise(msix(UInt32(number)))
        try run(atMost: .max)
    }

    // MARK: Running, and what must hold

    /// Hands out some events; the others stay ready while the next operations change things under them.
    private mutating func run(atMost limit: Int) throws {
        try mux.wait(timeout: 0)
        var left = limit
        while left > 0, let event = mux.next() {
            left -= 1
            handed(event)
        }
        try takeTargets()
    }

    private mutating func handed(_ event: VectorEvent) {
        let number = Int(event.vector.number)
        guard let vector = vectors[number], vector.id == event.id else {
            return fail("\(number): an event of a vector that is gone")
        }
        if event.kind != .interrupt || !vector.isOpen || vector.route != 0 { fail("\(number): \(event.kind), shut") }
        let now = count(number)
        vectors[number]?.seen = now
        vectors[number]?.delivered += 1
    }

    private mutating func takeTargets() throws {
        for number in 0..<Self.count {
            let (told, agree) = try targets.take(number)
            guard told > 0 || !agree else { continue }
            guard let vector = vectors[number], agree else {
                fail("\(number): targets told \(told), equally: \(agree)")
                continue
            }
            if !vector.isOpen || vector.route != 2 { fail("\(number): fanned out while it should not be") }
            let now = count(number)
            vectors[number]?.seen = now
            vectors[number]?.delivered += told
        }
    }

    private mutating func settle() throws {
        for _ in 0..<6 { try run(atMost: .max) }
        for number in 0..<Self.count {
            guard let vector = vectors[number] else { continue }
            let isDue = vector.seen != count(number)
            let isPending = try mux.isPending(vector.id)
            if vector.isOpen, isDue { fail("\(number): the last signal is lost") }
            if vector.isOpen, isPending { fail("\(number): open, and still pending") }
            if !vector.isOpen, isDue, !isPending { fail("\(number): its pending bit is lost") }
            let ledger = try mux.ledger(vector.id)
            if ledger.unexplained != 0 { fail("\(number): \(ledger)") }
            if vector.isOpen, ledger.pending != 0 { fail("\(number): open, \(ledger)") }
            try checkDelivered(number)
        }
        let ledger = try mux.ledger(attached)
        let all = (0..<Self.count).reduce(0) { $0 + count($1) }
        if ledger.unexplained != 0 || ledger.raised != all { fail("the device raised \(all): \(ledger)") }
    }

    private mutating func checkDelivered(_ number: Int) throws {
        guard let vector = vectors[number] else { return }
        let told = try mux.ledger(vector.id).delivered
        if told != vector.delivered { fail("\(number): \(told) delivered, \(vector.delivered) seen") }
    }
}

/// Two fan-out targets for each vector.
private final class Targets {
    private final class Pair {
        let first: EventFD
        let second: EventFD
        init() throws {
            first = try EventFD()
            second = try EventFD()
        }
    }

    private let pairs: [Pair]

    init(_ count: Int) throws { pairs = try (0..<count).map { _ in try Pair() } }

    func route(_ number: Int) -> Route { .fanOut([pairs[number].first.number, pairs[number].second.number]) }

    func take(_ number: Int) throws -> (told: UInt64, agree: Bool) {
        let told = try pairs[number].first.take()
        return (told, try pairs[number].second.take() == told)
    }
}
