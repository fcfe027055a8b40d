import CKernel
import EventRing
import Exerciser
import IRQMux
import InterruptModel
import Testing

@Suite("INTx", .timeLimit(.minutes(5)))
struct INTxTests {
    @Test("an interrupt that was read and not handed out is accounted for, before and after the device is detached")
    func readAhead() throws {
        for tier in RingTier.allCases {
            let device = try Exerciser()
            var one = try Self.make(device, tier)
            try one.mux.settle()
            device.assertINTx()
            try one.mux.wait(timeout: 1_000_000_000)
            #expect(try one.mux.ledger(one.id) == Ledger(raised: 1, pending: 1), "\(tier)")
            let ledger = try one.mux.detach(one.attached)
            #expect(ledger.unexplained == 0 && ledger.raised == 1 && ledger.dropped == 1, "\(tier): \(ledger)")
        }
    }

    /// A mux with the pin of one device; `explicit` leaves acknowledgement to the owner.
    static func make(
        _ device: some InterruptDevice, _ tier: RingTier = .deferred, waiting: WaitMode = .block,
        explicit: Bool = false, route: Route = .handler
    ) throws -> PinnedMux {
        var options = smallOptions(tier, waiting: waiting)
        options.intxAcknowledgement = explicit ? .explicit : .afterHandler
        var mux = try Mux(options)
        let attached = try mux.attach(device)
        let id = try mux.connect(attached, .intx, 0..<1, route: route)[0]
        return PinnedMux(mux: mux, attached: attached, id: id)
    }

    @Test("a level is delivered until the handler quiets it, masked meanwhile", arguments: allListening)
    func level(tier: RingTier, waiting: WaitMode) throws {
        let device = try Exerciser()
        var one = try Self.make(device, tier, waiting: waiting)
        try one.mux.settle()
        device.assertINTx()
        var left = 3
        let events = try one.mux.settle { event, _ in
            #expect(event.vector == pin && event.count == 1)
            #expect(device.isINTxMasked, "automasked while in service")
            left -= 1
            if left == 0 { device.acknowledgeINTx() }
        }
        #expect(events.count == 3, "re-fired while asserted")
        #expect(!device.isINTxMasked && !device.isINTxAsserted)
        device.assertINTx()
        device.acknowledgeINTx()
        #expect(try one.mux.settle().count == 1)
        expectSettled(try one.mux.ledger(one.attached), raised: 4)
    }

    @Test("explicit acknowledgement: nothing comes before it, and it may come at any time", arguments: allListening)
    func explicit(tier: RingTier, waiting: WaitMode) throws {
        let device = try Exerciser()
        var one = try Self.make(device, tier, waiting: waiting, explicit: true)
        try one.mux.settle()
        try one.mux.acknowledge(one.id)  // nothing in service: no effect
        device.assertINTx()
        #expect(try one.mux.settle().count == 1)
        #expect(try one.mux.settle().isEmpty && device.isINTxMasked)
        try one.mux.acknowledge(one.id)
        #expect(try one.mux.settle().count == 1, "still asserted")
        device.acknowledgeINTx()
        try one.mux.acknowledge(one.id)
        try one.mux.acknowledge(one.id)
        #expect(try one.mux.settle().isEmpty && !device.isINTxMasked)
        expectSettled(try one.mux.ledger(one.attached), raised: 2)
    }

    @Test("explicit acknowledgement from within the handler works as well")
    func explicitFromHandler() throws {
        let device = try Exerciser()
        var one = try Self.make(device, explicit: true)
        device.assertINTx()
        var left = 5
        let events = try one.mux.settle { event, mux in
            left -= 1
            if left == 0 { device.acknowledgeINTx() }
            try mux.acknowledge(event.id)
        }
        #expect(events.count == 5 && !device.isINTxMasked)
    }

    @Test("a fan-out of INTx waits for its owner's acknowledgement", arguments: RingTier.allCases)
    func fanOut(tier: RingTier) throws {
        let device = try Exerciser()
        let target = try EventFD()
        var one = try Self.make(device, tier, route: .fanOut([target.number]))
        device.assertINTx()
        #expect(try one.mux.settle().isEmpty && device.isINTxMasked)
        #expect(try target.take() == 1)
        try one.mux.acknowledge(one.id)
        try one.mux.settle()
        #expect(try target.take() == 1, "still asserted")
        device.acknowledgeINTx()
        try one.mux.acknowledge(one.id)
        try one.mux.settle()
        #expect(try target.take() == 0 && !device.isINTxMasked)
        expectSettled(try one.mux.ledger(one.attached), raised: 2)
    }

