import EventRing
import KVM
import MicroGuest
import Synchronization
import TestSupport
import Testing

/// What the VMM's side of a guest saw.
private final class Register: Sendable {
    let value = Mutex<UInt32>(0)
    let accesses = Mutex<[GuestAccess]>([])

    /// One 32-bit register at 0xD0000, and a port that ends the guest.
    func answer(_ access: GuestAccess) -> GuestAnswer {
        accesses.withLock { $0.append(access) }
        switch (access.place, access.written) {
        case (.memory(0xd0000), nil): return .value(UInt64(value.withLock { $0 }))
        case (.memory(0xd0000), let written?):
            value.withLock { $0 = UInt32(truncatingIfNeeded: written) }
            return .done
        case (.port(0x700), nil): return .value(0xabcd)
        case (.port(0x501), .some): return .powerOff
        default: return .unclaimed
        }
    }
}

@Suite(
    "a guest's program and its VMM",
    .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized)
struct GuestProgramTests {
    private func run(
        _ register: Register = Register(), powerOff: Bool = true, _ program: (inout RealModeAssembler) -> Void
    ) throws -> MicroGuest {
        var code = RealModeAssembler(origin: GuestImage.codeOrigin)
        code.cli()
        code.movAX(0xd000)
        code.movESfromAX()
        program(&code)
        if powerOff { code.writeWord(0, port: 0x501) }
        code.haltForEver()
        var image = GuestImage()
        image.place(code)
        let guest = try MicroGuest(image: image, irqChip: .full) { register.answer($0) }
        try guest.start()
        return guest
    }

    @Test("a device's register is written and read, 32 bits wide, through the VMM")
    func deviceRegister() throws {
        let register = Register()
        let guest = try run(register) {
            $0.storeInES(0xdead_beef, 0)
            $0.loadEAXfromES(0)
            $0.storeEAX(0x800)
            $0.movEAX(7)
            $0.storeEAXinES(0)
        }
        #expect(try guest.awaitEnd() == .poweredOff)
        #expect(guest.load(0x800) == 0xdead_beef)
        #expect(register.value.withLock { $0 } == 7)
        let device = register.accesses.withLock { $0.filter { $0.place == .memory(0xd0000) } }
        #expect(device.map(\.written) == [0xdead_beef, nil, 7])
        #expect(device.allSatisfy { $0.width == 4 })
    }

    @Test("arithmetic and comparisons work on words in the guest's memory")
    func arithmetic() throws {
        let guest = try run {
            $0.store(1000, 0x800)
            $0.store(3000, 0x804)
            $0.loadEAX(0x800)
            $0.addEAX(0x804)
            $0.storeEAX(0x808)
            $0.loadEAX(0x800)
            $0.multiplyEAX(0x804)
            $0.storeEAX(0x80c)
            $0.incrementDWord(0x810)
            $0.incrementDWord(0x810)
        }
        #expect(try guest.awaitEnd() == .poweredOff)
        #expect(guest.load(0x808) == 4000 && guest.load(0x80c) == 3_000_000 && guest.load(0x810) == 2)
    }

    @Test(
        "a conditional jump is taken exactly when its condition holds, unsigned, forward and back",
        arguments: [(1, 2), (2, 2), (3, 2), (0xffff_ffff, 1)] as [(UInt32, UInt32)])
    func conditions(left: UInt32, right: UInt32) throws {
        let guest = try run { code in
            code.store(right, 0x804)
            let conditions: [RealModeAssembler.Condition] = [.below, .aboveOrEqual, .equal, .notEqual]
            for (place, condition) in conditions.enumerated() {
                code.movEAX(left)
                code.compareEAX(0x804)
                let over = code.jumpForward(if: condition)
                code.store(1, UInt16(0x810 + 4 * place))  // not jumped over
                code.land(over)
            }
            // Back: counts to five.
            let again = code.here
            code.incrementDWord(0x820)
            code.loadEAX(0x820)
            code.compareEAX(with: 5)
            code.jump(if: .notEqual, to: again)
        }
        #expect(try guest.awaitEnd() == .poweredOff)
        let taken = (0..<4).map { guest.load(UInt16(0x810 + 4 * $0)) == 0 }
        #expect(taken == [left < right, left >= right, left == right, left != right])
        #expect(guest.load(0x820) == 5)
    }

    @Test("a sleep until a counter reaches its goal is ended by the interrupt that counts, however early it comes")
    func sleeping() throws {
        var image = GuestImage()
        var code = RealModeAssembler(origin: GuestImage.codeOrigin)
        code.cli()
        code.store(1, 0x804)
        for _ in 0..<50 {
            code.writeWord(1, port: 0x600)  // the VMM answers with an interrupt, now
            code.sleepUntil(0x800, reaches: 0x804)
            code.incrementDWord(0x804)
        }
        code.writeWord(0, port: 0x501)
        code.haltForEver()
        image.setVector(0x40, to: code.here)
        code.incrementDWord(0x800)
        code.endOfInterruptX2APIC()
        code.iret()
        image.place(code)
        // The machine exists only once the guest does.
        let machine = Mutex<MicroGuest?>(nil)
        let register = Register()
        let guest = try MicroGuest(image: image) { access in
            guard access.place == .port(0x600) else { return register.answer(access) }
            _ = try? machine.withLock { $0 }?.virtualMachine.signalMSI(address: 0xfee0_0000, data: 0x40)
            return .done
        }
        machine.withLock { $0 = guest }
        defer { machine.withLock { $0 = nil } }
        try guest.start()
        #expect(try guest.awaitEnd() == .poweredOff)
        #expect(guest.load(0x800) == 50)
    }

    @Test("what the VMM writes into the guest's memory, the guest reads")
    func sharedMemory() throws {
        var code = RealModeAssembler(origin: GuestImage.codeOrigin)
        code.loadEAX(0x900)
        code.storeEAX(0x904)
        code.writeWord(0, port: 0x501)
        var image = GuestImage()
        image.place(code)
        let register = Register()
        let guest = try MicroGuest(image: image) { register.answer($0) }
        guest.store(0x1234_5678, at: 0x900)
        #expect(guest.load(0x900) == 0x1234_5678)
        try guest.start()
        #expect(try guest.awaitEnd() == .poweredOff)
        #expect(guest.load(0x904) == 0x1234_5678)
    }

    @Test("an access that the VMM does not claim is the guest's end, with place, value and width")
    func unclaimed() throws {
        let guest = try run(powerOff: false) { $0.writeByte(0x5a, port: 0x777) }
        #expect(try guest.awaitEnd() == .unclaimedPort(0x777, value: 0x5a, width: 1, isWrite: true))
    }
}
