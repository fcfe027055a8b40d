import CKernel
import EventRing
import Exerciser
import IRQMux
import InterruptModel
import Synchronization
import TestSupport
import Testing

@testable import irqmux_soak

@Suite("A vector moves from loop to loop", .timeLimit(.minutes(5)))
struct MovingTests {
    @Test("under fire, with random routes and masks: nothing lost or invented, whatever the tier", arguments: 1...6)
    func underFire(seed: Int) throws {
        var soak = Soak(signals: 40_000, seed: UInt64(seed))
        soak.tier = RingTier.allCases[seed % RingTier.allCases.count]
        soak.schedule = [.arrival, .weighted, .strict, .roundRobin(budget: 3)][seed % 4]
        let result = try soak.run()
        #expect(result.isClean && result.pending == 0 && result.dropped == 0, "seed \(seed): \(result)")
        #expect(result.raised == 40_000 && result.moves > 0, "seed \(seed): \(result)")
    }

    @Test(
        "the same with routes into a real guest among them, of which the guest keeps its own account",
        .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), arguments: 1...3)
    func underFireIntoGuest(seed: Int) throws {
        var soak = Soak(signals: 30_000, seed: UInt64(seed))
        soak.tier = [RingTier.deferred, .epoll, .cooperative][seed % 3]
        soak.guest = try SoakGuest(vectors: soak.vectors)
        soak.longestRound = 4096
        let result = try soak.run()
        soak.guest?.stop()
        #expect(result.isClean && result.pending == 0 && result.dropped == 0, "seed \(seed): \(result)")
        #expect(result.raised == 30_000 && result.moves > 0 && result.rounds > 5, "seed \(seed): \(result)")
        #expect(result.guestRuns > 0 && result.intoGuest >= result.guestRuns, "seed \(seed): \(result)")
    }

    @Test("a soak whose account does not close says so")
    func soakFindsFaults() {
        func result(_ change: (inout SoakResult) -> Void = { _ in }) -> SoakResult {
            var result = SoakResult(Ledger(raised: 10, delivered: 7, coalesced: 3))
            result.compare(Deliveries(toUser: 3, intoGuest: 4), received: 3, runs: 2, raised: 10)
            change(&result)
            return result
        }
        #expect(result().isClean && result().delivered == 5 && result().coalesced == 5)
        let faults: [(UInt64, UInt64, UInt64)] = [(2, 2, 10), (4, 2, 10), (3, 5, 10), (3, 0, 10), (3, 2, 9)]
        for (received, runs, raised) in faults {
            var faulty = SoakResult(Ledger(raised: 10, delivered: 7, coalesced: 3))
            faulty.compare(
                Deliveries(toUser: 3, intoGuest: 4), received: received, runs: runs, raised: raised)
            #expect(!faulty.isClean, "received \(received), runs \(runs), raised \(raised)")
        }
        #expect(!result { $0.guestExit = "died" }.isClean)
        #expect(SoakCommand.isRequired(ci: "true", canOpen: true))
        #expect(!SoakCommand.isRequired(ci: "true", canOpen: false) && !SoakCommand.isRequired(ci: nil, canOpen: true))
    }

    @Test(
        "each single signal is delivered exactly once, raised before, during or after the move",
        arguments: [
            RingTier.deferred, .cooperative, .plain, .epoll,
        ])
    func exactlyOnce(tier: RingTier) throws {
        let rig = try Rig(tier: tier)
        let device = rig.device
        for step in 1...150 as ClosedRange<UInt64> {
            let raise = { _ = device.raise(msix(0)) }
            let (group, id) = (rig.group.remote, rig.ids[0])
            let move = { try group.move(id, to: Int(step % 2)) }
            switch step % 3 {
            case 0:
                raise()
                try move()
            case 1:
                try withThreads(1, { _ = device.raise(msix(0)) }, while: move)
            default:
                try move()
                raise()
            }
            eventually { rig.tally.count >= step }
            #expect(rig.tally.count == step)
        }
        // A duplicate that is under way would come now.
        for step in 0..<8 { try rig.group.remote.move(rig.ids[0], to: step % 2) }
        let ledger = try rig.group.remote.ledger(rig.ids[0])
        #expect(rig.tally.count == 150)
        #expect(ledger == Ledger(raised: 150, delivered: 150), "\(ledger)")
    }

    @Test("what a mask or a missing route held goes along, and is delivered once on the new loop")
    func held() throws {
        let rig = try Rig()
        let group = rig.group.remote
        try group.mask(rig.ids[0])
        try group.route(rig.ids[1], to: .parked)
        for vector in 0..<2 as Range<UInt32> { for _ in 0..<200 { rig.device.raise(msix(vector)) } }
        for vector in rig.ids[0..<2] { try group.move(vector, to: 1) }
        #expect(try group.perform(on: rig.ids[0]) { (mux, id) throws(MuxError) in try mux.isMasked(id) })
        #expect(try group.perform(on: rig.ids[1]) { (mux, id) throws(MuxError) in try mux.route(of: id) } == .parked)
        #expect(rig.tally.count == 0)
        try group.unmask(rig.ids[0])
        try group.route(rig.ids[1], to: .handler)
        eventually { rig.tally.count == 2 }
        expectSettled(try group.ledger(rig.device0), raised: 400)
        #expect(try group.ledger(rig.device0).delivered == 2)
    }

    @Test("a fan-out goes along with its targets")
    func fanOut() throws {
        let rig = try Rig()
        let target = try EventFD()
        try rig.group.remote.route(rig.ids[0], to: .fanOut([target.number]))
        for step in 1...6 as ClosedRange<UInt64> {
            try rig.group.remote.move(rig.ids[0], to: Int(step % 2))
            rig.device.raise(msix(0))
            var told: UInt64 = 0
            try eventually {
                told += try target.take()
                return told > 0
            }
            #expect(told == 1)
        }
        expectSettled(try rig.group.remote.ledger(rig.ids[0]), raised: 6)
    }

    @Test("an INTx in service is acknowledged on the loop it was moved to, and fires there")
    func intx() throws {
        let rig = try Rig(index: .intx)
        let group = rig.group.remote
        for step in 1...10 as ClosedRange<UInt64> {
            rig.device.assertINTx()
            eventually { rig.tally.count == step }
            #expect(rig.device.isINTxMasked)
            try group.move(rig.ids[0], to: Int(step % 2))
            rig.device.acknowledgeINTx()
            try group.acknowledge(rig.ids[0])
            eventually { !rig.device.isINTxMasked }
        }
        // Masked by its owner, and moved: it fires when it is unmasked on the other loop.
        try group.mask(rig.ids[0])
        rig.device.assertINTx()
        try group.move(rig.ids[0], to: 1)
        try group.unmask(rig.ids[0])
        eventually { rig.tally.count == 11 }
        rig.device.acknowledgeINTx()
        try group.acknowledge(rig.ids[0])
        expectSettled(try group.ledger(rig.device0), raised: 11)
    }

    @Test("refusals: a loop there is not, a vector that is gone, a mux that is full, a group's own thread")
    func refusals() throws {
        let rig = try Rig(capacity: 4)
        let group = rig.group.remote
        #expect(errno { () throws(MuxError) in try group.move(rig.ids[0], to: 2) } == EINVAL)
        #expect(errno { () throws(MuxError) in try group.move(rig.ids[0], to: -1) } == EINVAL)
        let other = try group.attach(try Exerciser(), home: 1)
        let others = try group.connect(other, .msix, 0..<4)
        #expect(errno { () throws(MuxError) in try group.move(rig.ids[0], to: 1) } == ENOSPC)
        rig.device.raise(msix(0))
        eventually { rig.tally.count == 1 }
        try group.disconnect(others[0])
        // The place comes free when the kernel has let go of the source, with a turn of the other loop.
        var answer = ENOSPC
        eventually {
            answer = errno { () throws(MuxError) in try group.move(rig.ids[0], to: 1) }
            return answer != ENOSPC
        }
        #expect(answer == 0)
        #expect(errno { () throws(MuxError) in try group.move(others[0], to: 0) } == ENOENT)
        let id = rig.ids[0]
        let inside = try group[0].perform { _ in errno { () throws(MuxError) in try group.move(id, to: 0) } }
        #expect(inside == EDEADLK)
        rig.device.raise(msix(0))
        eventually { rig.tally.count == 2 }
        // Only through the group, which brings it home: here it is a visitor.
        let visitor = errno { () throws(MuxError) in
            try group.perform(on: rig.ids[0]) { (mux, id) throws(MuxError) in try mux.disconnect(id) }
        }
        #expect(visitor == EBUSY)
        try group.disconnect(rig.ids[0])
        expectSettled(try group.detach(rig.device0), raised: 2)
    }

    @Test("a vector that was moved away cannot be connected a second time, and goes on firing where it is")
    func connectedTwice() throws {
        let rig = try Rig()
        let group = rig.group.remote
        try group.move(rig.ids[1], to: 1)
        for range in [1..<2, 0..<4] as [Range<UInt32>] {
            #expect(errno { () throws(MuxError) in _ = try group.connect(rig.device0, .msix, range) } == EBUSY)
        }
        rig.device.raise(msix(1))
        eventually { rig.tally.count == 1 }
        try group.disconnect(rig.ids[1])
        #expect(try group.connect(rig.device0, .msix, 1..<2).count == 1, "free again")
        expectSettled(try group.detach(rig.device0), raised: 1)
    }

    @Test("a loop that ends takes the vectors that were moved to it from their device before it closes their eventfds")
    func endWithVisitors() throws {
        let interposer = Interposer(try Exerciser())
        let tally = Tally()
        let group = try MuxGroup(smallOptions(), cpus: [nil, nil]) { _ in Counting(tally: tally) }
        let home = try group.remote.attach(interposer, home: 1)
        let ids = try group.remote.connect(home, .msix, 0..<2)
        try group.remote.move(ids[1], to: 0)
        interposer.device.raise(msix(1))
        eventually { tally.count == 1 }
        group.stop { _, _ in }
        let tail = interposer.requests.suffix(2)
        #expect(
            Array(tail) == [
                IRQRequest(.msix, .trigger, start: 1, .eventfd([-1])), IRQRequest(.msix, .trigger, .none(count: 0)),
            ])
        guard case .dropped = interposer.device.raise(msix(1)) else { return #expect(Bool(false), "it signals still") }
    }

    @Test("where the home has ended first, a visitor's end does not enable the index again")
    func endAfterHome() throws {
        let interposer = Interposer(try Exerciser())
        let tally = Tally()
        let group = try MuxGroup(smallOptions(), cpus: [nil, nil]) { _ in Counting(tally: tally) }
        let home = try group.remote.attach(interposer, home: 0)
        let ids = try group.remote.connect(home, .msix, 0..<2)
        try group.remote.move(ids[1], to: 1)
        group.stop { _, _ in }
        #expect(interposer.requests.last == IRQRequest(.msix, .trigger, .none(count: 0)))
    }

    @Test("a move that fails for want of fan-out targets leaves everything as it was")
    func failed() throws {
        let rig = try Rig()
        let group = rig.group.remote
        let target = try EventFD()
        let filler = try group.attach(try Exerciser(), home: 1)
        let filling = try group.connect(filler, .msix, 0..<1)
        try group.route(filling[0], to: .fanOut([Int32](repeating: target.number, count: 8)))
        try group.route(rig.ids[0], to: .fanOut([target.number]))
        rig.device.raise(msix(0))
        #expect(errno { () throws(MuxError) in try group.move(rig.ids[0], to: 1) } == ENOSPC)
        #expect(try group.loop(of: rig.ids[0]) == 0)
        rig.device.raise(msix(0))
        var told: UInt64 = 0
        try eventually {
            told += try target.take()
            let ledger = try group.ledger(rig.ids[0])
            return ledger.pending == 0 && ledger.delivered == told && told > 0
        }
        expectSettled(try group.ledger(rig.ids[0]), raised: 2)
    }

    @Test("moving leaves no descriptor behind")
    func descriptors() async {
        // In a process of its own: tests that run beside this open and close descriptors too.
        await #expect(processExitsWith: .success) { try movingLeavesNothing() }
    }
}

