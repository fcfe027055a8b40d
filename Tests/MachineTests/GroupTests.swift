import CKernel
import Foundation
import IRQMux
import InterruptModel
import Testing
import VFIO

@Suite(
    "Containers and groups", .enabled(if: Machine.isHere && !Machine.hasIOMMUFD, Machine.reason), .serialized,
    .timeLimit(.minutes(4)))
struct GroupTests {
    @Test("as many mappings as the module allows, and one more is refused with the remedy")
    func mostMappings() throws {
        let limit = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"
        try Machine.write("3", to: limit)
        defer { try? Machine.write("65535", to: limit) }
        let pages = Pages(1)
        let device = try VFIODevice.open(.pci(Machine.edu), by: .group)
        for number in 0..<3 {
            try pages.map(0, device, iova: 0x100_0000 + UInt64(number) * 8192)
        }
        #expect(try device.iommuInfo().mappingsLeft == 0)
        do throws(VFIOError) {
            try pages.map(0, device, iova: 0x110_0000)
            #expect(Bool(false), "a fourth was taken")
        } catch {
            #expect(error.reason == .noMappingLeft && error.errno == ENOSPC)
        }
    }

    @Test("one container serves two groups, and what is mapped in it both devices reach")
    func sharedContainer() throws {
        var container = try VFIOContainer()
        let names = [VFIODeviceName.pci(Machine.edu), .pci(Machine.spareEdu)]
        let first = try VFIOGroup(VFIOGroup.id(of: names[0]))
        let second = try VFIOGroup(VFIOGroup.id(of: names[1]))
        #expect(try first.status().isViable && !first.status().isInContainer)
        try container.add(first)
        try container.add(second)
        #expect(try first.status().isInContainer)
        let pages = Pages(2)
        try pages.map(container, iova: 0x100_0000)
        #expect(try container.info().mappingsLeft == 65534)
        for (number, group) in [0, 1].enumerated() {
            let opened = group == 0 ? try first.device(names[0]) : try second.device(names[1])
            var mover = try Mover(RealDevice(opened))
            pages.write(0, seed: number)
            pages.fill(1, 0)
            try mover.move(0x100_0000, toMemory: false)
            try mover.move(0x100_1000, toMemory: true)
            #expect(pages.matching(1, seed: number) == RealDevice.eduPiece)
        }
        #expect(try container.unmap(iova: 0x100_0000, size: 8192) == 8192)
    }

    @Test("a group that is open, and one that is in a container, are told apart")
    func taken() throws {
        var container = try VFIOContainer()
        let id = try VFIOGroup.id(of: .pci(Machine.edu))
        let group = try VFIOGroup(id)
        func reason(_ body: () throws(VFIOError) -> Void) -> VFIOError.Reason? {
            do throws(VFIOError) { try body() } catch { return error.reason }
            return nil
        }
        #expect(reason { () throws(VFIOError) in _ = try VFIOGroup(id) } == .inUse)
        #expect(reason { () throws(VFIOError) in _ = try group.device(.pci(Machine.edu)) } == .notAttached)
        try container.add(group)
        #expect(reason { () throws(VFIOError) in _ = try group.device(.pci(Machine.rocker)) } == .noSuchDevice)
        var other = try VFIOContainer()
        #expect(reason { () throws(VFIOError) in try other.add(group) } == .groupTaken)
    }

