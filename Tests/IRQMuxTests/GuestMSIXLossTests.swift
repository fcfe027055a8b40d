import CKernel
import EventRing
import Exerciser
import Foundation
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import TestSupport
import Testing

@Suite(
    "A guest's MSI-X, held back or cut off", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"),
    .serialized, .timeLimit(.minutes(5)))
struct GuestMSIXLossTests {
    @Test("what a masked vector's device raised while its index grew is told, once, when the guest unmasks the vector")
    func regrowthUnderMask() throws {
        var configuration = ExerciserConfiguration(intx: 0, msi: 0, msix: 8)
        configuration.growsMSIX = false
        let raises = Switch()
        var kit = try MSIXBench(8, configuration: configuration) { (request, device) throws(DeviceError) in
            let answer = try device.setInterrupts(request)
            if raises.isOn, request.data == .none(count: 0) { device.raise(Vector(.msix, 1)) }
            return answer
        }
        kit.enable()
        for number in 0..<2 as Range<UInt32> { kit.request(number) }
        try kit.mux.commitRoutes()
        for number in 0..<8 as Range<UInt32> { _ = try kit.taken(number) }
        kit.mask(1)
        raises.isOn = true
        kit.request(5)
        raises.isOn = false
        #expect(kit.pending() & 0b10 == 0b10, "something may pend")
        #expect(try kit.taken(1) == 0, "masked")
        kit.unmask(1)
        #expect(try kit.taken(1) == 1)
        kit.mask(1)
        #expect(kit.pending() == 0)
        kit.unmask(1)
        #expect(try kit.taken(1) == 0, "once")
        try kit.expectBalanced(raised: nil)
    }

    @Test("what pended in the device before a vector's first use is told at that, though the index grew in between")
    func regrowthBeforeUse() throws {
        var configuration = ExerciserConfiguration(intx: 0, msi: 0, msix: 8)
        configuration.growsMSIX = false
        var kit = try MSIXBench(8, configuration: configuration)
        kit.enable()
        kit.request(0)
        kit.raise(7)
        kit.request(3)
        #expect(kit.msix.report.regrowths == 1)
        #expect(try kit.taken(7) == 0, "masked")
        kit.request(7)
        #expect(try kit.taken(7) == 1)
        kit.mask(7)
        #expect(kit.pending() & 0x80 == 0)
        kit.unmask(7)
        #expect(try kit.taken(7) == 0, "once")
        try kit.expectBalanced(raised: nil)
    }

