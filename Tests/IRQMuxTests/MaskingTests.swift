import CKernel
import EventRing
import Exerciser
import IRQMux
import InterruptModel
import Testing

/// How a loop listens, in all the ways there are; a spinning one reads up to two sources itself.
let allListening: [(RingTier, WaitMode)] =
    RingTier.allCases.map { ($0, .block) } + RingTier.allCases.map { ($0, .spin) } + [(.deferred, .adaptive)]

@Suite("Masking", .timeLimit(.minutes(5)))
struct MaskingTests {
    @Test("a masked vector stays pending, and is delivered once when unmasked", arguments: allListening)
    func masked(tier: RingTier, waiting: WaitMode) throws {
        let device = try Exerciser()
        var mux = try Mux(smallOptions(tier, waiting: waiting))
        let attached = try mux.attach(device)
        let ids = try mux.connect(attached, .msix, 0..<2)
        try mux.settle()
        try mux.mask(ids[0])
        try mux.mask(ids[0])
        #expect(try mux.isMasked(ids[0]) && !mux.isPending(ids[0]))
        for _ in 0..<3 {
            device.raise(msix(0))
            #expect(try mux.settle().isEmpty)
        }
        #expect(try mux.isPending(ids[0]) && !mux.isPending(ids[1]))
        let held = try mux.ledger(ids[0])
        #expect(held.unexplained == 0 && held.pending >= 1 && held.delivered == 0)
        try mux.unmask(ids[0])
        #expect(try !mux.isMasked(ids[0]) && mux.isPending(ids[0]), "pending until it is delivered")
        #expect(try mux.settle().map(\.id) == [ids[0]])
        #expect(try !mux.isPending(ids[0]))
        device.raise(msix(0))
        #expect(try mux.settle().count == 1)
        expectSettled(try mux.ledger(attached), raised: 4)
    }

    @Test("a storm on a masked vector is silenced, and unmasking replays it exactly once", arguments: allListening)
    func silenced(tier: RingTier, waiting: WaitMode) throws {
        let device = try Exerciser()
        var options = smallOptions(tier, waiting: waiting)
        options.silenceAfter = 8
        var mux = try Mux(options)
        let attached = try mux.attach(device)
        let ids = try mux.connect(attached, .msix, 0..<2)
        try mux.settle()
        for round in 0..<3 as Range<UInt64> {
            try mux.mask(ids[0])
            // Each raise is a notification of its own, so that exactly eight are seen; nothing comes after the eighth.
            for _ in 0..<8 {
                device.raise(msix(0))
                #expect(try mux.settle().isEmpty)
            }
            #expect(try mux.isPending(ids[0]))
            try mux.unmask(ids[0])
            #expect(try mux.settle().map(\.id) == [ids[0]], "nothing came after the silence began")
            try mux.mask(ids[0])
            for _ in 0..<8 {
                device.raise(msix(0))
                try mux.settle()
            }
            let before = mux.remote.statistics.notifications
            for _ in 0..<100 { device.raise(msix(0)) }
            #expect(try mux.settle().isEmpty)
            #expect(mux.remote.statistics.notifications == before, "nobody listens to a silenced storm")
            #expect(try mux.ledger(ids[0]).unexplained == 0)
            try mux.unmask(ids[0])
            #expect(try mux.settle().map(\.id) == [ids[0]], "something came after the silence began")
            device.raise(msix(0))
            device.raise(msix(1))
            #expect(try mux.settle().count == 2, "both are listened to again")
            expectSettled(try mux.ledger(ids[0]), raised: (round + 1) * 117)
        }
    }

