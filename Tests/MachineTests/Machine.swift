import CKernel
import EventRing
import Foundation
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import Synchronization
import Testing
import VFIO

/// The emulated machine (Scripts/test-vm.sh), whose devices these tests know by address.
enum Machine {
    static let isHere = ProcessInfo.processInfo.environment["IRQMUX_MACHINE"] != nil
    static let reason: Comment = "machine: these tests run inside the emulated machine (make test-vm)"
    /// The devices are opened by their character devices and an iommufd.
    static let hasIOMMUFD = ProcessInfo.processInfo.environment["IRQMUX_MACHINE"] == "iommufd"
    /// The way to every device here.
    static let way: VFIODevice.Way = hasIOMMUFD ? .characterDevice : .group
    /// QEMU's edu: INTx, and MSI with one vector; it moves memory by DMA.
    static let edu = PCIAddress(bus: 0, device: 4, function: 0)
    /// Another one, which tests may give back to the host.
    static let spareEdu = PCIAddress(bus: 0, device: 5, function: 0)
    /// QEMU's rocker: 32 MSI-X vectors, each of which a register fires.
    static let rocker = PCIAddress(bus: 0, device: 7, function: 0)
    /// QEMU's nvme with 2048 MSI-X vectors, more than the one processor has room for.
    static let manyVectors = PCIAddress(bus: 0, device: 12, function: 0)
    /// QEMU's nvme with two virtual functions.
    static let physical = PCIAddress(bus: 1, device: 0, function: 0)
    /// QEMU's e1000e behind a root port: PCI Express with error reporting.
    static let express = PCIAddress(bus: 2, device: 0, function: 0)

    static func directory(_ address: PCIAddress) -> String { "/sys/bus/pci/devices/\(address)" }

    /// Writes to a file of sysfs.
    static func write(_ text: String, to path: String) throws {
        let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        try file.write(contentsOf: Data(text.utf8))
        try file.close()
    }

    static func driver(of address: PCIAddress) -> String? {
        let link = try? FileManager.default.destinationOfSymbolicLink(atPath: directory(address) + "/driver")
        return link?.split(separator: "/").last.map(String.init)
    }

    /// From whatever has it to vfio-pci; the override stays, so that it comes back there by itself.
    static func bind(_ address: PCIAddress) throws {
        try write("vfio-pci", to: directory(address) + "/driver_override")
        if driver(of: address) == "vfio-pci" { return }
        if driver(of: address) != nil { try write("\(address)", to: directory(address) + "/driver/unbind") }
        try write("\(address)", to: "/sys/bus/pci/drivers_probe")
        try #require(driver(of: address) == "vfio-pci")
    }
}

/// A device of the kernel's vfio-pci that counts what it is made to raise. Many may hold it: the mux, and who fires.
final class RealDevice: InterruptDevice, Sendable {
    let device: VFIODevice
    /// By vector. Held while the device is made to raise: a raise that was counted and not yet signalled would be
    /// counted on the wrong side of a switch. The one processor takes the interrupt before the register write returns.
    private let raised: Mutex<[UInt64]>
    private let index: IRQIndex
    private let log = Mutex<[IRQRequest]>([])

    /// Opens the device; `index` is the type by which it will raise.
    convenience init(_ address: PCIAddress, _ index: IRQIndex) throws {
        try self.init(VFIODevice.open(.pci(address), by: Machine.way), index)
    }

    /// A device that is open, which gets its memory and its messages.
    init(_ device: consuming VFIODevice, _ index: IRQIndex = .msi) throws {
        // Memory, and bus master: a message is a write of the device's own.
        try device.setCommand(try device.command() | 0x6)
        vectors = 0..<(try device.interruptInfo(index).count)
        raised = Mutex(Array(repeating: 0, count: vectors.count))
        self.index = index
        let isEdu = try device.readRegion(RegionInfo.configuration, offset: 0, count: 4) == 0x11e8_1234
        self.device = device
        // edu: its line may be high since an earlier test.
        if isEdu { try acknowledge() }
    }

    let vectors: Range<UInt32>

    /// Makes rocker fire a vector.
    func fire(_ vector: UInt32) throws {
        try raised.withLock {
            $0[Int(vector)] += 1
            try device.writeRegion(0, offset: 0x20, count: 4, value: UInt64(vector))
        }
    }

    /// Makes edu raise: a message, or its line.
    func raise() throws {
        try raised.withLock {
            $0[0] += 1
            try device.writeRegion(0, offset: 0x60, count: 4, value: 1)
        }
    }

    /// A number of edu's DMA: its buffer in the device, and how much it moves. The device wants less than a whole page.
    static let eduBuffer: UInt64 = 0x4_0000
    static let eduPiece = 2048

