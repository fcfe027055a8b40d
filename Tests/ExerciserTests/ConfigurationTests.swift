import CKernel
import Exerciser
import InterruptModel
import Testing

@Suite("Configuration space")
struct ConfigurationTests {
    @Test("the header says who the device is")
    func identity() throws {
        let device = try Exerciser()
        #expect(try device.config(0x00) == 0x4951_1234)
        #expect(try device.config(0x08) == 0x0880_0001)
        #expect(try device.config(0x0e, 1) == 0)
        #expect(try device.config(0x2c) == 0x4951_1234)
        #expect(try device.config(0x3d, 1) == 1)
        #expect(try Exerciser(ExerciserConfiguration(intx: 0)).config(0x3d, 1) == 0)
    }

    @Test("regions are as large as their BARs, which writing ones sizes")
    func sizing() throws {
        let device = try Exerciser()
        let sizes: [UInt64] = [0x1000, 0, 0x4000, 0, 0x1_0000, 0]
        for (region, size) in sizes.enumerated() {
            let offset = 0x10 + UInt64(region) * 4
            #expect(try device.regionInfo(UInt32(region)).size == size)
            #expect(try device.config(offset) == 0)
            try device.config(offset, write: 0xffff_ffff)
            #expect(try device.config(offset) == (size == 0 ? 0 : 0x1_0000_0000 - size))
            try device.config(offset, write: 0xfebd_5678)
            #expect(try device.config(offset) == (size == 0 ? 0 : 0xfebd_5678 & ~(size - 1)))
        }
        // No expansion ROM, no VGA range, and nothing beyond them.
        try device.config(0x30, write: 0xffff_ffff)
        #expect(try device.config(0x30) == 0)
        #expect(try device.regionInfo(6).size == 0 && device.regionInfo(8).size == 0)
        let space = try device.regionInfo(7)
        #expect(space.size == 4096 && space.isReadable && space.isWritable && !space.isMappable)
        #expect(throws: DeviceError("GET_REGION_INFO", errno: EINVAL)) { _ = try device.regionInfo(9) }
        let bare = try Exerciser(ExerciserConfiguration(msix: 0))
        #expect(try bare.regionInfo(4).size == 0)
    }

    @Test("the capabilities are those the vectors need, in one chain")
    func capabilities() throws {
        let whole = try Exerciser()
        for identity in [0x05, 0x10, 0x11] as [UInt64] {
            let offset = try #require(try whole.capability(identity))
            #expect(offset >= 0x40 && offset % 4 == 0)
        }
        let line = try Exerciser(ExerciserConfiguration(intx: 1, msi: 0, msix: 0))
        #expect(try line.capability(0x05) == nil && line.capability(0x11) == nil)
        #expect(try line.capability(0x10) != nil)
    }

