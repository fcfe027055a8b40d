import CKernel
import EventRing
import Exerciser
import IRQMux
import InterruptModel
import Testing

/// A handler that does what a closure says; the first error ends the run and is kept.
struct Reacting: VectorHandler {
    var events: [VectorEvent] = []
    var failure: MuxError?
    let react: (VectorEvent, inout Mux) throws(MuxError) -> Void

    init(_ react: @escaping (VectorEvent, inout Mux) throws(MuxError) -> Void) { self.react = react }

    mutating func handle(_ event: VectorEvent, on mux: inout Mux) {
        events.append(event)
        do throws(MuxError) { try react(event, &mux) } catch {
            failure = error
            mux.stop()
        }
    }
}

@Suite("Changes from inside a handler", .timeLimit(.minutes(5)))
struct HandlerTests {
    @Test("a handler disconnects its own vector, and nothing more of it comes", arguments: RingTier.allCases)
    func ownVector(tier: RingTier) throws {
        let device = try Exerciser()
        var mux = try Mux(smallOptions(tier))
        let attached = try mux.attach(device)
        try mux.connect(attached, .msix, 0..<8)
        for _ in 0..<3 { for number in 0..<8 as Range<UInt32> { device.raise(msix(number)) } }
        let events = try mux.settle { event, mux in
            try mux.disconnect(event.id)
            device.raise(event.vector)
        }
        #expect(events.count == 8)
        let ledger = try mux.detach(attached)
        #expect(ledger.unexplained == 0 && ledger.delivered == 8 && ledger.raised == 24)
    }

    @Test("a handler disconnects the others of its batch: nothing of them is handed out", arguments: RingTier.allCases)
    func others(tier: RingTier) throws {
        let device = try Exerciser()
        var mux = try Mux(smallOptions(tier))
        let attached = try mux.attach(device)
        let ids = try mux.connect(attached, .msix, 0..<8)
        for number in 0..<8 as Range<UInt32> { device.raise(msix(number)) }
        let events = try mux.settle { event, mux in for id in ids where id != event.id { try mux.disconnect(id) } }
        #expect(events.count == 1)
        #expect(try mux.ledger(attached).unexplained == 0)
    }

    @Test("a handler connects and reconnects vectors; each life has its own events", arguments: RingTier.allCases)
    func reconnects(tier: RingTier) throws {
        let device = try Exerciser()
        var mux = try Mux(smallOptions(tier))
        let attached = try mux.attach(device)
        var current = try mux.connect(attached, .msix, 0..<1)[0]
        device.raise(msix(0))
        var left = 30
        let events = try mux.settle { event, mux in
            #expect(event.id == current)
            left -= 1
            guard left > 0 else { return }
            try mux.disconnect(event.id)
            current = try mux.connect(attached, .msix, 0..<1) { _ in UInt64(left) }[0]
            device.raise(msix(0))
        }
        #expect(events.count == 30 && Set(events.map(\.id)).count == 30)
        expectSettled(try mux.ledger(attached), raised: 30)
    }

    @Test("a handler detaches its own device, and another one stays")
    func detaches() throws {
        let first = try Exerciser()
        let second = try Exerciser()
        var mux = try Mux(smallOptions())
        let attached = try [mux.attach(first), mux.attach(second)]
        for device in attached { try mux.connect(device, .msix, 0..<4) }
        for number in 0..<4 as Range<UInt32> { first.raise(msix(number)) }
        var gone = false
        #expect(
            try mux.settle { _, mux in
                if !gone { try mux.detach(attached[0]) }
                gone = true
            }.count == 1)
        second.raise(msix(0))
        #expect(try mux.settle().count == 1)
    }

    @Test("stopped from a handler, the rest stays ready for the next run", arguments: RingTier.allCases)
    func stops(tier: RingTier) throws {
        let device = try Exerciser()
        var mux = try Mux(smallOptions(tier))
        let attached = try mux.attach(device)
        try mux.connect(attached, .msix, 0..<5)
        for number in 0..<5 as Range<UInt32> { device.raise(msix(number)) }
        var handler = Reacting { (_, mux) throws(MuxError) in mux.stop() }
        for run in 1...5 {
            try mux.run(&handler)
            #expect(handler.events.count == run && mux.isStopping)
        }
        #expect(Set(handler.events.map(\.vector)).count == 5)
        expectSettled(try mux.ledger(attached), raised: 5)
    }

    @Test("stopped from a handler, what was unmasked stays ready for the next run")
    func stopsWithReady() throws {
        let device = try Exerciser()
        var mux = try Mux(smallOptions())
        let attached = try mux.attach(device)
        let ids = try mux.connect(attached, .msix, 0..<4)
        for id in ids { try mux.mask(id) }
        for number in 0..<4 as Range<UInt32> { device.raise(msix(number)) }
        try mux.settle()
        for id in ids { try mux.unmask(id) }
        var handler = Reacting { (_, mux) throws(MuxError) in mux.stop() }
        for _ in 0..<4 { try mux.run(&handler) }
        #expect(Set(handler.events.map(\.id)) == Set(ids))
    }

    @Test("INTx that is handled when the run ends is acknowledged before it returns")
    func acknowledgedAtTheEnd() throws {
        let device = try Exerciser()
        var mux = try Mux(smallOptions())
        try mux.connect(mux.attach(device), .intx, 0..<1)
        device.assertINTx()
        var handler = Reacting { (_, mux) throws(MuxError) in
            device.acknowledgeINTx()
            mux.stop()
        }
        try mux.run(&handler)
        #expect(handler.events.count == 1 && !device.isINTxMasked)
    }

    @Test("a mux stopped before it runs returns at once, and only once")
    func stoppedBefore() throws {
        var mux = try Mux(smallOptions())
        _ = try mux.addTimer(after: 0, tag: 1)
        mux.remote.stop()
        var handler = Reacting { (_, mux) throws(MuxError) in mux.stop() }
        try mux.run(&handler)
        #expect(handler.events.isEmpty)
        try mux.run(&handler)
        #expect(handler.events.map(\.kind) == [.timer])
    }
}