    @Test("masked INTx is masked in the device; what was asserted meanwhile comes on unmask")
    func masked() throws {
        let device = try Exerciser()
        var one = try Self.make(device)
        try one.mux.mask(one.id)
        #expect(device.isINTxMasked)
        device.assertINTx()
        #expect(try one.mux.settle().isEmpty)
        try one.mux.unmask(one.id)
        #expect(try one.mux.settle { _, _ in device.acknowledgeINTx() }.count == 1)
        #expect(!device.isINTxMasked)
        expectSettled(try one.mux.ledger(one.attached), raised: 1)
    }

    @Test("masked while in service: the acknowledgement leaves the line masked, unmasking opens it")
    func maskedInService() throws {
        let device = try Exerciser()
        var one = try Self.make(device)
        device.assertINTx()
        let events = try one.mux.settle { event, mux in try mux.mask(event.id) }
        #expect(events.count == 1 && device.isINTxMasked)
        try one.mux.unmask(one.id)
        #expect(try one.mux.settle { _, _ in device.acknowledgeINTx() }.count == 1, "still asserted")
        #expect(!device.isINTxMasked)
    }

    @Test("masked and unmasked again while in service: the acknowledgement unmasks, not before")
    func unmaskedInService() throws {
        let device = try Exerciser()
        var one = try Self.make(device, explicit: true)
        device.assertINTx()
        #expect(try one.mux.settle().count == 1)
        try one.mux.mask(one.id)
        try one.mux.unmask(one.id)
        #expect(try one.mux.settle().isEmpty && device.isINTxMasked)
        device.acknowledgeINTx()
        try one.mux.acknowledge(one.id)
        #expect(try one.mux.settle().isEmpty && !device.isINTxMasked)
        expectSettled(try one.mux.ledger(one.attached), raised: 1)
    }

    @Test("parked INTx is held, automasked, and delivered with its count when routed", arguments: RingTier.allCases)
    func parked(tier: RingTier) throws {
        let device = try Exerciser()
        var one = try Self.make(device, tier, route: .parked)
        device.assertINTx()
        #expect(try one.mux.settle().isEmpty && one.mux.isPending(one.id))
        try one.mux.route(one.id, to: .handler)
        let events = try one.mux.settle { _, _ in device.acknowledgeINTx() }
        #expect(events.map(\.count) == [1] && !device.isINTxMasked)
        expectSettled(try one.mux.ledger(one.attached), raised: 1)
    }

    @Test("unmasking a parked INTx that holds an interrupt does not fire the line a second time")
    func unmaskParked() throws {
        let device = try Exerciser()
        var one = try Self.make(device, route: .parked)
        device.assertINTx()
        try one.mux.settle()
        try one.mux.mask(one.id)
        try one.mux.unmask(one.id)
        try one.mux.settle()
        #expect(device.raisedCount(pin) == 1)
        try one.mux.route(one.id, to: .handler)
        #expect(try one.mux.settle { _, _ in device.acknowledgeINTx() }.count == 1)
        #expect(!device.isINTxMasked)
        expectSettled(try one.mux.ledger(one.attached), raised: 1)
    }

    @Test("a device that refuses UNMASK after a handler is told as a failure, and may be acknowledged again")
    func refusesUnmask() throws {
        let refuse = Switch()
        let device = Interposer(try Exerciser()) { (request, device) throws(DeviceError) in
            guard !refuse.isOn || request.action != .unmask else { throw DeviceError("SET_IRQS", errno: EIO) }
            return try device.setInterrupts(request)
        }
        var one = try Self.make(device)
        device.device.assertINTx()
        refuse.isOn = true
        let events = try one.mux.settle { _, _ in device.device.acknowledgeINTx() }
        #expect(events.map(\.kind) == [.interrupt, .failed(errno: EIO)])
        #expect(events.allSatisfy { $0.id == one.id && $0.vector == pin })
        #expect(device.device.isINTxMasked)
        #expect(errno { () throws(MuxError) in try one.mux.acknowledge(one.id) } == EIO)
        refuse.isOn = false
        try one.mux.acknowledge(one.id)
        #expect(!device.device.isINTxMasked)
        device.device.assertINTx()
        #expect(try one.mux.settle { _, _ in device.device.acknowledgeINTx() }.map(\.kind) == [.interrupt])
        expectSettled(try one.mux.ledger(one.attached), raised: 2)
    }

