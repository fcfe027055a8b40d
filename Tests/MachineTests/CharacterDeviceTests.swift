import CKernel
import EventRing
import Foundation
import IRQMux
import InterruptModel
import Testing
import VFIO

@Suite(
    "Character devices and iommufd", .enabled(if: Machine.isHere && Machine.hasIOMMUFD, Machine.reason), .serialized,
    .timeLimit(.minutes(4)))
struct CharacterDeviceTests {
    static let iova: UInt64 = 0x100_0000

    private func reason(_ body: () throws(VFIOError) -> Void) -> VFIOError.Reason? {
        do throws(VFIOError) { try body() } catch { return error.reason }
        return nil
    }

    @Test("attached, detached, attached elsewhere: DMA goes where the address space leads, and nowhere without one")
    func attach() throws {
        let iommufd = try IOMMUFD()
        let first = try iommufd.makeAddressSpace()
        let second = try iommufd.makeAddressSpace()
        let pages = Pages(3)
        try pages.map(0, iommufd, first, iova: Self.iova)
        try pages.map(1, iommufd, first, iova: Self.iova + 4096)
        try pages.map(2, iommufd, second, iova: Self.iova + 4096)
        let device = try RealDevice(VFIODevice.open(.pci(Machine.edu), at: iommufd, in: first), .msi)
        var mover = try Mover(device)
        pages.write(0, seed: 1)
        try mover.move(Self.iova, toMemory: false)
        try mover.move(Self.iova + 4096, toMemory: true)
        #expect(pages.matching(1, seed: 1) == RealDevice.eduPiece)

        try device.device.detach()
        pages.fill(1, 0x11)
        try mover.move(Self.iova + 4096, toMemory: true)
        #expect(pages.run(1, from: 0, of: 0x11) == 4096, "detached")

        try device.device.attach(to: second)
        try mover.move(Self.iova + 4096, toMemory: true)
        #expect(pages.matching(2, seed: 1) == RealDevice.eduPiece)
        #expect(pages.run(1, from: 0, of: 0x11) == 4096, "the other address space")

        // In one step back, without being detached between.
        try device.device.attach(to: first)
        try mover.move(Self.iova + 4096, toMemory: true)
        #expect(pages.matching(1, seed: 1) == RealDevice.eduPiece)
        try mover.expectClosedLedger()
    }

    @Test("an address space in use is not destroyed, and one that is not goes with its mappings")
    func destroy() throws {
        let iommufd = try IOMMUFD()
        let space = try iommufd.makeAddressSpace()
        let pages = Pages(1)
        do {
            let device = try VFIODevice.open(.pci(Machine.edu), at: iommufd, in: space)
            #expect(reason { () throws(VFIOError) in try iommufd.destroy(space) } == .inUse)
            #expect(device.iommufdID != nil)
        }
        try pages.map(0, iommufd, space, iova: Self.iova)
        try iommufd.destroy(space)
        #expect(
            reason { () throws(VFIOError) in
                try pages.map(0, iommufd, space, iova: Self.iova)
            } == .badAddress)
    }

    @Test("mappings: what is there, what is not, and ranges that narrow when a device is attached")
    func mappings() throws {
        let iommufd = try IOMMUFD()
        let space = try iommufd.makeAddressSpace()
        let pages = Pages(2)
        let alone = try iommufd.info(of: space)
        #expect(alone.ranges.map(\.first) == [0] && alone.ranges.map(\.last) == [.max])
        let device = try VFIODevice.open(.pci(Machine.edu), at: iommufd, in: space)
        let attached = try iommufd.info(of: space)
        #expect(!attached.ranges.contains { $0.first <= 0xfee0_0000 && 0xfee0_0000 <= $0.last })
        try pages.map(0, iommufd, space, iova: Self.iova, size: 8192)
        #expect(
            reason { () throws(VFIOError) in
                try pages.map(0, iommufd, space, iova: Self.iova)
            } == .addressTaken)
        #expect(try iommufd.unmap(iova: Self.iova, size: 8192, in: space) == 8192)
        #expect(
            reason { () throws(VFIOError) in try iommufd.unmap(iova: Self.iova, size: 8192, in: space) }
                == .badAddress)
        #expect(try iommufd.hardware(of: device).type == 1, "QEMU's intel-iommu")
    }

    @Test("one iommufd has several devices, each with a number of its own and its own interrupts")
    func several() throws {
        let iommufd = try IOMMUFD()
        let space = try iommufd.makeAddressSpace()
        let first = try RealDevice(VFIODevice.open(.pci(Machine.edu), at: iommufd, in: space), .msi)
        let second = try RealDevice(VFIODevice.open(.pci(Machine.rocker), at: iommufd, in: space), .msix)
        #expect(first.device.iommufdID != second.device.iommufdID)
        var mux = try Mux()
        let attached = [try mux.attach(first), try mux.attach(second)]
        _ = try mux.connect(attached[0], .msi, 0..<1)
        _ = try mux.connect(attached[1], .msix, second.vectors)
        for vector in second.vectors {
            try first.raise()
            #expect(try mux.settle().map(\.vector) == [Vector(.msi, 0)])
            try second.fire(vector)
            #expect(try mux.settle().map(\.vector) == [Vector(.msix, vector)])
        }
        expectClosed(try mux.ledger(attached[0]), raised: 32)
        expectClosed(try mux.ledger(attached[1]), raised: 32)
    }

    @Test("a device that is open by its character device is in use for everybody else, also by its group")
    func inUse() throws {
        let device = try VFIODevice.open(.pci(Machine.edu), by: .characterDevice)
        #expect(device.iommufdID != nil)
        for way in [VFIODevice.Way.characterDevice, .group] {
            #expect(reason { () throws(VFIOError) in _ = try VFIODevice.open(.pci(Machine.edu), by: way) } == .inUse)
        }
    }

    @Test("a hot reset names devices and not groups, and wants the descriptors of none")
    func hotReset() throws {
        let device = try VFIODevice.open(.pci(Machine.express), by: .characterDevice)
        try device.setCommand(try device.command() | 0x6)
        let info = try device.hotResetInfo()
        #expect(info.namesDevices && info.isOwned)
        #expect(info.functions.map(\.address) == [Machine.express])
        #expect(info.functions.map(\.owner) == [Int32(device.iommufdID ?? 0)])
        try ResetProbe.expectReset(device) { device in try device.hotReset(groups: []) }
    }

    @Test("a token with bind is refused by kernels that do not know it, and the device stays free")
    func token() throws {
        let token = try #require(UUIDBytes(parsing: "2ab74924-c335-45f4-9b16-8569e5b08258".utf8))
        #expect(
            reason { () throws(VFIOError) in
                _ = try VFIODevice.open(.pci(Machine.edu), by: .characterDevice, token: token)
            } == .unsupported)
        _ = try VFIODevice.open(.pci(Machine.edu), by: .characterDevice)
    }
}
