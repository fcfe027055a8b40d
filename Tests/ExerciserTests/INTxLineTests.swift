import CKernel
import EventRing
import Exerciser
import InterruptModel
import Testing

@Suite("The device's INTx line")
struct INTxLineTests {
    static let pin = Vector(.intx, 0)
    static let unmask = IRQRequest(.intx, .unmask, .none(count: 1))

    @Test("assert signals and masks; unmask signals again until the line is let go")
    func automask() throws {
        let device = try Exerciser()
        let events = try EventFDs(1)
        try device.assign(.intx, events.numbers)
        device.assertINTx()
        #expect(device.isINTxMasked && device.isINTxAsserted)
        #expect(try events.take(0) == 1)
        #expect(device.errno(of: Self.unmask) == 0)
        #expect(try events.take(0) == 1)
        #expect(device.isINTxMasked)
        device.acknowledgeINTx()
        #expect(device.errno(of: Self.unmask) == 0)
        #expect(try events.take(0) == 0)
        #expect(!device.isINTxMasked && device.raisedCount(Self.pin) == 2)
        #expect(device.ledger(Self.pin) == Ledger(raised: 2, delivered: 2))
    }

    @Test("an assertion while masked is told on unmask, and counted once")
    func pendingAssertion() throws {
        let device = try Exerciser()
        let events = try EventFDs(1)
        try device.assign(.intx, events.numbers)
        #expect(device.errno(of: IRQRequest(.intx, .mask, .none(count: 1))) == 0)
        #expect(device.assertINTx() == .pended && device.assertINTx() == .alreadyPending)
        #expect(device.ledger(Self.pin) == Ledger(raised: 2, coalesced: 1, pending: 1))
        #expect(device.errno(of: Self.unmask) == 0)
        #expect(try events.take(0) == 1)
        #expect(device.ledger(Self.pin) == Ledger(raised: 2, delivered: 1, coalesced: 1))
    }

    @Test("an assertion acknowledged before anybody was told is dropped as withdrawn")
    func withdrawn() throws {
        let device = try Exerciser()
        #expect(device.assertINTx() == .pended)
        device.acknowledgeINTx()
        let ledger = device.ledger(Self.pin)
        #expect(ledger.drops[.withdrawn] == 1 && ledger.unexplained == 0)
        device.assertINTx()
        try device.reset()
        #expect(device.ledger(Self.pin).drops[.deviceGone] == 1 && device.ledger(Self.pin).unexplained == 0)
        #expect(!device.isINTxAsserted)
    }

    @Test("a line asserted before INTx is enabled fires when it is")
    func assertedBefore() throws {
        let device = try Exerciser()
        let events = try EventFDs(1)
        device.assertINTx()
        try device.assign(.intx, events.numbers)
        #expect(try events.take(0) == 1)
        #expect(device.ledger(Self.pin) == Ledger(raised: 1, delivered: 1))
    }

    @Test("DisINTx holds the interrupt back and clearing it lets it out")
    func disINTx() throws {
        let device = try Exerciser()
        let events = try EventFDs(1)
        try device.assign(.intx, events.numbers)
        device.writeDisINTx(true)
        device.assertINTx()
        #expect(try events.take(0) == 0)
        device.writeDisINTx(false)
        #expect(try events.take(0) == 1)
        #expect(device.ledger(Self.pin).unexplained == 0)
    }

    @Test("the unmasking eventfd unmasks, and signals again while the line is asserted")
    func unmaskEventFD() throws {
        let device = try Exerciser()
        let events = try EventFDs(1)
        let unmask = try EventFD()
        try device.assign(.intx, events.numbers)
        #expect(device.errno(of: IRQRequest(.intx, .unmask, .eventfd([unmask.number]))) == 0)
        #expect(device.errno(of: IRQRequest(.intx, .unmask, .eventfd([unmask.number]))) == EBUSY)
        device.assertINTx()
        #expect(try events.take(0) == 1)
        try unmask.signal()
        var told: UInt64 = 0
        try eventually("no second signal") {
            told += try events.take(0)
            return told == 1
        }
        #expect(device.isINTxMasked)
        device.acknowledgeINTx()
        try unmask.signal()
        eventually("never unmasked") { !device.isINTxMasked }
        #expect(try events.take(0) == 0)
    }

    @Test("a removed unmasking eventfd is not read any more, and another one can take its place")
    func removeUnmaskEventFD() throws {
        let device = try Exerciser()
        let events = try EventFDs(1)
        let first = try EventFD()
        let second = try EventFD()
        try device.assign(.intx, events.numbers)
        for _ in 0..<20 {
            #expect(device.errno(of: IRQRequest(.intx, .unmask, .eventfd([first.number]))) == 0)
            #expect(device.errno(of: IRQRequest(.intx, .unmask, .eventfd([-1]))) == 0)
            #expect(descriptors(toEventFDBehind: first.number) == 1)
            try first.signal()
            #expect(device.errno(of: IRQRequest(.intx, .unmask, .eventfd([second.number]))) == 0)
            device.assertINTx()
            #expect(try events.take(0) == 1)
            device.acknowledgeINTx()
            try second.signal()
            eventually("never unmasked") { !device.isINTxMasked }
            #expect(try first.take() == 1)
            #expect(device.errno(of: IRQRequest(.intx, .unmask, .eventfd([-1]))) == 0)
        }
    }

    @Test("a signal that was waiting in the unmasking eventfd when it is installed unmasks at once")
    func waitingUnmask() throws {
        let device = try Exerciser()
        let events = try EventFDs(1)
        let unmask = try EventFD(initial: 1)
        try device.assign(.intx, events.numbers)
        device.assertINTx()
        device.acknowledgeINTx()
        #expect(device.errno(of: IRQRequest(.intx, .unmask, .eventfd([unmask.number]))) == 0)
        eventually("never unmasked") { !device.isINTxMasked }
    }
}
