import CKernel
import EventRing
import Foundation
import InterruptModel
import Testing
import VFIO

@Suite(
    "Regions of real devices, read and mapped", .enabled(if: Machine.isHere, Machine.reason), .serialized,
    .timeLimit(.minutes(5)))
struct RegionTests {
    private static let page = RegionInfo.Area(offset: 0, size: 4096)

    /// A device with its memory on, and messages allowed.
    private func open(_ address: PCIAddress) throws -> VFIODevice {
        let device = try VFIODevice.open(.pci(address), by: Machine.way)
        try device.setCommand(try device.command() | 0x6)
        return device
    }

    private func reason(_ body: () throws(VFIOError) -> Void) -> VFIOError.Reason? {
        do throws(VFIOError) { try body() } catch { return error.reason }
        return nil
    }

    @Test("a mapping is the device's memory: what one way writes, the other reads, and the device acts on it")
    func mapped() throws {
        let device = try open(Machine.edu)
        let mapping = try device.map(0, Self.page)
        // What it is, and a register that gives back the inverse of what was written last.
        #expect(mapping.load32(0) == 0x0100_00ed)
        mapping.store32(0x1234_5678, 4)
        #expect(try device.readRegion(0, offset: 4, count: 4) == UInt64(~UInt32(0x1234_5678)))
        try device.writeRegion(0, offset: 4, count: 4, value: 0xff)
        #expect(mapping.load32(4) == ~UInt32(0xff))
    }

    @Test("an interrupt that a mapped register fires arrives, without a system call at the device")
    func firedByMapping() throws {
        let device = try open(Machine.rocker)
        let eventFD = try EventFD()
        _ = try device.setInterrupts(IRQRequest(.msix, .trigger, start: 3, .eventfd([eventFD.number])))
        let mapping = try device.map(0, Self.page)
        for _ in 0..<10 {
            mapping.store32(3, 0x20)
            #expect(try eventFD.take() == 1)
        }
    }

    @Test("the kernel says that the pages of an MSI-X table may be mapped, and they are")
    func tableMapped() throws {
        let device = try open(Machine.rocker)
        let region = try #require(device.regions.firstIndex { $0.isMSIXMappable })
        let area = try #require(device.regions[region].mappableAreas.first)
        let mapping = try device.map(UInt32(region), RegionInfo.Area(offset: area.offset, size: 4096))
        #expect(mapping.size == 4096)
        // What the guest of a VMM would see there is the VMM's business; reading must not stop the program.
        _ = mapping.load32(0)
    }

    @Test("what is outside of the areas that can be mapped is refused before the kernel is asked")
    func refused() throws {
        let device = try open(Machine.edu)
        let size = device.regions[0].size
        let wrong: [(UInt32, RegionInfo.Area)] = [
            (0, RegionInfo.Area(offset: size, size: 4096)), (0, RegionInfo.Area(offset: 0, size: size + 4096)),
            (0, RegionInfo.Area(offset: 0, size: 0)), (0, RegionInfo.Area(offset: .max - 4095, size: 8192)),
            (RegionInfo.configuration, Self.page), (5, Self.page),
        ]
        for (region, area) in wrong {
            #expect(
                reason { () throws(VFIOError) in _ = try device.map(region, area) } == .notMappable,
                "region \(region), \(area)")
        }
        #expect(reason { () throws(VFIOError) in _ = try device.map(99, Self.page) } == .noSuchPlace)
    }
}

@Suite(
    "Devices that somebody else opened", .enabled(if: Machine.isHere, Machine.reason), .serialized,
    .timeLimit(.minutes(5)))
struct AdoptionTests {
    @Test(
        "the type that is enabled is found, whichever it is, and what was assigned goes on",
        arguments: [(Machine.edu, IRQIndex.intx), (Machine.edu, .msi), (Machine.rocker, .msix)])
    func activeType(address: PCIAddress, index: IRQIndex) throws {
        let owner = try RealDevice(address, index)
        let eventFD = try EventFD()
        _ = try owner.setInterrupts(IRQRequest(index, .trigger, .eventfd([eventFD.number])))
        do {
            let borrower = try VFIODevice(adopting: owner.device.number)
            #expect(borrower.activeType == index)
            _ = try borrower.setInterrupts(IRQRequest(index, .trigger, .none(count: 1)))
            #expect(try eventFD.take() == 1)
        }
        _ = try owner.setInterrupts(IRQRequest(index, .trigger, .none(count: 1)))
        #expect(try eventFD.take() == 1, "the borrower's end took nothing away")
    }

    @Test("a descriptor that is taken is closed with its device, one that is borrowed is not")
    func taken() throws {
        let owner = try VFIODevice.open(.pci(Machine.rocker), by: Machine.way)
        let copies = [fcntl(owner.number, F_DUPFD_CLOEXEC, 3), fcntl(owner.number, F_DUPFD_CLOEXEC, 3)]
        do {
            let borrower = try VFIODevice(adopting: copies[0])
            let taker = try VFIODevice(adopting: copies[1], .taken)
            #expect(borrower.regions == taker.regions && taker.activeType == nil)
        }
        #expect(fcntl(copies[0], F_GETFD) >= 0)
        #expect(fcntl(copies[1], F_GETFD) == -1 && errno == EBADF)
        close(copies[0])
    }

    @Test("a file that is no device is refused, and stays open")
    func noDevice() throws {
        let eventFD = try EventFD()
        var told: VFIOError?
        do throws(VFIOError) { _ = try VFIODevice(adopting: eventFD.number, .taken) } catch { told = error }
        #expect(told?.reason == .notADevice)
        #expect(fcntl(eventFD.number, F_GETFD) >= 0)
    }
}
