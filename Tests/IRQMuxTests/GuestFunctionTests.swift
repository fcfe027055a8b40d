import CKernel
import EventRing
import Exerciser
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import TestSupport
import Testing

@Suite(
    "A guest's PCI function", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized,
    .timeLimit(.minutes(5)))
struct GuestFunctionTests {
    /// A software device as one function, a guest that takes its messages, and a pin that only remembers.
    private struct Bench: ~Copyable {
        let bench: GuestBench
        let device: Exerciser
        let pin: Levels
        var mux: Mux
        let attached: DeviceID
        var function: GuestFunction

        init(msix: UInt32 = 4, msi: UInt32 = 4) throws {
            let bench = try GuestBench(4)
            let device = try Exerciser(ExerciserConfiguration(intx: 1, msi: msi, msix: msix))
            let pin = Levels()
            var mux = try Mux(smallOptions(capacity: 64))
            try bench.attach(to: &mux)
            let attached = try mux.attach(device)
            let function = try GuestFunction(
                attached, line: .userEOI(pin: INTxPin(gsi: 5) { _, isHigh in pin.changes.append(isHigh) }), on: &mux)
            self.bench = bench
            self.device = device
            self.pin = pin
            self.mux = mux
            self.attached = attached
            self.function = function
        }

        var table: UInt64 { UInt64(function.capabilities.msix?.table.offset ?? 0) }
        var messagesBAR: UInt32 { UInt32(function.capabilities.msix?.table.bar ?? 0) }
        var control: UInt64 { UInt64(function.capabilities.msix?.offset ?? 0) + 2 }

        mutating func configure(_ offset: UInt64, _ width: Int, _ value: UInt64) throws(MuxError) {
            try function.writeConfiguration(offset, width: width, value, on: &mux)
        }

        mutating func look(_ offset: UInt64, _ width: Int) throws(MuxError) -> UInt64 {
            try function.readConfiguration(offset, width: width, on: &mux)
        }

        func message(_ number: UInt32) -> (address: UInt64, data: UInt32) {
            guard case .message(let address, let data, _) = bench.guest.route(forMessage: Int(number) + 1) else {
                return (0, 0)
            }
            return (address, data)
        }

        mutating func program(_ number: UInt32, masked: Bool = false) throws {
            let (address, data) = message(number)
            let entry = RegionAccess(region: messagesBAR, offset: table + UInt64(number) * 16, width: 8)
            try function.write(entry, address, on: &mux)
            let rest = RegionAccess(region: messagesBAR, offset: entry.offset + 8, width: 8)
            try function.write(rest, UInt64(data) | (masked ? 1 << 32 : 0), on: &mux)
        }

        mutating func taken(_ number: UInt32) throws -> UInt64 {
            try mux.settle()
            try bench.fence()
            return try bench.taken(number)
        }
    }

    private final class Levels {
        var changes: [Bool] = []
    }

