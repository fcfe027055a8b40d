import CKernel
import EventRing
import Exerciser
import Glibc
import IRQMux
import InterruptModel
import Testing

@Suite("Routes", .timeLimit(.minutes(5)))
struct RoutingTests {
    @Test("a fan-out signals every target once a notification, and no handler", arguments: allListening)
    func fanOut(tier: RingTier, waiting: WaitMode) throws {
        let device = try Exerciser()
        let first = try EventFD()
        let second = try EventFD()
        let third = try EventFD()
        var mux = try Mux(smallOptions(tier, waiting: waiting))
        let attached = try mux.attach(device)
        let targets = Route.fanOut([first.number, second.number, third.number])
        try mux.connect(attached, .msix, 0..<2, route: targets)
        try mux.settle()
        for _ in 0..<5 {
            device.raise(msix(0))
            #expect(try mux.settle().isEmpty)
        }
        #expect(try first.take() == 5 && second.take() == 5 && third.take() == 5)
        expectSettled(try mux.ledger(attached), raised: 5)
    }

    @Test("a target without O_NONBLOCK whose counter is full does not stall the mux, nor its other targets")
    func fullTarget() throws {
        let device = try Exerciser()
        let full = try EventFD()
        let other = try EventFD()
        try #require(fcntl(full.number, F_SETFL, 0) == 0)
        try full.signal(.max - 1)
        var mux = try Mux(smallOptions())
        let attached = try mux.attach(device)
        try mux.connect(attached, .msix, 0..<1, route: .fanOut([full.number, other.number]))
        device.raise(msix(0))
        try mux.settle()
        #expect(try full.take() == .max - 1 && other.take() == 1)
        device.raise(msix(0))
        try mux.settle()
        #expect(try full.take() == 1 && other.take() == 1)
    }

    @Test("the mux keeps targets of its own: the caller may close his, and the route tells them in order")
    func ownsTargets() throws {
        let device = try Exerciser()
        let copy = try EventFD()
        var mux = try Mux(smallOptions())
        let attached = try mux.attach(device)
        let id = try mux.connect(attached, .msix, 0..<1, route: .parked)[0]
        #expect(try mux.route(of: id) == .parked)
        do {
            let target = EventFD(owning: irqmux_duplicate(copy.number))
            try mux.route(id, to: .fanOut([target.number, copy.number]))
        }
        guard case .fanOut(let kept) = try mux.route(of: id) else { throw Unexpected() }
        #expect(kept.count == 2)
        device.raise(msix(0))
        try mux.settle()
        #expect(try copy.take() == 2, "both are the same eventfd")
        try mux.route(id, to: .handler)
        #expect(try mux.route(of: id) == .handler)
    }