    @Test("what a device that is held back raised while its index grew is told, once, when the host lets it go")
    func regrowthHeldBack() throws {
        var configuration = ExerciserConfiguration(intx: 0, msi: 0, msix: 8)
        configuration.growsMSIX = false
        let raises = Switch()
        var kit = try MSIXBench(8, configuration: configuration) { (request, device) throws(DeviceError) in
            let answer = try device.setInterrupts(request)
            if raises.isOn, request.data == .none(count: 0) {
                for number in 0..<2 as Range<UInt32> { device.raise(Vector(.msix, number)) }
            }
            return answer
        }
        kit.enable()
        for number in 0..<2 as Range<UInt32> { kit.request(number) }
        try kit.mux.commitRoutes()
        for number in 0..<2 as Range<UInt32> { _ = try kit.taken(number) }
        try kit.mux.maskAll(kit.attached)
        kit.mask(1)
        raises.isOn = true
        kit.request(5)
        raises.isOn = false
        kit.unmask(1)
        for number in 0..<2 as Range<UInt32> { #expect(try kit.taken(number) == 0, "held back: \(number)") }
        try kit.mux.unmaskAll(kit.attached)
        for number in 0..<2 as Range<UInt32> { #expect(try kit.taken(number) == 1, "\(number)") }
        try kit.expectBalanced(raised: nil)
    }

    @Test("a vector that cannot be brought back to the loop is masked all the same, and what it raises is kept")
    func refusedMask() throws {
        let isRefusing = Switch()
        var kit = try MSIXBench(3) { (request, device) throws(DeviceError) in
            if isRefusing.isOn, case .eventfd(let numbers) = request.data, numbers.contains(where: { $0 >= 0 }) {
                throw DeviceError("SET_IRQS", errno: ENOMEM)
            }
            return try device.setInterrupts(request)
        }
        kit.enable()
        for number in 0..<3 as Range<UInt32> { kit.request(number) }
        try kit.mux.commitRoutes()
        isRefusing.isOn = true
        kit.mask(1)
        #expect(kit.msix.table.refused == 0)
        for number in 0..<3 as Range<UInt32> { kit.raise(number) }
        for number in [0, 2] as [UInt32] { #expect(try kit.taken(number) == 1) }
        #expect(try kit.taken(1) == 0, "a masked vector does not fire")
        #expect(kit.pending() & 0b10 == 0b10)
        kit.unmask(1)
        #expect(kit.msix.table.isRefused(1))
        #expect(try kit.taken(1) == 0)
        isRefusing.isOn = false
        kit.msix.retry(on: &kit.mux)
        #expect(try kit.taken(1) >= 1, "told, and perhaps once more: nobody knows what was lost")
        kit.raise(1)
        #expect(try kit.taken(1) == 1)
        try kit.expectBalanced(raised: nil)
    }

    @Test("the host holds a whole device back: the guest's registers are the guest's still, and nothing is lost")
    func heldBack() throws {
        var kit = try MSIXBench(4)
        kit.enable()
        for number in 0..<3 as Range<UInt32> { kit.request(number) }
        try kit.mux.commitRoutes()
        kit.raise(0)
        #expect(try kit.taken(0) == 1)
        try kit.mux.maskAll(kit.attached)
        for number in 0..<3 as Range<UInt32> { for _ in 0..<2 { kit.raise(number) } }
        // The guest's own masks come and go meanwhile: one vector is masked in the end, one is not.
        for number in 1..<3 as Range<UInt32> { kit.mask(number) }
        kit.unmask(2)
        for number in 0..<3 as Range<UInt32> { #expect(try kit.taken(number) == 0, "held back: \(number)") }
        #expect(kit.pending() & 0b111 == 0b010, "pending bits are of what the guest masks")
        try kit.mux.unmaskAll(kit.attached)
        for number in [0, 2] as [UInt32] { #expect(try kit.taken(number) == 1, "\(number)") }
        #expect(try kit.taken(1) == 0, "the guest masks it")
        kit.unmask(1)
        #expect(try kit.taken(1) == 1)
        for number in 0..<3 as Range<UInt32> {
            kit.raise(number)
            #expect(try kit.taken(number) == 1)
        }
        try kit.expectBalanced(raised: 10)
    }

    @Test("a vector that serves the guest's registers is not disconnected behind the guest's back")
    func disconnected() throws {
        var kit = try MSIXBench(2)
        kit.enable()
        kit.request(0)
        let id = try kit.id(0)
        #expect(errno { () throws(MuxError) in try kit.mux.disconnect(id) } == EBUSY)
        kit.raise(0)
        #expect(try kit.taken(0) == 1)
    }

    @Test("a message that a closed machine does not take is dropped by name, not delivered")
    func closedMachine() throws {
        let machine = try KVMDevice().createVirtualMachine()
        try machine.createIRQChip(.full)
        let number = fcntl(machine.number, F_DUPFD_CLOEXEC, 940)
        try #require(number >= 0)
        var options = smallOptions()
        options.routeBatchDelay = .max
        var mux = try Mux(options)
        try mux.attach(owning: VirtualMachine(owning: number), routes: .irqChipDefaults())
        let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: 3))
        let attached = try mux.attach(device)
        var msix = try GuestMSIX(attached, on: mux)
        msix.writeMessageControl(0x8000, on: &mux)
        for (register, value) in [(0, 0xfee0_0000), (4, 0), (8, 0x41), (12, 0)] as [(UInt64, UInt64)] {
            for vector in 0..<3 as Range<UInt64> {
                msix.writeTable(offset: vector * 16 + register, width: 4, value, on: &mux)
            }
        }
        irqmux_close(number)
        #expect(irqmux_close(machine.release()) == 0)
        usleep(20_000)
        // The third one waits for a batch of routes, and is injected until then.
        device.raise(Vector(.msix, 2))
        #expect(try mux.settle().isEmpty)
        let ledger = try mux.ledger(attached)
        #expect(ledger.raised == 1 && ledger.drops[.noGuestRoute] == 1 && ledger.delivered == 0, "\(ledger)")
        #expect(ledger.unexplained == 0 && ledger.pending == 0, "\(ledger)")
    }
}