    @Test("a device that refuses UNMASK leaves the vector masked, to be unmasked again")
    func refusesOwnersUnmask() throws {
        let refuse = Switch()
        let device = Interposer(try Exerciser()) { (request, device) throws(DeviceError) in
            guard !refuse.isOn || request.action == .trigger else { throw DeviceError("SET_IRQS", errno: EIO) }
            return try device.setInterrupts(request)
        }
        var one = try Self.make(device)
        refuse.isOn = true
        #expect(errno { () throws(MuxError) in try one.mux.mask(one.id) } == EIO)
        #expect(try !one.mux.isMasked(one.id))
        refuse.isOn = false
        try one.mux.mask(one.id)
        device.device.assertINTx()
        refuse.isOn = true
        #expect(errno { () throws(MuxError) in try one.mux.unmask(one.id) } == EIO)
        #expect(try one.mux.isMasked(one.id) && one.mux.settle().isEmpty)
        refuse.isOn = false
        try one.mux.unmask(one.id)
        #expect(try one.mux.settle { _, _ in device.device.acknowledgeINTx() }.count == 1)
        #expect(!device.device.isINTxMasked)
    }

    @Test("disconnected from its own handler, and connected again, INTx starts afresh")
    func reconnectInHandler() throws {
        let device = try Exerciser()
        var one = try Self.make(device)
        let attached = one.attached
        device.assertINTx()
        var again: VectorID?
        try one.mux.settle { event, mux in
            if event.id == again {
                device.acknowledgeINTx()
            } else {
                try mux.disconnect(event.id)
                again = try mux.connect(attached, .intx, 0..<1)[0]
            }
        }
        #expect(again != nil && !device.isINTxMasked && !device.isINTxAsserted)
        expectSettled(try one.mux.ledger(attached), raised: 2)
    }

    @Test("pins of several devices in one batch are each acknowledged")
    func severalPins() throws {
        var mux = try Mux(smallOptions())
        let devices = try (0..<5).map { _ in try Exerciser() }
        for device in devices { try mux.connect(mux.attach(device), .intx, 0..<1) }
        for round in 1...20 {
            for device in devices { device.assertINTx() }
            let events = try mux.settle { event, _ in
                for device in devices where device.isINTxAsserted && device.isINTxMasked { device.acknowledgeINTx() }
            }
            #expect(events.count >= 5 && devices.allSatisfy { !$0.isINTxMasked }, "round \(round)")
        }
    }

    @Test(
        "every route and mask of INTx under fire: at the end the line is open and nothing is held",
        arguments: allListening)
    func underFire(tier: RingTier, waiting: WaitMode) throws {
        let device = try Exerciser()
        let target = try EventFD()
        var one = try Self.make(device, tier, waiting: waiting)
        let routes = [Route.handler, .parked, .fanOut([target.number])]
        var random = SplitMix(seed: 3)
        for _ in 0..<300 {
            switch random.below(6) {
            case 0: try one.mux.route(one.id, to: routes[random.below(3)])
            case 1: try one.mux.mask(one.id)
            case 2: try one.mux.unmask(one.id)
            case 3: try one.mux.acknowledge(one.id)
            case 4: device.acknowledgeINTx()
            default: device.assertINTx()
            }
            if random.below(3) == 0 {
                try one.mux.wait(timeout: waiting == .block ? 0 : 10_000)
                if one.mux.next() != nil { device.acknowledgeINTx() }
            }
        }
        device.acknowledgeINTx()
        try one.mux.route(one.id, to: .handler)
        try one.mux.unmask(one.id)
        try one.mux.acknowledge(one.id)
        try one.mux.settle()
        #expect(!device.isINTxMasked)
        device.assertINTx()
        #expect(try one.mux.settle { _, _ in device.acknowledgeINTx() }.count == 1)
        expectSettled(try one.mux.ledger(one.attached), raised: device.raisedCount(pin))
    }
}

struct PinnedMux: ~Copyable {
    var mux: Mux
    let attached: DeviceID
    let id: VectorID
}