    @Test("the line is there until messages are switched on, and again when they are off")
    func turns() throws {
        var one = try Bench()
        let device = one.device
        #expect(one.function.line != nil && one.function.table?.count == 4)
        device.assertINTx()
        #expect(try one.mux.settle().count == 1 && one.pin.changes == [true])
        device.acknowledgeINTx()
        try one.mux.endOfInterrupt(gsi: 5)

        try one.configure(one.control, 2, 0x8000)
        #expect(one.function.line == nil && one.function.isMessaging && one.pin.changes == [true, false])
        #expect(try one.look(one.control, 2) == 0x8003 && one.look(one.control - 2, 4) >> 16 == 0x8003)
        try one.program(1)
        device.raise(Vector(.msix, 1))
        #expect(try one.taken(1) == 1 && one.function.vector(Vector(.msix, 1)) != nil)
        try one.configure(one.control, 2, 0)
        #expect(one.function.line != nil && !one.function.isMessaging)

        // MSI: two vectors, by its capability's registers.
        let msi = try #require(one.function.capabilities.msi)
        let (address, data) = one.message(0)
        try one.configure(UInt64(msi.offset) + 4, 4, address & 0xffff_ffff)
        if msi.is64Bit { try one.configure(UInt64(msi.offset) + 8, 4, address >> 32) }
        try one.configure(UInt64(msi.dataOffset), 2, UInt64(data))
        try one.configure(UInt64(msi.offset) + 2, 2, 1)
        #expect(one.function.line == nil && one.function.isMessaging)
        #expect(try one.look(UInt64(msi.offset) + 2, 2) & 1 == 1)
        device.raise(Vector(.msi, 0))
        #expect(try one.taken(0) == 1)
        try one.configure(UInt64(msi.offset) + 2, 2, 0)
        #expect(one.function.line != nil && one.function.lineError == nil && one.function.report.refusals == 0)
        let ledger = try one.mux.ledger(one.attached)
        #expect(ledger.unexplained == 0 && ledger.pending == 0 && ledger.raised == 3, "\(ledger)")
    }

    @Test("the table and the pending bits are the function's, everything else is the device's")
    func regions() throws {
        var one = try Bench()
        try one.configure(one.control, 2, 0x8000)
        try one.program(2, masked: true)
        try one.program(3)
        let bar = one.messagesBAR
        let entry = RegionAccess(region: bar, offset: one.table + 2 * 16 + 8, width: 8)
        #expect(try one.function.read(entry, on: &one.mux) == UInt64(one.message(2).data) | 1 << 32)
        let mask = RegionAccess(region: bar, offset: one.table + 3 * 16 + 12, width: 4)
        try one.function.write(mask, 1, on: &one.mux)
        one.device.raise(Vector(.msix, 3))
        let pending = RegionAccess(
            region: UInt32(one.function.capabilities.msix?.pending.bar ?? 0),
            offset: UInt64(one.function.capabilities.msix?.pending.offset ?? 0), width: 8)
        #expect(try one.function.read(pending, on: &one.mux) == 0b1000)
        try one.function.write(pending, 0, on: &one.mux)
        #expect(try one.function.read(pending, on: &one.mux) == 0b1000, "written to no effect")
        #expect(!one.function.traps.isPlain(entry) && !one.function.traps.isPlain(pending))
        try one.function.write(mask, 0, on: &one.mux)
        #expect(try one.taken(3) == 1)

        let magic = RegionAccess(region: 0, offset: 0, width: 4)
        #expect(one.function.traps.isPlain(magic))
        #expect(try one.function.read(magic, on: &one.mux) == one.device.readRegion(0, offset: 0, count: 4))
        #expect(try one.look(0, 4) == one.device.readRegion(7, offset: 0, count: 4))
        // Past everything: ones, and writes to no effect.
        #expect(try one.function.read(RegionAccess(region: 5, offset: 0, width: 4), on: &one.mux) == 0xffff_ffff)
        // Configuration space: beside any register, ones; past its end, what the device says.
        for (offset, width) in [(1, 2), (2, 4), (0, 3), (0, 8), (0, 0), (.max, 4)] as [(UInt64, Int)] {
            #expect(try one.look(offset, width) == .max >> UInt64(64 - 8 * width))
            try one.configure(offset, width, .max)
        }
        #expect(errno { () throws(MuxError) in _ = try one.look(1 << 20, 4) } == EINVAL)
        #expect(errno { () throws(MuxError) in _ = try one.look(.max - 3, 4) } == EINVAL)
        #expect(errno { () throws(MuxError) in try one.configure(.max - 1, 2, 0) } == EINVAL)
    }

