import CKernel
import EventRing
import InterruptModel
import Testing
import VFIO

/// Whether this machine has VFIO. Where it has, the emulated machine's tests open real devices.
enum Machine {
    static let hasVFIO = irqmux_fd_is_open(probe("/dev/vfio/vfio")) == 0
    static let hasIOMMUFD = irqmux_fd_is_open(probe("/dev/iommu")) == 0

    // SAFETY: the path is NUL-terminated for the duration of the call.
    private static func probe(_ path: String) -> Int32 { unsafe path.withCString { unsafe irqmux_vfio_open($0) } }
}

@Suite("opening what is not there")
struct OpeningTests {
    static let nowhere = PCIAddress(domain: 0xfffe, bus: 0xff, device: 31, function: 7)
    static let uuid = UUIDBytes(parsing: "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001".utf8)!

    @Test("a device that sysfs does not have is no such device, by whatever way", arguments: [0, 1, 2])
    func noDevice(way: Int) {
        let ways: [VFIODevice.Way] = [.automatic, .group, .characterDevice]
        for name in [VFIODeviceName.pci(Self.nowhere), .mdev(Self.uuid)] {
            do throws(VFIOError) {
                _ = try VFIODevice.open(name, by: ways[way])
                Issue.record("a device that does not exist was opened")
            } catch {
                #expect(error.reason == .noSuchDevice && error.errno == ENODEV)
                #expect(error.description.contains("there is no such device"))
            }
        }
    }

    @Test("without VFIO the container says what to load", .enabled(if: !Machine.hasVFIO, "vfio: it is here"))
    func noContainer() {
        do throws(VFIOError) {
            _ = try VFIOContainer()
            Issue.record("a container was opened")
        } catch {
            #expect(error.reason == .noVFIO)
            #expect("\(error)".contains("modprobe vfio-pci"))
        }
    }

    @Test("without iommufd it says so", .enabled(if: !Machine.hasIOMMUFD, "iommufd: it is here"))
    func noIOMMUFD() {
        do throws(VFIOError) {
            _ = try IOMMUFD()
            Issue.record("an iommufd was opened")
        } catch {
            #expect(error.reason == .noIOMMUFD)
            #expect("\(error)".contains("iommufd"))
        }
    }

    @Test("a group that nobody offers is not bound")
    func noGroup() {
        do throws(VFIOError) {
            _ = try VFIOGroup(2_000_000_000)
            Issue.record("a group was opened")
        } catch { #expect(error.reason == .notBound && error.errno == ENOENT) }
    }

    @Test("a file that is no device is refused and stays the caller's")
    func adoption() throws {
        let eventFD = try EventFD()
        for ownership in [VFIODevice.Ownership.borrowed, .taken] {
            do throws(VFIOError) {
                _ = try VFIODevice(adopting: eventFD.number, ownership)
                Issue.record("an eventfd was taken for a device")
            } catch { #expect(error.reason == .notADevice && error.operation == .adopt) }
        }
        try eventFD.signal()
        #expect(try eventFD.take() == 1)
        do throws(VFIOError) {
            _ = try VFIODevice(adopting: -1, .borrowed)
            Issue.record("a closed number was taken for a device")
        } catch { #expect(error.reason == .notADevice && error.errno == EBADF) }
    }

    @Test("every reason says what is the matter, and every one that can be mended how")
    func words() {
        for reason in VFIOError.Reason.allCases where reason != .unknown {
            #expect(reason.explanation.utf8CodeUnitCount > 0, "\(reason)")
            #expect(reason.remedy.utf8CodeUnitCount > 0, "\(reason)")
        }
        for operation in VFIOError.Operation.allCases { #expect(operation.name.utf8CodeUnitCount > 0) }
        let error = VFIOError(.setIOMMU, errno: EPERM, .noInterruptRemapping)
        #expect(error.description.hasPrefix("VFIO_SET_IOMMU: EPERM: "))
        #expect(error.description.contains("allow_unsafe_interrupts"))
        #expect(error.deviceError.errno == EPERM)
    }
}

@Suite("what the kernel tells of devices and IOMMUs")
struct InfoTests {
    static func words(_ words: [UInt32]) -> [UInt8] {
        words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> UInt32(8 * $0)) } }
    }

    @Test("the info of a device is read with and without capabilities")
    func device() throws {
        let plain = try #require(VFIODeviceInfo(bytes: Self.words([16, 3, 9, 5])))
        #expect(plain.canReset && plain.isPCI && plain.regionCount == 9 && plain.irqIndexCount == 5)
        #expect(plain.capabilities.isEmpty && !plain.isMalformed)
        let known = try #require(VFIODeviceInfo(bytes: Self.words([28, 0x82, 9, 5, 20, 0x0001_0005, 0])))
        #expect(!known.canReset && known.capabilities == [5] && !known.isMalformed)
        let loop = try #require(VFIODeviceInfo(bytes: Self.words([28, 0x82, 9, 5, 20, 0x0001_0005, 20])))
        #expect(loop.isMalformed)
        #expect(VFIODeviceInfo(bytes: [1, 2, 3]) == nil)
    }

    @Test("page sizes, ranges and the number of mappings left are read from the IOMMU's info")
    func iommu() throws {
        let bytes = Self.words([
            84, 3, 0x4020_1000, 0, 24, 0,  // page sizes, chain at 24
            0x0001_0002, 52, 0, 0, 0, 0, 0,  // 24: migration, which is passed over
            0x0001_0001, 84, 1, 0, 0x1000, 0, 0xfedf_ffff, 0,  // 52: one range
            0x0001_0003, 0, 65535,  // 84: mappings left
        ])
        let info = try #require(IOMMUInfo(bytes: bytes))
        #expect(info.pageSizes == 0x4020_1000 && info.mappingsLeft == 65535 && !info.isMalformed)
        #expect(info.ranges.map(\.first) == [0x1000] && info.ranges.map(\.last) == [0xfedf_ffff])
        let short = try #require(IOMMUInfo(bytes: Self.words([44, 3, 0x1000, 0, 24, 0, 0x0001_0001, 0, 9, 0])))
        #expect(short.isMalformed && short.ranges.isEmpty)
        #expect(IOMMUInfo(bytes: []) == nil)
    }
}
