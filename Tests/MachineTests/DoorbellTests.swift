import CKernel
import EventRing
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import Synchronization
import Testing
import VFIO

@Suite(
    "Registers that the kernel writes when an eventfd is signalled", .enabled(if: Machine.isHere, Machine.reason),
    .serialized, .timeLimit(.minutes(4)))
struct DoorbellTests {
    @Test("one eventfd a vector: signalling it makes rocker fire that vector, with nobody here writing")
    func fires() throws {
        let device = try RealDevice(Machine.rocker, .msix)
        var mux = try Mux()
        let attached = try mux.attach(device)
        _ = try mux.connect(attached, .msix, device.vectors)
        let bells = try device.vectors.map { try Bell(device, vector: $0) }
        for vector in device.vectors {
            device.count(vector)
            try bells[Int(vector)].eventFD.signal()
            #expect(try mux.awaitEvent().vector.number == vector)
            #expect(try bells[Int(vector)].eventFD.take() == 0, "the kernel took it")
        }
        expectClosed(try mux.ledger(attached), raised: UInt64(device.vectors.count))
    }

    @Test("a doorbell that is gone writes nothing, and its eventfd keeps what it is told")
    func ends() throws {
        let device = try RealDevice(Machine.rocker, .msix)
        var mux = try Mux()
        let attached = try mux.attach(device)
        _ = try mux.connect(attached, .msix, 0..<1)
        let eventFD = try EventFD()
        do {
            let bell = try device.device.doorbell(eventFD.number, region: 0, offset: 0x20, width: 4, value: 0)
            device.count(0)
            try eventFD.signal()
            _ = try mux.awaitEvent()
            #expect(bell.value == 0)
        }
        try eventFD.signal()
        #expect(try mux.settle().isEmpty)
        #expect(try eventFD.take() == 1)
        // And it can be had again.
        _ = try device.device.doorbell(eventFD.number, region: 0, offset: 0x20, width: 4, value: 0)
        expectClosed(try mux.ledger(attached), raised: 1)
    }

    @Test("what cannot be a doorbell is told apart: the same write, the MSI-X table, beyond the BAR, a bad descriptor")
    func refusals() throws {
        let device = try RealDevice(Machine.rocker, .msix)
        let eventFD = try EventFD()
        func refusal(
            _ number: Int32, _ region: UInt32 = 0, _ offset: UInt64 = 0x20, width: UInt32 = 4, _ value: UInt64 = 1
        ) -> VFIOError? {
            do throws(VFIOError) {
                _ = try device.device.doorbell(number, region: region, offset: offset, width: width, value: value)
                return nil
            } catch { return error }
        }
        let bell = try device.device.doorbell(eventFD.number, region: 0, offset: 0x20, width: 4, value: 1)
        #expect(refusal(eventFD.number)?.reason == .doorbellTaken)
        #expect(refusal(eventFD.number)?.errno == EEXIST)
        #expect(refusal(eventFD.number, 0, 0x20, 2) == nil, "another value is another write")
        #expect(refusal(eventFD.number, width: 2) == nil, "so is another width")
        let table = try #require(try MSIXTablePlace(of: device.device))
        #expect(refusal(eventFD.number, table.region, table.offset)?.errno == EINVAL)
        #expect(refusal(eventFD.number, 0, device.device.regions[0].size)?.reason == .noSuchPlace)
        #expect(refusal(eventFD.number, RegionInfo.configuration, 4)?.errno == EINVAL)
        #expect(refusal(eventFD.number, 0, 0x20, width: 3)?.errno == EINVAL)
        #expect(refusal(-1, 0, 0x20, 7)?.errno == EBADF)
        #expect(refusal(999_999, 0, 0x20, 7)?.errno == EBADF)
        #expect(refusal(device.device.number, 0, 0x20, 7)?.errno == EINVAL, "a descriptor that is no eventfd")
        #expect(bell.value == 1)
    }

    @Test("a device has 1000 doorbells; one more is refused, and there is room again when one goes")
    func most() throws {
        let device = try RealDevice(Machine.edu, .msi)
        let eventFD = try EventFD()
        var bells: [Bell] = []
        for value in 0..<1000 { bells.append(try Bell(device, eventFD, value: UInt64(value))) }
        do throws(VFIOError) {
            _ = try Bell(device, eventFD, value: 1000)
            #expect(Bool(false), "there are more than 1000")
        } catch {
            #expect(error.reason == .tooManyDoorbells && error.errno == ENOSPC)
        }
        bells.removeLast()
        _ = try Bell(device, eventFD, value: 1000)
    }

    @Test("a nested guest keeps writing a register: KVM and VFIO carry it to the device, one interrupt a write")
    func guestsRegister() throws {
        let bus = try RegisterBus(RealDevice(Machine.edu, .msi))
        try bus.run(writes: 40)
        let told = try bus.finish()
        #expect(told.trapped == RegisterBus.threshold)
        #expect(told.shortcuts == 1)
        // The device raises for each write; the eventfd of its vector counts them all.
        #expect(told.interrupts == 40)
    }
}