    @Test("unmask and mask again before anything was delivered keeps it pending")
    func unmaskThenMask() throws {
        let device = try Exerciser()
        var options = smallOptions()
        options.silenceAfter = 4
        var mux = try Mux(options)
        let attached = try mux.attach(device)
        let id = try mux.connect(attached, .msix, 0..<1)[0]
        for storm in [1, 20] {
            try mux.mask(id)
            for _ in 0..<storm {
                device.raise(msix(0))
                try mux.settle()
            }
            for _ in 0..<10 {
                try mux.unmask(id)
                try mux.mask(id)
                #expect(try mux.isPending(id))
            }
            #expect(try mux.settle().isEmpty)
            #expect(try mux.isPending(id))
            try mux.unmask(id)
            #expect(try mux.settle().count == 1)
        }
        expectSettled(try mux.ledger(attached), raised: 21)
    }

    @Test("masking a vector that is ready but not yet handed out holds it")
    func maskWhileReady() throws {
        let device = try Exerciser()
        var mux = try Mux(smallOptions())
        let attached = try mux.attach(device)
        let ids = try mux.connect(attached, .msix, 0..<8)
        for id in ids { try mux.mask(id) }
        for number in 0..<8 as Range<UInt32> { device.raise(msix(number)) }
        try mux.settle()
        for id in ids { try mux.unmask(id) }
        // All eight are in the ready list: the first one handed out masks three of the others and disconnects one.
        guard let first = mux.next() else { throw Unexpected() }
        let others = ids.filter { $0 != first.id }
        for id in others[..<3] { try mux.mask(id) }
        try mux.disconnect(others[3])
        #expect(Set(try mux.settle().map(\.id)) == Set(others[4...]))
        for id in others[..<3] { try mux.unmask(id) }
        #expect(Set(try mux.settle().map(\.id)) == Set(others[..<3]))
        let ledger = try mux.ledger(attached)
        #expect(ledger.unexplained == 0 && ledger.delivered == 7 && ledger.drops[.routeRemoved] == 1)
    }

    @Test("a vector masked by another's handler in the same batch is not delivered", arguments: RingTier.allCases)
    func maskedByNeighbour(tier: RingTier) throws {
        let device = try Exerciser()
        var mux = try Mux(smallOptions(tier))
        let attached = try mux.attach(device)
        let ids = try mux.connect(attached, .msix, 0..<16)
        for number in 0..<16 as Range<UInt32> { device.raise(msix(number)) }
        // Whoever comes first masks everybody, itself too: nothing else may come.
        let events = try mux.settle { event, mux in for id in ids { try mux.mask(id) } }
        #expect(events.count == 1)
        for id in ids { try mux.unmask(id) }
        #expect(try mux.settle().count == 15)
        expectSettled(try mux.ledger(attached), raised: 16)
    }

    @Test("masks from a handler and raises from a thread: nothing while masked, nothing lost", arguments: allListening)
    func storm(tier: RingTier, waiting: WaitMode) throws {
        let device = try Exerciser()
        var options = smallOptions(tier, waiting: waiting)
        options.silenceAfter = 4
        var mux = try Mux(options)
        let attached = try mux.attach(device)
        let ids = try mux.connect(attached, .msix, 0..<4)
        try mux.settle()
        var masked = [Bool](repeating: false, count: 4)
        var detector = LossDetector(device)
        var random = SplitMix(seed: 7)
        try device.start(RaisePlan(msix(0), width: 4, .random, count: 20_000))
        while device.isBusy {
            try mux.wait(timeout: 100_000)
            while let event = mux.next() {
                #expect(!masked[Int(event.vector.number)])
                detector.delivered(event.vector)
                let target = random.below(4)
                masked[target].toggle()
                try masked[target] ? mux.mask(ids[target]) : mux.unmask(ids[target])
            }
            let target = random.below(4)
            masked[target] = false
            try mux.unmask(ids[target])
        }
        for id in ids { try mux.unmask(id) }
        try mux.settle { event, _ in detector.delivered(event.vector) }
        for number in 0..<4 as Range<UInt32> { #expect(!detector.lost(msix(number))) }
        expectSettled(try mux.ledger(attached), raised: 20_000)
    }
}