    @Test(
        "MSI and MSI-X say how many vectors there are", arguments: [(1, 1), (8, 3), (32, 2048)] as [(UInt32, UInt32)])
    func vectorCounts(_ msi: UInt32, _ msix: UInt32) throws {
        let device = try Exerciser(ExerciserConfiguration(msi: msi, msix: msix))
        let control = try device.config(try #require(try device.capability(0x05)) + 2, 2)
        // 64-bit, per-vector masking, disabled.
        #expect(control & 0xfff1 == 0x0180 && 1 << (control >> 1 & 7) == msi)
        let offset = try #require(try device.capability(0x11))
        #expect(try device.config(offset + 2, 2) == UInt64(msix) - 1)
        #expect(try device.config(offset + 4) == 4 && device.config(offset + 8) == 0x8004)
        // Only as many mask bits as vectors.
        let mask = try #require(try device.capability(0x05)) + 0x10
        try device.config(mask, write: 0xffff_ffff)
        #expect(try device.config(mask) == (msi == 32 ? 0xffff_ffff : 1 << msi - 1))
    }

    @Test("constant bits stay, writable ones are kept, error bits are cleared by ones")
    func kinds() throws {
        let device = try Exerciser()
        let before = try device.config(0x00)
        try device.config(0x00, write: 0)
        #expect(try device.config(0x00) == before)
        try device.config(0x04, 2, write: 0xffff)
        #expect(try device.config(0x04, 2) == 0x0546)
        try device.config(0x3c, 2, write: 0xaaaa)
        #expect(try device.config(0x3c, 2) == 0x01aa)
        let msi = try #require(try device.capability(0x05))
        try device.config(msi + 4, 8, write: 0x1122_3344_fee0_1003)
        #expect(try device.config(msi + 4, 8) == 0x1122_3344_fee0_1000)
        try device.config(msi + 1, 1, write: 0)
        #expect(try device.capability(0x11) != nil)
    }

    @Test("any bytes of the space can be accessed, and nothing behind its end")
    func widths() throws {
        let device = try Exerciser()
        #expect(try device.config(0x01, 1) == 0x12 && device.config(0x01, 2) == 0x5112)
        #expect(try device.config(0x01, 4) == 0x0149_5112 & 0xff_ffff | (try device.config(0x04, 1)) << 24)
        #expect(try device.config(0x00, 8) & 0xffff_ffff == 0x4951_1234)
        #expect(try device.config(0xffc, 4) == 0 && device.config(0xff8, 8) == 0)
        for (offset, count) in [(0xffd, 4), (0x1000, 1), (0xff9, 8), (.max, 1), (0, 3), (0, 0), (0, 16), (0, -1)]
            as [(UInt64, Int)]
        {
            #expect(throws: DeviceError("read a region", errno: EINVAL)) { _ = try device.config(offset, count) }
            #expect(throws: DeviceError("write a region", errno: EINVAL)) {
                try device.config(offset, count, write: 0)
            }
        }
    }

    @Test("AER logs an internal error when ERR is raised, until the driver clears it")
    func advancedErrors() throws {
        let device = try Exerciser()
        let events = try EventFDs(1)
        try device.assign(.err, events.numbers)
        #expect(try device.config(0x100) == 0x0002_0001)
        #expect(try device.config(0x104) == 0)
        try device.command(set: 0x100)
        try device.config(0x108, write: 0)
        device.raise(Vector(.err, 0))
        #expect(try events.take(0) == 1)
        let express = try #require(try device.capability(0x10))
        // Fatal by the severity after power-up; the first error pointer tells which one it was.
        #expect(try device.config(0x104) == 1 << 22 && device.config(0x118) & 0x1f == 22)
        #expect(try device.config(express + 0x0a, 2) == 4)
        #expect(try device.config(0x06, 2) & 0x4000 != 0)
        try device.config(0x104, write: 1 << 22)
        try device.config(express + 0x0a, 2, write: 0xf)
        try device.config(0x06, 2, write: 0xffff)
        #expect(try device.config(0x104) == 0 && device.config(express + 0x0a, 2) == 0)
        #expect(try device.config(0x06, 2) == 0x10)
        try device.config(0x10c, write: 0)
        device.raise(Vector(.err, 0))
        #expect(try device.config(express + 0x0a, 2) == 2)
    }

    @Test("hostile accesses to any region never trap, and end in a device that still works")
    func hostile() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var state = seed
        func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state >> 20
        }
        let device = try Exerciser(ExerciserConfiguration(msix: 2048))
        let events = try EventFDs(3)
        try device.assign(.msix, events.numbers)
        for _ in 0..<20_000 {
            let region = [2, 4, 4, 7, 7, 7, UInt32(next() % 12)][Int(next() % 7)]
            guard region != 0 else { continue }
            let offset = next() % 16 == 0 ? next() << 20 : next() % (region == 4 ? 0x9000 : 0x2200)
            let count = next() % 8 == 0 ? Int(next() % 20) : 1 << Int(next() % 4)
            if next() % 2 == 0 {
                _ = try? device.readRegion(region, offset: offset, count: count)
            } else {
                try? device.writeRegion(region, offset: offset, count: count, value: next() << 20 | next())
            }
        }
        for number in 0..<2048 as Range<UInt32> {
            #expect(device.ledger(Vector(.msix, number)).unexplained == 0, "seed \(seed)")
        }
        #expect(try device.config(0x00) == 0x4951_1234, "seed \(seed)")
    }
}
