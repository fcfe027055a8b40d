import EventRing
import KVM
import MicroGuest
import TestSupport
import Testing

@Suite(
    "a guest's end is told, never a hang",
    .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized)
struct GuestLifeTests {
    private func guest(
        irqChip: IRQChip = .full, _ program: (inout RealModeAssembler) -> Void
    ) throws -> MicroGuest {
        var code = RealModeAssembler(origin: GuestImage.codeOrigin)
        program(&code)
        var image = GuestImage()
        image.place(code)
        return try MicroGuest(image: image, irqChip: irqChip)
    }

    @Test("an unanswered write ends the guest with port, value and width")
    func unclaimedPort() throws {
        let guest = try guest { $0.writeWord(0xbeef, port: 0x700) }
        try guest.start()
        #expect(try guest.awaitEnd() == .unclaimedPort(0x700, value: 0xbeef, width: 2, isWrite: true))
    }

    @Test("an unanswered write to memory ends the guest with address, value and width")
    func unclaimedMemory() throws {
        let guest = try guest {
            $0.movAX(0x2000)
            $0.movDSfromAX()
            $0.movEAX(0xdead_beef)
            $0.storeEAX(0x10)
        }
        try guest.start()
        #expect(try guest.awaitEnd() == .unclaimedMemory(0x2_0010, value: 0xdead_beef, width: 4, isWrite: true))
    }

    @Test("an exception that cannot be delivered is a triple fault")
    func tripleFault() throws {
        let guest = try guest {
            // The table of vectors is moved to where there is no memory. Right behind the two instructions (5 and 2
            // bytes) stands what lidt loads: a limit of 0x3ff, a base of 0x30000.
            $0.lidt($0.here + 7)
            $0.ud2()
            $0.data([0xff, 0x03, 0x00, 0x00, 0x03, 0x00])
        }
        try guest.start()
        let exit = try guest.awaitEnd()
        // Where real mode runs on the processor itself, KVM reports the failed delivery and not its consequence.
        if case .internalError = exit { return }
        #expect(exit == .shutdown)
    }

    @Test("code outside the guest's memory is KVM's internal error")
    func internalError() throws {
        let guest = try guest { $0.jmpFar(0x3000, 0) }
        try guest.start()
        let exit = try guest.awaitEnd()
        guard case .internalError = exit else {
            Issue.record("expected an internal error, got \(exit)")
            return
        }
    }

    @Test("without a local APIC a halt is the end")
    func halted() throws {
        let guest = try guest(irqChip: .none) { $0.hlt() }
        try guest.start()
        #expect(try guest.awaitEnd() == .halted)
    }

    @Test("an interrupt without a handler ends the closed loop's guest, and whoever waits is told")
    func unexpectedVector() throws {
        let guest = try MicroGuest(messageVectors: 1)
        try guest.start()
        try guest.virtualMachine.signalMSI(address: 0xfee0_0000, data: 0xa5)
        do {
            _ = try guest.awaitDoorbell(guest.doorbell(0))
            Issue.record("the doorbell of a dead guest rang")
        } catch .died(let exit) {
            #expect(exit == .unexpectedVector(0xa5))
            #expect("\(MicroGuestError.died(exit))".contains("165"))
        }
        #expect(guest.exit == .unexpectedVector(0xa5))
    }

    @Test("a guest that lives and is not asked to ring is a time-out, not a death")
    func timeOut() throws {
        let guest = try MicroGuest(messageVectors: 1)
        try guest.start()
        do {
            _ = try guest.awaitDoorbell(guest.doorbell(0), milliseconds: 20)
            Issue.record("a doorbell rang without an interrupt")
        } catch .timedOut {
            #expect(guest.exit == nil)
        }
        guest.stop()
    }

    @Test("stop joins, again is harmless, and a guest starts once")
    func stopping() throws {
        for _ in 0..<20 {
            let guest = try MicroGuest(messageVectors: 1)
            guest.stop()
            try guest.start()
            guest.stop()
            guest.stop()
            #expect(guest.exit == .stopped)
            #expect(throws: MicroGuestError.self) { try guest.start() }
        }
    }

    @Test("a guest that never halts is stopped all the same")
    func spinning() throws {
        let guest = try guest {
            $0.cli()
            $0.jmp($0.here)
        }
        try guest.start()
        guest.stop()
        #expect(guest.exit == .stopped)
    }

    @Test("a pin needs the PIC in the kernel")
    func pinOnSplit() {
        #expect(throws: MicroGuestError.self) { try MicroGuest(pin: .edge, irqChip: .split(pins: 24)) }
    }
}