private func movingLeavesNothing() throws {
    let rig = try Rig()
    for step in 1...2 { try rig.group.remote.move(rig.ids[0], to: step % 2) }
    let before = openDescriptors()
    for step in 1...400 { try rig.group.remote.move(rig.ids[0], to: step % 2) }
    #expect(openDescriptors() == before)
    withExtendedLifetime(rig) {}
}

private struct Counting: VectorHandler {
    let tally: Tally

    mutating func handle(_ event: VectorEvent, on mux: inout Mux) {
        if event.kind == .interrupt { tally.events.wrappingAdd(1, ordering: .sequentiallyConsistent) }
    }
}

/// A device with four vectors on the first of two loops.
private struct Rig: ~Copyable {
    let device: Exerciser
    let tally: Tally
    let group: MuxGroup<Counting>
    let device0: GroupDeviceID
    let ids: [GroupVectorID]

    init(tier: RingTier = .deferred, index: IRQIndex = .msix, capacity: Int = 64) throws {
        let device = try Exerciser()
        var options = smallOptions(tier, capacity: capacity)
        options.fanOutTargets = 8
        options.intxAcknowledgement = .explicit
        options.silenceAfter = 16
        let tally = Tally()
        let group = try MuxGroup(options, cpus: [nil, nil]) { _ in Counting(tally: tally) }
        let device0 = try group.remote.attach(device)
        let ids = try group.remote.connect(device0, index, 0..<(index == .intx ? 1 : 4))
        self.device = device
        self.tally = tally
        self.device0 = device0
        self.ids = ids
        self.group = group
    }
}