    @Test("bad targets are refused by name and the old route stays")
    func badTargets() throws {
        let device = try Exerciser()
        let good = try EventFD()
        var options = smallOptions()
        options.fanOutTargets = 4
        var mux = try Mux(options)
        let attached = try mux.attach(device)
        let id = try mux.connect(attached, .msix, 0..<1)[0]
        let notAnEventFD = irqmux_epoll_create()
        defer { _ = irqmux_close(notAnEventFD) }
        for (targets, expected) in [
            ([good.number, 1_000_000], EBADF), ([notAnEventFD], EINVAL), ([-1], EBADF), ([], EINVAL),
            ([Int32](repeating: good.number, count: 5), ENOSPC),
        ] {
            for _ in 0..<10 {  // were a node or a descriptor lost each time, it would end in ENOSPC
                #expect(errno { () throws(MuxError) in try mux.route(id, to: .fanOut(targets)) } == expected)
                #expect(
                    errno { () throws(MuxError) in
                        _ = try mux.connect(attached, .msix, 1..<2, route: .fanOut(targets))
                    } == expected)
            }
        }
        device.raise(msix(0))
        #expect(try mux.settle().map(\.id) == [id])
        try mux.route(id, to: .fanOut([Int32](repeating: good.number, count: 4)))
        device.raise(msix(0))
        try mux.settle()
        #expect(try good.take() == 4)
    }

    @Test("a parked vector keeps what comes and gives it to the next route, once", arguments: RingTier.allCases)
    func parked(tier: RingTier) throws {
        let device = try Exerciser()
        let target = try EventFD()
        var mux = try Mux(smallOptions(tier))
        let attached = try mux.attach(device)
        let id = try mux.connect(attached, .msix, 0..<1, route: .parked)[0]
        for _ in 0..<3 {
            device.raise(msix(0))
            #expect(try mux.settle().isEmpty)
        }
        #expect(try mux.isPending(id) && !mux.isMasked(id))
        try mux.route(id, to: .handler)
        #expect(try mux.settle().map(\.id) == [id])
        try mux.route(id, to: .parked)
        device.raise(msix(0))
        try mux.settle()
        try mux.route(id, to: .fanOut([target.number]))
        #expect(try mux.settle().isEmpty)
        #expect(try target.take() == 1)
        expectSettled(try mux.ledger(attached), raised: 4)
    }

    @Test("a vector both parked and masked needs both taken away, in either order")
    func parkedAndMasked() throws {
        let device = try Exerciser()
        var mux = try Mux(smallOptions())
        let attached = try mux.attach(device)
        let ids = try mux.connect(attached, .msix, 0..<2, route: .parked)
        for id in ids { try mux.mask(id) }
        device.raise(msix(0))
        device.raise(msix(1))
        try mux.settle()
        try mux.unmask(ids[0])
        try mux.route(ids[1], to: .handler)
        #expect(try mux.settle().isEmpty && mux.isPending(ids[0]) && mux.isPending(ids[1]))
        try mux.route(ids[0], to: .handler)
        try mux.unmask(ids[1])
        #expect(Set(try mux.settle().map(\.id)) == Set(ids))
        expectSettled(try mux.ledger(attached), raised: 2)
    }

    @Test(
        "routes change while signals fly: nothing lost, every target told of every notification",
        arguments: allListening)
    func changesUnderFire(tier: RingTier, waiting: WaitMode) throws {
        let device = try Exerciser()
        let first = try EventFD()
        let second = try EventFD()
        var mux = try Mux(smallOptions(tier, waiting: waiting))
        let attached = try mux.attach(device)
        let ids = try mux.connect(attached, .msix, 0..<3)
        try mux.settle()
        let routes = [Route.handler, .parked, .fanOut([first.number, second.number])]
        var detector = LossDetector(device)
        var random = SplitMix(seed: 11)
        var handled: UInt64 = 0
        try device.start(RaisePlan(msix(0), width: 3, .random, count: 20_000))
        while device.isBusy {
            try mux.wait(timeout: 100_000)
            while let event = mux.next() {
                handled += 1
                #expect(try mux.route(of: event.id) == .handler)
                detector.delivered(event.vector)
                if random.below(8) == 0 { try mux.route(event.id, to: routes[random.below(3)]) }
            }
            try mux.route(ids[random.below(3)], to: routes[random.below(3)])
        }
        try mux.settle { event, _ in
            handled += 1
            detector.delivered(event.vector)
        }
        // Every vector is raised once more, so that the last delivery of each is to the handler.
        for (number, id) in ids.enumerated() {
            try mux.route(id, to: .handler)
            device.raise(msix(UInt32(number)))
        }
        try mux.settle { event, _ in
            handled += 1
            detector.delivered(event.vector)
        }
        for number in 0..<3 as Range<UInt32> { #expect(!detector.lost(msix(number))) }
        let ledger = try mux.ledger(attached)
        expectSettled(ledger, raised: 20_003)
        let fanned = try first.take()
        #expect(try second.take() == fanned)
        #expect(ledger.delivered == handled + fanned)
    }

    @Test("a fan-out's last signal is not lost either: it reaches the target after the device raised it")
    func fanOutLosesNothing() throws {
        let device = try Exerciser()
        let target = try EventFD()
        var mux = try Mux(smallOptions())
        let attached = try mux.attach(device)
        try mux.connect(attached, .msix, 0..<1, route: .fanOut([target.number]))
        try device.start(RaisePlan(msix(0), count: 20_000))
        var seen: UInt64 = 0
        var taken: UInt64 = 0
        func look() throws {
            let before = device.raisedCount(msix(0)) ?? 0
            let count = try target.take()
            taken += count
            // What was raised before the mux looked is told by now; what came since may be told by another.
            if count > 0 { seen = before }
        }
        while device.isBusy {
            try mux.wait(timeout: 100_000)
            if mux.next() != nil { Issue.record("a fan-out reached the handler") }
            try look()
        }
        try mux.settle()
        try look()
        device.raise(msix(0))
        try mux.settle()
        try look()
        #expect(seen == 20_001)
        let ledger = try mux.ledger(attached)
        expectSettled(ledger, raised: 20_001)
        #expect(ledger.delivered == taken)
    }
}
