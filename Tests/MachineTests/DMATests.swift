import CKernel
import IRQMux
import InterruptModel
import Testing
import VFIO

/// A device that moves memory, its one vector heard by a mux.
struct Mover: ~Copyable {
    let device: RealDevice
    var mux: Mux
    let attached: DeviceID
    private(set) var transfers: UInt64 = 0

    init(_ device: RealDevice) throws {
        var mux = try Mux()
        let attached = try mux.attach(device)
        _ = try mux.connect(attached, .msi, 0..<1)
        self.device = device
        self.mux = mux
        self.attached = attached
    }

    /// Lets the device move its piece, and returns after its interrupt.
    mutating func move(_ iova: UInt64, toMemory: Bool) throws {
        try device.transfer(iova: iova, toMemory: toMemory)
        transfers += 1
        let event = try mux.awaitEvent()
        #expect(event.kind == .interrupt && event.vector == Vector(.msi, 0))
        #expect(try mux.settle().isEmpty, "once")
    }

    mutating func expectClosedLedger() throws { expectClosed(try mux.ledger(attached), raised: transfers) }
}

@Suite(
    "A device reaches memory by DMA, where it is mapped and nowhere else",
    .enabled(if: Machine.isHere, Machine.reason), .serialized, .timeLimit(.minutes(4)))
struct DMATests {
    static let iova: UInt64 = 0x100_0000
    static var piece: Int { RealDevice.eduPiece }

    @Test("mapped: it reads one page and writes another, with an interrupt each, and touches no byte beyond")
    func moves() throws {
        let pages = Pages(2)
        let device = try RealDevice(Machine.edu, .msi)
        try pages.map(0, device.device, iova: Self.iova, access: .read)
        try pages.map(1, device.device, iova: Self.iova + 0x10000, size: 4096, access: .readWrite)
        var mover = try Mover(device)
        for seed in 0..<3 {
            pages.write(0, seed: seed)
            pages.fill(1, 0)
            try mover.move(Self.iova, toMemory: false)
            try mover.move(Self.iova + 0x10000, toMemory: true)
            #expect(pages.matching(1, seed: seed) == Self.piece)
            #expect(pages.run(1, from: Self.piece, of: 0) == 4096 - Self.piece)
        }
        try mover.expectClosedLedger()
        #expect(try device.device.unmapDMA(iova: Self.iova, size: 4096) == 4096)
        #expect(try device.device.unmapDMA(iova: Self.iova + 0x10000, size: 4096) == 4096)
    }

    @Test("unmapped: the transfer still ends with an interrupt, and no byte of memory changes")
    func unmapped() throws {
        let pages = Pages(2)
        let device = try RealDevice(Machine.edu, .msi)
        try pages.map(0, device.device, iova: Self.iova, size: 8192)
        var mover = try Mover(device)
        pages.write(0, seed: 7)
        try mover.move(Self.iova, toMemory: false)
        try mover.move(Self.iova + 4096, toMemory: true)
        #expect(pages.matching(1, seed: 7) == Self.piece)
        #expect(try device.device.unmapDMA(iova: Self.iova, size: 8192) == 8192)
        pages.fill(1, 0x5a)
        try mover.move(Self.iova + 4096, toMemory: true)
        #expect(pages.run(1, from: 0, of: 0x5a) == 4096)
        try mover.expectClosedLedger()
    }

    @Test("mapped for reading: what the device writes does not arrive")
    func readOnly() throws {
        let pages = Pages(1)
        let device = try RealDevice(Machine.edu, .msi)
        try pages.map(0, device.device, iova: Self.iova, access: .read)
        var mover = try Mover(device)
        pages.write(0, seed: 3)
        try mover.move(Self.iova, toMemory: false)
        pages.fill(0, 0x33)
        try mover.move(Self.iova, toMemory: true)
        #expect(pages.run(0, from: 0, of: 0x33) == 4096)
        try device.device.unmapDMA(iova: Self.iova, size: 4096)
    }

    @Test("the IOMMU tells its pages and ranges, and the mappings that are left count down")
    func info() throws {
        let pages = Pages(1)
        let device = try RealDevice(Machine.edu, .msi)
        let before = try device.device.iommuInfo()
        #expect(before.pageSizes & 4096 != 0 && !before.isMalformed)
        #expect(before.ranges.contains { $0.first <= Self.iova && Self.iova + 4095 <= $0.last })
        // Messages are writes to 0xfee00000 and on: no memory can be there.
        #expect(!before.ranges.contains { $0.first <= 0xfee0_0000 && 0xfee0_0000 <= $0.last })
        try pages.map(0, device.device, iova: Self.iova)
        let after = try device.device.iommuInfo()
        #expect(after.mappingsLeft == before.mappingsLeft.map { $0 - 1 })
        #expect(before.mappingsLeft == nil || before.mappingsLeft == 65535)
        #expect((before.mappingsLeft == nil) == Machine.hasIOMMUFD)
    }

    @Test("what cannot be mapped is told apart: taken, not aligned, out of reach, nothing there")
    func refusals() throws {
        let pages = Pages(2)
        let device = try RealDevice(Machine.edu, .msi)
        try pages.map(0, device.device, iova: Self.iova, size: 8192)
        func reason(_ body: () throws(VFIOError) -> Void) -> VFIOError.Reason? {
            do throws(VFIOError) { try body() } catch { return error.reason }
            return nil
        }
        #expect(
            reason { () throws(VFIOError) in try pages.map(0, device.device, iova: Self.iova + 4096) }
                == .addressTaken)
        #expect(
            reason { () throws(VFIOError) in try pages.map(0, device.device, iova: 0x200_0010) }
                == .badAddress)
        #expect(
            reason { () throws(VFIOError) in try pages.map(0, device.device, iova: 0xfee0_0000) }
                == .badAddress)
        // A mapping goes whole, or not at all.
        #expect(
            reason { () throws(VFIOError) in try device.device.unmapDMA(iova: Self.iova, size: 4096) }
                == .badAddress)
        #expect(try device.device.unmapDMA(iova: Self.iova, size: 8192) == 8192)
    }
}