    @Test("DisINTx goes through the mux: what was in service is not, and the level comes when it is cleared")
    func disINTx() throws {
        var one = try Bench()
        let device = one.device
        device.assertINTx()
        #expect(try one.mux.settle().count == 1 && one.pin.changes == [true])
        try one.configure(4, 2, 0x0402)
        #expect(one.pin.changes == [true, false] && one.function.registers.isDisabled)
        #expect(try one.look(4, 2) == 0x0402, "the device has it")
        #expect(try one.mux.settle().isEmpty)
        try one.configure(5, 1, 0)
        #expect(try one.mux.settle().count == 1 && one.pin.changes == [true, false, true])
    }

    @Test("a reset gives everything up, resets the device, and leaves a function as after power-on")
    func reset() throws {
        var one = try Bench()
        for _ in 0..<2 {
            // As a driver does that finds a function after a reset: without bus master nothing is sent.
            try one.configure(4, 2, 0x0006)
            try one.configure(one.control, 2, 0x8000)
            try one.program(0)
            try one.program(1)
            one.device.raise(Vector(.msix, 0))
            #expect(try one.taken(0) == 1)
            try one.function.reset(on: &one.mux)
            #expect(try !one.function.isMessaging && one.function.line != nil && one.look(4, 2) & 0x407 == 0)
            let entry = RegionAccess(region: one.messagesBAR, offset: one.table + 8, width: 8)
            #expect(try one.function.read(entry, on: &one.mux) == 1 << 32)
        }
    }