    /// Makes edu move `eduPiece` bytes between its buffer and `iova`, and interrupt when it is done.
    func transfer(iova: UInt64, toMemory: Bool) throws {
        raised.withLock { $0[0] += 1 }
        try device.writeRegion(0, offset: 0x80, count: 4, value: toMemory ? Self.eduBuffer : iova)
        try device.writeRegion(0, offset: 0x88, count: 4, value: toMemory ? iova : Self.eduBuffer)
        try device.writeRegion(0, offset: 0x90, count: 4, value: UInt64(Self.eduPiece))
        // Run, in that direction, and interrupt.
        try device.writeRegion(0, offset: 0x98, count: 4, value: toMemory ? 7 : 5)
    }

    /// Counts an interrupt that something else made the device raise.
    func count(_ vector: UInt32) { raised.withLock { $0[Int(vector)] += 1 } }

    /// What edu's driver does in its handler: the line goes low.
    func acknowledge() throws { try device.writeRegion(0, offset: 0x64, count: 4, value: 0xffff_ffff) }

    /// The eventfd that the device was told last to signal, or to be unmasked by.
    func eventFD(_ action: IRQRequest.Action) -> Int32 {
        for request in log.withLock({ $0 }).reversed() where request.action == action {
            if case .eventfd(let numbers) = request.data { return numbers[0] }
        }
        return -1
    }

    func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo { try device.interruptInfo(index) }
    func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        log.withLock { $0.append(request) }
        return try device.setInterrupts(request)
    }
    func reset() throws(DeviceError) { try device.reset() }
    func regionInfo(_ number: UInt32) throws(DeviceError) -> RegionInfo { try device.regionInfo(number) }
    func setDoorbell(_ register: DoorbellRegister, eventFD: Int32) throws(DeviceError) {
        try device.setDoorbell(register, eventFD: eventFD)
    }
    func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 {
        try device.readRegion(region, offset: offset, count: count)
    }
    func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {
        try device.writeRegion(region, offset: offset, count: count, value: value)
    }
    /// A line that is unmasked while the device asserts fires again, uncounted: then only the kernel knows.
    func raisedCount(_ vector: Vector) -> UInt64? {
        guard index != .intx else { return nil }
        guard vector.index == index else { return 0 }
        return raised.withLock { $0[Int(vector.number)] }
    }
}

/// A nested guest that rings a doorbell for each message, message `n` + 1 for vector `n` of a real device.
struct NestedGuest: Sendable {
    let guest: MicroGuest

    init(_ count: Int) throws {
        // Message 0 is the lowest in priority: it is nobody's but the fence's.
        guest = try MicroGuest(messageVectors: count + 1)
        try guest.start()
    }

    func gsi(_ number: UInt32) -> GSI { guest.gsi(forMessage: Int(number) + 1) }
    func doorbell(_ number: UInt32) -> GuestDoorbell { guest.doorbell(Int(number) + 1) }

    func attach(to mux: inout Mux) throws(MuxError) {
        let live: GSIRoutes
        do throws(KVMError) { live = try guest.withRouting { $0.live } } catch { throw MuxError(error) }
        try mux.attach(guest: guest.virtualMachine, routes: live)
    }

    /// How often the guest took a vector since it was last asked; waits for the first.
    func await(_ number: UInt32) throws -> UInt64 { try guest.awaitDoorbell(doorbell(number)) }
    /// The same without waiting.
    func taken(_ number: UInt32) throws -> UInt64 { try doorbell(number).eventFD.take() }

    /// Waits until everything that was injected before has been served.
    func fence() throws {
        let eventFD = try EventFD()
        let irqfd = try guest.virtualMachine.assignIRQFD(eventFD, gsi: guest.gsi(forMessage: 0))
        try eventFD.signal()
        _ = try guest.awaitDoorbell(guest.doorbell(0))
        try irqfd.deassign()
    }
}

extension Mux {
    /// Hands out events until there are none for several looks in a row; returns them all.
    @discardableResult
    mutating func settle() throws -> [VectorEvent] {
        var events: [VectorEvent] = []
        var quiet = 0
        while quiet < 5 {
            try wait(timeout: 0)
            quiet += 1
            while let event = next() {
                quiet = 0
                events.append(event)
                // More than any test raises: a line that nobody quiets.
                guard events.count < 10_000 else { throw Endless() }
            }
        }
        return events
    }
}

extension Mux {
    /// Waits for the next event, which a device that takes its time will cause.
    mutating func awaitEvent(_ place: SourceLocation = #_sourceLocation) throws -> VectorEvent {
        for _ in 0..<120 {
            try wait(timeout: 1_000_000_000)
            if let event = next() { return event }
        }
        throw Endless()
    }
}

struct Endless: Error {}

/// Nothing lost, nothing held, and the account knows of each interrupt that the device raised.
func expectClosed(_ ledger: Ledger, raised: UInt64, _ place: SourceLocation = #_sourceLocation) {
    #expect(ledger.unexplained == 0 && ledger.pending == 0 && ledger.dropped == 0, "\(ledger)", sourceLocation: place)
    #expect(ledger.raised == raised, "\(ledger)", sourceLocation: place)
}
