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
    "A real guest's MSI", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized,
    .timeLimit(.minutes(5)))
struct GuestMSITests {
    @Test("1 to 32 vectors by one SET_IRQS, each with its number in the message", arguments: [1, 2, 8, 32] as [UInt32])
    func vectors(count: UInt32) throws {
        var kit = try MSIBench(count)
        try kit.enable(count)
        #expect(kit.device.requests.count == 1)
        for isCommitted in [false, true] {
            for number in 0..<count {
                kit.raise(number)
                #expect(try kit.taken(number) == 1, "\(number), committed: \(isCommitted)")
            }
            try kit.mux.commitRoutes()
        }
        #expect(kit.mux.routingCommits <= 7)
        let ledger = try kit.mux.ledger(kit.attached)
        #expect(ledger.unexplained == 0 && ledger.raised == UInt64(2 * count), "\(ledger)")
    }

    @Test("a masked MSI vector is held, pends truly, and fires once")
    func masking() throws {
        var kit = try MSIBench(4)
        try kit.enable(4)
        try kit.mux.commitRoutes()
        kit.msi.write(offset: 16, width: 4, 0b0100, on: &kit.mux)
        #expect(kit.msi.read(offset: 20, width: 4, on: &kit.mux) == 0)
        kit.raise(2)
        kit.raise(1)
        #expect(kit.msi.read(offset: 20, width: 4, on: &kit.mux) == 0b0100)
        #expect(try kit.taken(2) == 0)
        #expect(try kit.taken(1) == 1)
        kit.msi.write(offset: 16, width: 4, 0, on: &kit.mux)
        #expect(try kit.taken(2) == 1)
        #expect(kit.msi.read(offset: 20, width: 4, on: &kit.mux) == 0)
    }

    @Test("a host with fewer vectors gives what it has, and the rest are refused by name")
    func fewer() throws {
        var kit = try MSIBench(8, hostVectors: 5)
        try kit.enable(8)
        #expect(kit.msi.registers.inUseBits == 0b1111, "MSI vectors are a power of two")
        #expect(kit.msi.registers.refused == 4)
        #expect(kit.msi.report.shortAnswers == 1 && kit.msi.report.lastError?.errno == ENOSPC)
        kit.raise(3)
        #expect(try kit.taken(3) == 1)
    }

    @Test("saved and loaded: masks, pending bits and messages are as they were")
    func saveAndLoad() throws {
        var here = try MSIBench(4)
        try here.enable(4)
        here.msi.write(offset: 16, width: 4, 0b0010, on: &here.mux)
        here.raise(1)
        var state = InterruptState(msix: nil, msi: nil)
        try here.msi.save(into: &state, on: &here.mux)
        var there = try MSIBench(4)
        try there.msi.load(InterruptState(decoding: state.encoded), on: &there.mux)
        #expect(there.msi.read(offset: 20, width: 4, on: &there.mux) == 0b0010)
        for number in 0..<4 as Range<UInt32> { #expect(try there.taken(number) == (number == 1 ? 0 : 1)) }
        there.msi.write(offset: 16, width: 4, 0, on: &there.mux)
        #expect(try there.taken(1) == 1)
        let ledger = try there.mux.ledger(there.attached)
        #expect(ledger.unexplained == 0 && ledger.pending == 0 && ledger.raised == 1, "\(ledger)")
        there.msi.reset(on: &there.mux)
        #expect(there.device.requests.last == IRQRequest(.msi, .trigger, .none(count: 0)))
    }

    @Test("a capability for more vectors than the device has is refused")
    func tooMany() throws {
        let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 4, msix: 0))
        var mux = try Mux(smallOptions())
        let attached = try mux.attach(device)
        #expect(
            errno { () throws(MuxError) in
                _ = try GuestMSI(attached, MSIRegisters.Layout(vectors: 8), on: mux)
            } == EINVAL)
        #expect(errno { () throws(MuxError) in _ = try GuestMSIX(attached, on: mux) } == ENODEV)
    }
}