    @Test("a reset that the guest asks for by Device Control is one of its table, masks, DisINTx and line as well")
    func guestReset() throws {
        var one = try Bench()
        let express = UInt64(try #require(one.function.capabilities.express).offset)
        try one.configure(4, 2, 0x0406)
        try one.configure(one.control, 2, 0x8000)
        try one.program(0)
        one.device.raise(Vector(.msix, 0))
        #expect(try one.taken(0) == 1)
        // Beside the bit nothing is reset: the lower half, and the rest of the upper.
        try one.configure(express + 8, 1, 0x80)
        try one.configure(express + 9, 1, 0x20)
        #expect(one.function.isMessaging && one.function.registers.isDisabled)

        for (offset, width, value) in [(8, 2, 0xA000), (9, 1, 0x80), (8, 4, 0x8000)] as [(UInt64, Int, UInt64)] {
            try one.configure(express + offset, width, value)
            #expect(!one.function.isMessaging && one.function.line != nil && !one.function.registers.isDisabled)
            #expect(try one.look(one.control, 2) == 3 && one.look(4, 2) & 0x400 == 0)
            let entry = RegionAccess(region: one.messagesBAR, offset: one.table + 8, width: 8)
            #expect(try one.function.read(entry, on: &one.mux) == 1 << 32)
            // And it can begin anew, DisINTx as well.
            try one.configure(4, 2, 0x0406)
            #expect(try one.look(4, 2) & 0x400 != 0)
            try one.configure(one.control, 2, 0x8000)
            try one.program(0)
            one.device.raise(Vector(.msix, 0))
            #expect(try one.taken(0) == 1)
        }
        #expect(try one.mux.ledger(one.attached).unexplained == 0)
    }

    @Test("functions of a bus are reset together: nothing is connected while the bus is, once for all of them")
    func busReset() throws {
        var one = try Bench()
        let other = try Exerciser(ExerciserConfiguration(intx: 1, msix: 2))
        let attached = try one.mux.attach(other)
        let device = one.device
        var second = try GuestFunction(
            attached, line: .userEOI(pin: INTxPin(gsi: 6) { _, _ in }), on: &one.mux)
        try one.configure(one.control, 2, 0x8000)
        try one.program(0)
        var resets = 0
        try one.function.reset(on: &one.mux) { (mux) throws(MuxError) in
            try second.reset(on: &mux) { (mux) throws(MuxError) in
                resets += 1
                for each in [device, other] {
                    #expect(each.raise(Vector(.msix, 0)) == .dropped(.disabled), "nothing is connected")
                    do throws(DeviceError) { try each.reset() } catch { throw MuxError(error) }
                }
            }
        }
        #expect(resets == 1 && one.function.line != nil && second.line != nil && !one.function.isMessaging)
        device.assertINTx()
        #expect(try one.mux.settle().count == 1)
    }

    @Test(
        "a table wiped behind VFIO's back is repaired, MSI-X or MSI, whichever is on", arguments: [IRQIndex.msix, .msi])
    func repair(index: IRQIndex) throws {
        var one = try Bench()
        if index == .msix {
            try one.configure(one.control, 2, 0x8000)
            try one.program(0)
        } else {
            let msi = try #require(one.function.capabilities.msi)
            let (address, data) = one.message(0)
            try one.configure(UInt64(msi.offset) + 4, 4, address & 0xffff_ffff)
            if msi.is64Bit { try one.configure(UInt64(msi.offset) + 8, 4, address >> 32) }
            try one.configure(UInt64(msi.dataOffset), 2, UInt64(data))
            try one.configure(UInt64(msi.offset) + 2, 2, 1)
        }
        one.device.raise(Vector(index, 0))
        #expect(try one.taken(0) == 1)
        // What the device signals is gone, and nobody was told.
        _ = try one.device.setInterrupts(IRQRequest(index, .trigger, .eventfd([-1])))
        one.device.raise(Vector(index, 0))
        #expect(try one.taken(0) == 0)
        try one.function.repair(on: &one.mux)
        #expect(try one.taken(0) >= 1 && one.function.report.repairs == 1)
        one.device.raise(Vector(index, 0))
        #expect(try one.taken(0) == 1)
    }

    @Test("what the guest set of INTx while messages are on is there when they are off, on the machine it came to")
    func lineBehindMessages() throws {
        var here = try Bench()
        try here.configure(0x3C, 1, 11)
        try here.configure(here.control, 2, 0x8000)
        try here.program(0)
        try here.configure(4, 2, 0x0406)
        var state = InterruptState(msix: nil, msi: nil)
        try here.function.save(into: &state, on: &here.mux)
        state = try InterruptState(decoding: state.encoded)

        var there = try Bench()
        try there.function.load(state, on: &there.mux)
        #expect(there.function.line == nil && there.function.registers.isDisabled)
        #expect(try there.look(4, 2) & 0x400 != 0 && there.look(0x3C, 1) == 11)
        try there.configure(there.control, 2, 0)
        there.device.assertINTx()
        #expect(try there.mux.settle().isEmpty && there.pin.changes.isEmpty, "the guest does not want it")
        try there.configure(4, 2, 0x0006)
        #expect(try there.mux.settle().count == 1 && there.pin.changes == [true])
        #expect(try there.mux.ledger(there.attached).unexplained == 0)
    }

    @Test("a function is saved and loaded whole, with messages on or with its line told", arguments: [true, false])
    func state(messaging: Bool) throws {
        var here = try Bench()
        if messaging {
            try here.configure(here.control, 2, 0x8000)
            for number in 0..<3 as Range<UInt32> { try here.program(number) }
            try here.function.write(
                RegionAccess(region: here.messagesBAR, offset: here.table + 12, width: 4), 1, on: &here.mux)
            here.device.raise(Vector(.msix, 0))
        } else {
            here.device.assertINTx()
            try here.mux.settle()
        }
        var state = InterruptState(msix: nil, msi: nil)
        try here.function.save(into: &state, on: &here.mux)
        state = try InterruptState(decoding: state.encoded)
        var there = try Bench()
        try there.function.load(state, on: &there.mux)
        #expect(errno { () throws(MuxError) in try there.function.load(state, on: &there.mux) } == EBUSY)
        if messaging {
            #expect(there.function.line == nil && there.function.isMessaging)
            #expect(try there.taken(0) == 0 && there.taken(1) == 1 && there.taken(2) == 1, "open ones are told once")
            try there.function.write(
                RegionAccess(region: there.messagesBAR, offset: there.table + 12, width: 4), 0, on: &there.mux)
            #expect(try there.taken(0) == 1)
        } else {
            #expect(there.pin.changes == [true] && there.function.registers.isAsserted)
            try there.mux.endOfInterrupt(gsi: 5)
            #expect(there.pin.changes == [true, false] && !there.device.isINTxMasked)
        }
        var other = try Bench(msix: 2)
        #expect(errno { () throws(MuxError) in try other.function.load(state, on: &other.mux) } == EINVAL)
        #expect(other.function.line != nil && !other.function.isMessaging)
    }

    @Test(
        "the guest's Enable is a SET_IRQS, before anything is sent, and no register write of the device's",
        arguments: [IRQIndex.msix, .msi])
    func enableOrder(index: IRQIndex) throws {
        let device = Interposer(try Exerciser(ExerciserConfiguration(intx: 1, msi: 4, msix: 4)))
        let bench = try GuestBench(4)
        var mux = try Mux(smallOptions(capacity: 64))
        try bench.attach(to: &mux)
        var function = try GuestFunction(try mux.attach(device), on: &mux)
        let capability = UInt64(
            try #require(
                index == .msix ? function.capabilities.msix.map { $0.offset } : function.capabilities.msi?.offset))
        // As PCI has it: the enable bit beside the capability's header, in one write.
        let control: UInt64 = index == .msix ? 0x8000 : 1
        try function.writeConfiguration(capability, width: 4, control << 16, on: &mux)
        #expect(function.isMessaging == true)
        #expect(device.requests.first?.index == index && device.requests.first?.action == .trigger)
        #expect(device.writes.isEmpty, "a device that is enabled by its register has no vectors yet")
        try function.writeConfiguration(capability + 2, width: 2, 0, on: &mux)
        #expect(!function.isMessaging && device.writes.isEmpty)
    }

