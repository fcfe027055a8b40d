import CKernel
import Exerciser
import InterruptModel
import Testing

@Suite("MSI and MSI-X as a driver controls them")
struct MessageTests {
    static func ready(_ index: IRQIndex) throws -> (Exerciser, EventFDs) {
        let device = try Exerciser()
        let events = try EventFDs(3)
        try device.assign(index, events.numbers)
        return (device, events)
    }

    @Test("a masked MSI-X entry pends in the PBA and fires once when it is unmasked")
    func entryMask() throws {
        let (device, events) = try Self.ready(.msix)
        #expect(try device.message(0x1c) == 0 && device.message(0x3c) == 1)
        try device.message(0x1c, write: 1)
        for _ in 0..<3 { device.raise(Vector(.msix, 1)) }
        #expect(try events.takeAll() == [0, 0, 0])
        #expect(try device.message(0x8000) == 0b10 && device.readRegion(4, offset: 0x8000, count: 8) == 0b10)
        try device.message(0x1c, write: 0)
        #expect(try events.takeAll() == [0, 1, 0] && device.message(0x8000) == 0)
        let ledger = device.ledger(Vector(.msix, 1))
        #expect(ledger.raised == 3 && ledger.delivered == 1 && ledger.coalesced == 2 && ledger.unexplained == 0)
    }

    @Test("the function mask holds every entry and leaves their own masks alone")
    func functionMask() throws {
        let (device, events) = try Self.ready(.msix)
        let control = try #require(try device.capability(0x11)) + 2
        try device.config(control, 2, write: 0xc000)
        for number in 0..<3 as Range<UInt32> { device.raise(Vector(.msix, number)) }
        #expect(try events.takeAll() == [0, 0, 0] && device.message(0x8000) == 0b111)
        try device.message(0x2c, write: 1)
        try device.config(control, 2, write: 0x8000)
        #expect(try events.takeAll() == [1, 1, 0] && device.message(0x8000) == 0b100)
        try device.message(0x2c, write: 0)
        #expect(try events.takeAll() == [0, 0, 1])
    }

    @Test("an entry is masked until an eventfd is assigned, and again once it is taken away")
    func entryFollowsAssignment() throws {
        let (device, _) = try Self.ready(.msix)
        try device.assign(.msix, start: 1, [-1])
        #expect(try device.message(0x1c) == 1)
        device.raise(Vector(.msix, 1))
        #expect(try device.message(0x8000) == 0b10)
        let late = try EventFDs(1)
        try device.assign(.msix, start: 1, late.numbers)
        #expect(try late.takeAll() == [1] && device.message(0x8000) == 0)
    }

    @Test("the table keeps addresses and data; pending bits cannot be written")
    func table() throws {
        let device = try Exerciser(ExerciserConfiguration(msix: 70))
        try device.message(0x450, write: 0xfee0_1003)
        try device.message(0x454, write: 0xab)
        try device.message(0x458, write: 0x4041)
        #expect(try device.readRegion(4, offset: 0x450, count: 8) == 0xab_fee0_1000)
        #expect(try device.message(0x458) == 0x4041)
        try device.writeRegion(4, offset: 0x458, count: 8, value: 0x1234_5678)
        #expect(try device.readRegion(4, offset: 0x458, count: 8) == 0x1234_5678)
        // Behind entry 69 there is nothing, up to the pending bits.
        try device.message(0x460, write: 0xffff_ffff)
        try device.message(0x8000, write: 0xffff_ffff)
        for offset in [0x460, 0x46c, 0x7ffc, 0x8000, 0x8008, 0x8010, 0xfffc] as [UInt64] {
            #expect(try device.message(offset) == 0, "offset \(offset)")
        }
    }

    @Test("table words take whole words only, and are read in any piece")
    func pieces() throws {
        let device = try Exerciser()
        try device.message(0x08, write: 0x1122_3344)
        for (offset, count) in [(0x08, 1), (0x08, 2), (0x0a, 2), (0x09, 4), (0x0a, 8)] as [(UInt64, Int)] {
            try device.writeRegion(4, offset: offset, count: count, value: .max)
        }
        #expect(try device.message(0x08) == 0x1122_3344)
        #expect(try device.readRegion(4, offset: 0x0a, count: 1) == 0x22)
        #expect(try device.readRegion(4, offset: 0x09, count: 4) == 0x0111_2233)
        #expect(try device.readRegion(4, offset: 0x0b, count: 8) == 0x111)
    }