@Suite("Timers and sources beside vectors", .timeLimit(.minutes(5)))
struct OwnSourceTests {
    @Test("timers, sources and vectors share a loop and keep their tags apart", arguments: allListening)
    func together(tier: RingTier, waiting: WaitMode) throws {
        let device = try Exerciser()
        let doorbell = try EventFD()
        var mux = try Mux(smallOptions(tier, waiting: waiting))
        try mux.connect(mux.attach(device), .msix, 0..<1) { _ in 7 }
        let source = try mux.addSource(doorbell.number, tag: 7, delivery: .counted)
        try mux.settle()
        let timer = try mux.addTimer(after: 1, tag: 7)
        try doorbell.signal(3)
        device.raise(msix(0))
        var events: [VectorEvent] = []
        while events.count < 3 {
            try mux.wait()
            while let event = mux.next() { events.append(event) }
        }
        #expect(events.allSatisfy { $0.tag == 7 })
        #expect(events.filter { $0.kind == .timer }.map(\.count) == [1])
        #expect(events.filter { $0.kind == .source }.map(\.count) == [3])
        #expect(events.filter { $0.kind == .interrupt }.map(\.vector) == [msix(0)])
        try mux.removeSource(source)
        try doorbell.signal()
        #expect(try mux.settle().isEmpty)
        #expect(errno { () throws(MuxError) in try mux.removeSource(source) } == ENOENT)
        #expect(errno { () throws(MuxError) in try mux.removeTimer(timer) } == ENOENT)
    }

    @Test("tags with the highest bit, which names vectors, are refused")
    func highestBit() throws {
        let doorbell = try EventFD()
        var mux = try Mux(smallOptions())
        for tag in [1 << 63, UInt64.max] {
            #expect(errno { () throws(MuxError) in _ = try mux.addSource(doorbell.number, tag: tag) } == EINVAL)
            #expect(errno { () throws(MuxError) in _ = try mux.addTimer(after: 0, tag: tag) } == EINVAL)
        }
        _ = try mux.addTimer(after: 0, tag: .max >> 1)
        try eventually { try mux.settle().map(\.tag) == [.max >> 1] }
    }

    @Test("a vector's tag may be any number")
    func anyTag() throws {
        let device = try Exerciser()
        var mux = try Mux(smallOptions())
        try mux.connect(mux.attach(device), .msix, 0..<1) { _ in .max }
        device.raise(msix(0))
        #expect(try mux.settle().map(\.tag) == [.max])
    }

    @Test(
        "a vector's eventfd closed from outside before it was listened to is a failed event",
        arguments: RingTier.allCases)
    func closedBefore(tier: RingTier) async {
        // In a process of its own: closing a number that others may be given is nobody's neighbour.
        switch tier {
        case .deferred: await #expect(processExitsWith: .success) { try closedFromOutside(.deferred) }
        case .cooperative: await #expect(processExitsWith: .success) { try closedFromOutside(.cooperative) }
        case .plain: await #expect(processExitsWith: .success) { try closedFromOutside(.plain) }
        case .epoll: await #expect(processExitsWith: .success) { try closedFromOutside(.epoll) }
        }
    }
}

/// Closes eventfds of the mux behind its back, before and after it listens.
private func closedFromOutside(_ tier: RingTier) throws {
    let device = Interposer(try Exerciser())
    var mux = try Mux(smallOptions(tier))
    let attached = try mux.attach(device)
    let ids = try mux.connect(attached, .msix, 0..<2)
    _ = irqmux_close(device.eventFDs[0])
    let events = try mux.settle()
    #expect(events.map(\.kind) == [.failed(errno: EBADF)] && events.first?.id == ids[0])
    // Listened to already: the kernel keeps the eventfd, so its signals still come.
    _ = irqmux_close(device.eventFDs[1])
    device.device.raise(msix(1))
    #expect(try mux.settle().map(\.id) == [ids[1]])
    // The last resort listens to duplicates, one of which has the closed number by now: nothing can be said of it.
    guard tier != .epoll else { return }
    // What cannot be looked at cannot be accounted for, and says so; what is disconnected is, by what is known.
    #expect(errno { () throws(MuxError) in _ = try mux.ledger(ids[0]) } == EBADF)
    #expect(errno { () throws(MuxError) in _ = try mux.ledger(attached) } == EBADF)
    try mux.disconnect(ids[0])
    let ledger = try mux.detach(attached)
    #expect(ledger.unexplained == 0 && ledger.delivered == 1)
}