    @Test("a storm of masks is counted, and costs no more than its SET_IRQS; odd accesses are counted")
    func counts() throws {
        var one = try Bench()
        try one.configure(one.control, 2, 0x8000)
        try one.program(0)
        let before = one.function.report.maskChanges
        let mask = RegionAccess(region: one.messagesBAR, offset: one.table + 12, width: 4)
        for round in 0..<1000 { try one.function.write(mask, UInt64(1 - round % 2), on: &one.mux) }
        #expect(one.function.report.maskChanges == before + 1000 && one.function.report.illegalAccesses == 0)
        // Without effect: no change.
        for _ in 0..<10 { try one.function.write(mask, 0, on: &one.mux) }
        #expect(one.function.report.maskChanges == before + 1000)
        let odd = RegionAccess(region: one.messagesBAR, offset: one.table, width: 2)
        try one.function.write(odd, 0, on: &one.mux)
        #expect(one.function.report.illegalAccesses == 1)
        one.device.raise(Vector(.msix, 0))
        #expect(try one.taken(0) == 1)
    }

    @Test("what a vector may have lost while its host held it back is a kick when the host lets it go, and is counted")
    func kickOnResume() throws {
        var one = try Bench()
        try one.configure(one.control, 2, 0x8000)
        try one.program(0)
        #expect(try one.taken(0) == 0)
        try one.mux.maskAll(one.attached)
        try one.function.repair(on: &one.mux)
        #expect(try one.taken(0) == 0 && one.function.report.kicks == 0)
        try one.mux.unmaskAll(one.attached)
        #expect(try one.taken(0) == 1 && one.function.report.kicks == 1)
    }

    @Test("a device whose configuration space contradicts itself is refused, and nothing is connected")
    func contradiction() throws {
        var mux = try Mux(smallOptions())
        let attached = try mux.attach(WillingDevice())
        #expect(
            errno { () throws(MuxError) in _ = try GuestFunction(attached, line: .userEOI(), on: &mux) } == EINVAL)
        try mux.connect(attached, .intx, 0..<1)
    }
}
