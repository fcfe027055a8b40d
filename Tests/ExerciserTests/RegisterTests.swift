import CKernel
import Exerciser
import InterruptModel
import Testing

@Suite("The registers of BAR 0")
struct RegisterTests {
    static func ready() throws -> (Exerciser, EventFDs) {
        let device = try Exerciser()
        let events = try EventFDs(4)
        try device.assign(.msix, events.numbers)
        return (device, events)
    }

    @Test("magic, version, features and vector counts")
    func identity() throws {
        let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 8, msix: 16))
        #expect(try device.register(0x00) == 0x5851_5249)
        #expect(try device.register(0x04) == 1)
        #expect(try device.register(0x08) == 0b1111_0001_1110)
        var counts: [UInt32] = []
        for index in 0..<5 as Range<UInt32> {
            try device.register(0x10, index)
            counts.append(try device.register(0x0c))
        }
        #expect(counts == [0, 8, 16, 1, 1])
    }

    @Test("a plan written to the registers is raised, counted and stamped")
    func plan() throws {
        let (device, events) = try Self.ready()
        try device.register(0x10, 2)
        try device.register(0x14, 1)
        try device.register(0x18, 3)
        try device.register(0x1c, 1)
        try device.register(0x20, 30)
        try device.register(0x28, 1000)
        try device.register(0x38, 1)
        device.waitUntilIdle()
        #expect(try events.takeAll() == [0, 10, 10, 10])
        #expect(try device.register(0x40) & 1 == 0)
        #expect(try device.wideRegister(0x48) == 30)
        #expect(try device.wideRegister(0x60) == 10)
        #expect(try device.wideRegister(0x80) == 10)
        #expect(try device.wideRegister(0x88) == device.lastRaise(Vector(.msix, 1)).intendedNs)
    }

    @Test("RAISE raises the selected vector once; pended, merged and dropped are counted apart")
    func raise() throws {
        let (device, events) = try Self.ready()
        try device.register(0x24, 1)
        try device.register(0x24, 0)
        #expect(try events.take(0) == 1)
        try device.register(0x14, 9)
        for _ in 0..<3 { try device.register(0x24, 1) }
        #expect(try device.wideRegister(0x60) == 0)
        #expect(try device.wideRegister(0x68) == 1)
        #expect(try device.wideRegister(0x70) == 2)
        try device.register(0x44, 1)
        #expect(try device.register(0x14) == 0)
        try device.register(0x14, 9)
        #expect(try device.wideRegister(0x78) == 1)
        #expect(try device.wideRegister(0xa0) == 3)
    }

    @Test("INTx is asserted, told and acknowledged")
    func intx() throws {
        let device = try Exerciser()
        let events = try EventFDs(1)
        try device.assign(.intx, events.numbers)
        #expect(try device.register(0x98) == 4)
        try device.register(0x90, 1)
        #expect(try device.register(0x98) == 7)
        #expect(try events.take(0) == 1)
        try device.register(0x94, 1)
        #expect(try device.register(0x98) == 6)
        device.writeDisINTx(true)
        #expect(try device.register(0x98) == 14)
    }

    @Test("GO while a run is in progress is EBUSY; STOP ends it")
    func goTwice() throws {
        let (device, _) = try Self.ready()
        try device.register(0x20, 100)
        try device.register(0x2c, 1)
        try device.register(0x38, 1)
        #expect(try device.register(0x40) & 1 == 1)
        #expect(try device.register(0x9c) == 0)
        try device.register(0x38, 1)
        #expect(try device.register(0x9c) == UInt32(EBUSY))
        try device.register(0x3c, 1)
        #expect(try device.register(0x40) & 1 == 0)
    }

    @Test("the parameters read back, 64-bit ones in halves")
    func readBack() throws {
        let device = try Exerciser()
        let values: [(UInt64, UInt32)] = [
            (0x10, 1), (0x14, 7), (0x18, 3), (0x1c, 2), (0x20, .max), (0x28, 0x1234_5678), (0x2c, 0x9abc_def0),
            (0x30, .max), (0x34, 5),
        ]
        for (offset, value) in values { try device.register(offset, value) }
        for (offset, value) in values { #expect(try device.register(offset) == value) }
    }

    @Test("what a register does not take is said in ERROR and changes nothing")
    func refused() throws {
        let device = try Exerciser()
        for (offset, value) in [(0x00, 1), (0x60, 1), (0x98, 1), (0x10, 5), (0x1c, 4), (0x18, 0)] as [(UInt64, UInt32)]
        {
            let before = try device.register(offset)
            try device.register(offset, value)
            #expect(try device.register(0x9c) == UInt32(EINVAL), "register \(offset)")
            #expect(try device.register(offset) == before)
            try device.register(0x14, 0)
            #expect(try device.register(0x9c) == 0)
        }
    }

    @Test("counters of a vector that the device lacks are 0, and raising it is refused")
    func absentVector() throws {
        let device = try Exerciser(ExerciserConfiguration(intx: 0))
        try device.register(0x14, 64)
        for offset in [0x60, 0x68, 0x70, 0x78, 0x80, 0xa0] as [UInt64] { #expect(try device.wideRegister(offset) == 0) }
        for offset in [0x24, 0x38, 0x90, 0x94] as [UInt64] {
            try device.register(offset, 1)
            #expect(try device.register(0x9c) == UInt32(EINVAL), "register \(offset)")
        }
    }

    @Test("hostile register accesses never trap")
    func hostile() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var state = seed
        func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state >> 24
        }
        let device = try Exerciser()
        for _ in 0..<20_000 {
            let offset = next() % 0x100
            let value = next() % 4 == 0 ? next() : next() % 8
            if next() % 2 == 0 {
                _ = try? device.readRegion(UInt32(next() % 2), offset: offset, count: Int(next() % 9))
            } else {
                // GO is left out: a run would be long. Eight bytes at 0x34 reach it too.
                let place = offset & ~3 == 0x38 ? 0 : offset & ~3
                try? device.writeRegion(0, offset: place, count: place == 0x34 ? 4 : Int(next() % 9), value: value)
            }
        }
        #expect(device.ledger(Vector(.msix, 0)).unexplained == 0, "seed \(seed)")
    }
}