    @Test("a hot reset names what it touches, wants all of it, and starts the device anew")
    func hotReset() throws {
        let name = VFIODeviceName.pci(Machine.express)
        var container = try VFIOContainer()
        let group = try VFIOGroup(VFIOGroup.id(of: name))
        try container.add(group)
        let device = try group.device(name)
        try device.setCommand(try device.command() | 0x6)
        let info = try device.hotResetInfo()
        #expect(!info.namesDevices)
        #expect(info.functions.map(\.address) == [Machine.express])
        #expect(info.functions.map(\.owner) == [Int32(group.id)])
        try ResetProbe.expectReset(device) { device in try device.hotReset(groups: [group.number]) }
        do throws(VFIOError) {
            try device.hotReset(groups: [])
            #expect(Bool(false), "a reset without the group")
        } catch {
            #expect(error.reason == .resetTouchesOthers)
        }
        // Nobody can reset the bus that the whole machine hangs on.
        let other = try VFIODevice.open(.pci(Machine.edu), by: .group)
        do throws(VFIOError) {
            _ = try other.hotResetInfo()
            #expect(Bool(false), "a reset of the root bus")
        } catch {
            #expect(error.reason == .noReset && error.errno == ENODEV)
        }
    }

    @Test("virtual functions of a physical one that VFIO drives open with its token alone")
    func token() throws {
        let physical = Machine.physical
        let directory = Machine.directory(physical)
        try Machine.write("Y", to: "/sys/module/vfio_pci/parameters/enable_sriov")
        try Machine.write("0", to: directory + "/sriov_numvfs")
        try Machine.bind(physical)
        let token = try #require(UUIDBytes(parsing: "2ab74924-c335-45f4-9b16-8569e5b08258".utf8))
        let wrong = try #require(UUIDBytes(parsing: "2ab74924-c335-45f4-9b16-8569e5b08259".utf8))
        do {
            var container = try VFIOContainer()
            let group = try VFIOGroup(VFIOGroup.id(of: .pci(physical)))
            try container.add(group)
            let owner = try group.device(.pci(physical))
            try owner.setToken(token)
            try Machine.write("2", to: directory + "/sriov_numvfs")
            let function = PCIAddress(bus: physical.bus, device: 0, function: 1)
            try Machine.bind(function)
            for shown in [nil, wrong] {
                do throws(VFIOError) {
                    _ = try VFIODevice.open(.pci(function), by: .group, token: shown)
                    #expect(Bool(false), "it opened with \(String(describing: shown))")
                } catch {
                    #expect(error.reason == .needsToken && error.errno == EACCES)
                }
            }
            let opened = try VFIODevice.open(.pci(function), by: .group, token: token)
            #expect(try opened.interruptInfo(.msix).count > 0)
            // A reset of the bus would touch the functions, whose groups are not shown.
            #expect(try owner.hotResetInfo().functions.map(\.address).contains(function))
            do throws(VFIOError) {
                try owner.hotReset(groups: [group.number])
                #expect(Bool(false), "a reset of functions that are not shown")
            } catch {
                #expect(error.reason == .resetTouchesOthers)
            }
        }
        try Machine.write("0", to: directory + "/sriov_numvfs")
        try Machine.write("N", to: "/sys/module/vfio_pci/parameters/enable_sriov")
        try Machine.write("nvme", to: directory + "/driver_override")
        try Machine.write("\(physical)", to: directory + "/driver/unbind")
        try Machine.write("\(physical)", to: "/sys/bus/pci/drivers_probe")
        #expect(Machine.driver(of: physical) == "nvme")
    }
}

/// Whether a reset reached e1000e: its register VET (0x38) holds what is written until then.
enum ResetProbe {
    private static let register: UInt64 = 0x38
    private static let initial: UInt64 = 0x8100

    static func expectReset(
        _ device: borrowing VFIODevice, _ place: SourceLocation = #_sourceLocation,
        by reset: (borrowing VFIODevice) throws -> Void
    ) throws {
        try device.writeRegion(0, offset: register, count: 4, value: 0x1234)
        #expect(try device.readRegion(0, offset: register, count: 4) == 0x1234, sourceLocation: place)
        try reset(device)
        // The kernel gives back the configuration space that it has saved, command register and all.
        try device.setCommand(try device.command() | 0x6)
        #expect(try device.readRegion(0, offset: register, count: 4) == initial, sourceLocation: place)
    }
}