    @Test("a masked MSI vector pends in the capability and fires once when it is unmasked")
    func msiMask() throws {
        let (device, events) = try Self.ready(.msi)
        let capability = try #require(try device.capability(0x05))
        try device.config(capability + 0x10, write: 0b110)
        for number in 0..<3 as Range<UInt32> { for _ in 0..<2 { device.raise(Vector(.msi, number)) } }
        #expect(try events.takeAll() == [2, 0, 0] && device.config(capability + 0x14) == 0b110)
        try device.config(capability + 0x14, write: 0)
        #expect(try device.config(capability + 0x14) == 0b110)
        try device.config(capability + 0x10, write: 0b100)
        #expect(try events.takeAll() == [0, 1, 0] && device.config(capability + 0x14) == 0b100)
    }

    @Test("without bus mastering messages are lost and INTx is not")
    func busMaster() throws {
        let (device, events) = try Self.ready(.msix)
        try device.command(clear: 4)
        #expect(device.raise(Vector(.msix, 0)) == .dropped(.disabled))
        try device.command(set: 4)
        device.raise(Vector(.msix, 0))
        #expect(try events.takeAll() == [1, 0, 0])
        let (line, told) = try Self.ready(.intx, events: 1)
        try line.command(clear: 4)
        line.assertINTx()
        #expect(try told.takeAll() == [1])
    }

    @Test("a device that starts cold raises no message until the driver makes it a bus master")
    func cold() throws {
        var configuration = ExerciserConfiguration()
        configuration.isBusMasterAtStart = false
        let device = try Exerciser(configuration)
        let events = try EventFDs(1)
        try device.assign(.msix, events.numbers)
        #expect(try device.config(0x04, 2) == 0)
        #expect(device.raise(Vector(.msix, 0)) == .dropped(.disabled))
        try device.command(set: 6)
        device.raise(Vector(.msix, 0))
        #expect(try events.takeAll() == [1])
    }

    @Test("DisINTx masks INTx, and the status register shows the pin all the same")
    func disINTx() throws {
        let (device, events) = try Self.ready(.intx, events: 1)
        try device.command(set: 0x400)
        device.assertINTx()
        #expect(try device.config(0x06, 2) & 8 == 8 && events.takeAll() == [0])
        try device.command(clear: 0x400)
        #expect(try events.takeAll() == [1])
        device.acknowledgeINTx()
        #expect(try device.config(0x06, 2) & 8 == 0)
        device.writeDisINTx(true)
        #expect(try device.config(0x04, 2) & 0x400 != 0)
    }

    @Test("a function level reset clears what the driver wrote and keeps assignments and counters")
    func functionLevelReset() throws {
        let (device, events) = try Self.ready(.msix)
        let express = try #require(try device.capability(0x10))
        try device.config(0x10, write: 0xfebd_0000)
        try device.message(0x00, write: 0xfee0_0000)
        try device.message(0x1c, write: 1)
        try device.register(0x14, 7)
        device.raise(Vector(.msix, 1))
        try device.config(express + 9, 1, write: 0x80)
        #expect(try device.config(express + 8, 2) & 0x8000 == 0)
        #expect(try device.config(0x10) == 0 && device.message(0x00) == 0 && device.register(0x14) == 0)
        #expect(try device.message(0x1c) == 0 && device.message(0x3c) == 1)
        device.raise(Vector(.msix, 1))
        #expect(try events.takeAll() == [0, 1, 0])
        #expect(device.ledger(Vector(.msix, 1)).drops[.deviceGone] == 1)
    }

    @Test("the reset of VFIO keeps configuration space")
    func reset() throws {
        let (device, _) = try Self.ready(.msix)
        try device.config(0x10, write: 0xfebd_0000)
        try device.reset()
        #expect(try device.config(0x10) == 0xfebd_0000)
    }

    @Test("MASK and UNMASK by request and the table's mask bit are the same bit")
    func requests() throws {
        var configuration = ExerciserConfiguration()
        configuration.dialect.masksMSIX = true
        let device = try Exerciser(configuration)
        let events = try EventFDs(2)
        try device.assign(.msix, events.numbers)
        #expect(try device.setInterrupts(IRQRequest(.msix, .mask, start: 1, .none(count: 1))) == 0)
        #expect(try device.message(0x1c) == 1)
        device.raise(Vector(.msix, 1))
        #expect(try events.takeAll() == [0, 0])
        #expect(try device.setInterrupts(IRQRequest(.msix, .unmask, .none(count: 2))) == 0)
        #expect(try events.takeAll() == [0, 1] && device.message(0x1c) == 0)
    }

    private static func ready(_ index: IRQIndex, events count: Int) throws -> (Exerciser, EventFDs) {
        let device = try Exerciser()
        let events = try EventFDs(count)
        try device.assign(index, events.numbers)
        return (device, events)
    }
}