/// A doorbell of rocker's or edu's register, for arrays.
private final class Bell {
    let eventFD: EventFD
    private var bell: VFIODoorbell?

    /// Fires one of rocker's vectors.
    init(_ device: RealDevice, vector: UInt32) throws {
        eventFD = try EventFD()
        bell = try device.device.doorbell(
            eventFD.number, region: 0, offset: 0x20, width: 4, value: UInt64(vector))
    }

    /// Writes edu's scratch register.
    init(_ device: RealDevice, _ shared: borrowing EventFD, value: UInt64) throws(VFIOError) {
        do throws(RingError) { eventFD = try EventFD() } catch { throw VFIOError(.doorbell, errno: error.errno) }
        bell = try device.device.doorbell(shared.number, region: 0, offset: 0x04, width: 4, value: value)
    }
}

/// Where the MSI-X table lies.
private struct MSIXTablePlace {
    let region: UInt32
    let offset: UInt64

    init?(of device: borrowing VFIODevice) throws {
        var next = try device.readRegion(RegionInfo.configuration, offset: 0x34, count: 1)
        while next != 0 {
            if try device.readRegion(RegionInfo.configuration, offset: next, count: 1) == 0x11 {
                let table = try device.readRegion(RegionInfo.configuration, offset: next + 4, count: 4)
                region = UInt32(table & 7)
                offset = table & ~7
                return
            }
            next = try device.readRegion(RegionInfo.configuration, offset: next + 1, count: 1)
        }
        return nil
    }
}

/// A guest's bus with edu's registers in one page, each access handed to the device's function until it is a shortcut.
private final class RegisterBus: Sendable {
    final class State {
        let device: RealDevice
        var mux: Mux
        var function: GuestFunction
        let attached: DeviceID
        var trapped = 0
        var refusal: MuxError?
        let eventFD: EventFD

        init(_ device: RealDevice) throws {
            var options = RegisterShortcutOptions()
            options.threshold = UInt32(RegisterBus.threshold)
            // Where VFIO does not write it, the test is to fail.
            options.loopRegisters = 0
            var mux = try Mux()
            attached = try mux.attach(device)
            var function = try GuestFunction(attached, shortcuts: options, on: &mux)
            try function.traps.add(RegionOverlay(.watched, region: 0, offset: 0, length: 0x1000))
            eventFD = try EventFD()
            _ = try device.setInterrupts(IRQRequest(.msi, .trigger, .eventfd([eventFD.number])))
            self.device = device
            self.mux = mux
            self.function = function
        }

        /// The guest has the BAR from now on.
        func map(in machine: borrowing VirtualMachine) throws(MuxError) {
            try mux.attach(guest: machine, routes: .irqChipDefaults())
            try function.mapped(region: 0, at: .memory(RegisterBus.base), on: &mux)
        }

        func write(_ part: RegionAccess, _ value: UInt64) {
            trapped += 1
            do throws(MuxError) { try function.write(part, value, on: &mux) } catch { refusal = error }
        }

        /// Ends the shortcuts; what there were.
        func finish() throws -> (trapped: Int, shortcuts: Int, interrupts: UInt64) {
            if let refusal = refusal ?? function.shortcutReport.lastError { throw refusal }
            let count = function.shortcutReport.kernelWritten
            let told = (trapped, count, try eventFD.take())
            _ = try device.setInterrupts(IRQRequest(.msi, .trigger, .none(count: 0)))
            try mux.detach(attached)
            // KVM has let go of the register, and so has VFIO.
            let other = try EventFD()
            _ = try device.device.doorbell(other.number, region: 0, offset: 0x60, width: 4, value: 1)
            return told
        }
    }

    static let base: UInt64 = 0xd_0000
    static let threshold = 10
    let state: Mutex<State>

    init(_ device: RealDevice) throws { state = Mutex(try State(device)) }

    func finish() throws -> (trapped: Int, shortcuts: Int, interrupts: UInt64) {
        try state.withLock { try $0.finish() }
    }

    private func answer(_ access: GuestAccess) -> GuestAnswer {
        guard case .memory(let address) = access.place, let value = access.written else { return .powerOff }
        state.withLock { state in
            state.write(RegionAccess(region: 0, offset: address - Self.base, width: access.width), value)
        }
        return .done
    }

    /// Runs a guest that writes 1 to edu's register that raises, so many times.
    func run(writes: UInt32) throws {
        var image = GuestImage()
        var code = RealModeAssembler(origin: GuestImage.codeOrigin)
        code.cli()
        code.movAX(0xd000)
        code.movESfromAX()
        let again = code.here
        code.storeInES(1, 0x60)
        code.incrementDWord(0x800)
        code.loadEAX(0x800)
        code.compareEAX(with: writes)
        code.jump(if: .below, to: again)
        code.writeWord(0, port: 0x501)
        code.haltForEver()
        image.place(code)
        let guest = try MicroGuest(image: image) { self.answer($0) }
        try state.withLock { try $0.map(in: guest.virtualMachine) }
        try guest.start()
        #expect(try guest.awaitEnd(milliseconds: 60_000) == .poweredOff)
    }
}
