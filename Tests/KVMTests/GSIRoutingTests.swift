import CKernel
import EventRing
import KVM
import MicroGuest
import TestSupport
import Testing

@Suite(
    "GSI routing against the kernel", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized)
struct GSIRoutingTests {
    private func machine(_ chip: IRQChip) throws -> VirtualMachine {
        let machine = try VirtualMachine()
        try machine.createIRQChip(chip)
        return machine
    }

    @Test("2048 vectors are one commit, and nothing changed is none")
    func oneCommit() throws {
        let machine = try machine(.full)
        var routing = GSIRouting(live: .irqChipDefaults())
        var allocator = GSIAllocator()
        #expect(try routing.commit(to: machine) == false)
        try routing.checkRoom(for: 2048)
        for vector in UInt32(0)..<2048 { try routing.add(message(vector), for: try allocator.allocate()) }
        #expect((routing.pendingChanges, routing.commits) == (2048, 0))
        #expect(try routing.commit(to: machine))
        #expect((routing.pendingChanges, routing.commits) == (0, 1))
        #expect(try routing.commit(to: machine) == false)
        // There and back again is no change.
        try routing.set(message(9999), for: 24)
        try routing.set(message(0), for: 24)
        routing.remove(25)
        try routing.add(message(1), for: 25)
        #expect(routing.pendingChanges == 0)
        #expect(try routing.commit(to: machine) == false)
        #expect(routing.commits == 1)
        #expect(routing.live == routing.wanted)
    }

    @Test("revert forgets what was not committed")
    func revert() throws {
        let machine = try machine(.full)
        var routing = GSIRouting(live: .irqChipDefaults())
        try routing.add(message(1), for: 24)
        try routing.commit(to: machine)
        let committed = routing.live
        routing.remove(24)
        try routing.add(message(2), for: 30)
        routing.remove(3)
        #expect(routing.pendingChanges == 3)
        routing.revert()
        #expect(routing.pendingChanges == 0)
        #expect(routing.wanted == committed)
        #expect(try routing.commit(to: machine) == false)
    }

    @Test("the kernel takes a table of exactly 4096 entries, and an empty one")
    func fullTable() throws {
        let machine = try machine(.full)
        var routing = GSIRouting(live: .irqChipDefaults())
        for gsi in 0..<UInt32(routing.room) { try routing.add(message(gsi), for: 24 + gsi) }
        #expect(routing.wanted.entries == 4096)
        #expect(try routing.commit(to: machine))
        for gsi in UInt32(0)..<4096 { routing.remove(gsi) }
        #expect(try routing.commit(to: machine))
        #expect(routing.live.count == 0)
        for gsi in UInt32(0)..<4096 { try routing.add(message(gsi), for: gsi) }
        #expect(try routing.commit(to: machine))
        #expect(routing.commits == 3)
    }

    @Test("without an irqchip nothing can be routed")
    func noIRQChip() throws {
        let machine = try VirtualMachine()
        var routing = GSIRouting(live: GSIRoutes())
        try routing.add(message(1), for: 24)
        expectRefusal(.commitRouting, EINVAL, .noIRQChip) { () throws(KVMError) in try routing.commit(to: machine) }
        #expect((routing.pendingChanges, routing.commits) == (1, 0))
    }

    @Test("a refused commit leaves the old table in force")
    func refusedCommit() throws {
        let guest = try MicroGuest(messageVectors: 1, irqChip: .split(pins: 24))
        try guest.start()
        try guest.withRouting { (routing: inout GSIRouting) throws(KVMError) in
            try routing.add(.pins(IRQChipPins(ioAPIC: 4)), for: 4)
            routing.remove(guest.gsi(forMessage: 0))
            expectRefusal(.commitRouting, EINVAL, .pinsNeedFullIRQChip) { () throws(KVMError) in
                try routing.commit(to: guest.virtualMachine)
            }
            #expect(routing.pendingChanges == 2)
            routing.revert()
        }
        let eventFD = try EventFD()
        let irqfd = try guest.virtualMachine.assignIRQFD(eventFD, gsi: guest.gsi(forMessage: 0))
        try eventFD.signal()
        #expect(try guest.awaitDoorbell(guest.doorbell(0)) == 1)
        try irqfd.deassign()
        guest.stop()
    }

    @Test("a machine closed under us is said to be closed")
    func closedMachine() throws {
        let machine = try VirtualMachine.closed()
        var routing = GSIRouting(live: GSIRoutes())
        try routing.add(message(1), for: 24)
        expectRefusal(.commitRouting, EBADF, .virtualMachineClosed) { () throws(KVMError) in
            try routing.commit(to: machine)
        }
    }

    @Test("the x2APIC address format refuses a low byte in the upper half")
    func badMessageAddress() throws {
        let machine = try machine(.split(pins: 24))
        try #require(machine.capabilities().x2APICFormat)
        var request = kvm_enable_cap()
        request.cap = UInt32(KVM_CAP_X2APIC_API)
        request.args.0 = 1  // KVM_X2APIC_API_USE_32BIT_IDS
        // SAFETY: a whole struct kvm_enable_cap that outlives the call.
        try #require(unsafe irqmux_ioctl(machine.number, irqmux_KVM_ENABLE_CAP, &request) == 0)
        var routing = GSIRouting(live: GSIRoutes())
        try routing.add(.message(address: 0x0000_0101_fee0_0000, data: 0x41), for: 24)
        expectRefusal(.commitRouting, EINVAL, .badMessageAddress) { () throws(KVMError) in
            try routing.commit(to: machine)
        }
        try routing.set(.message(address: 0x0000_0100_fee0_0000, data: 0x41), for: 24)
        #expect(try routing.commit(to: machine))
    }

    @Test("a device id is taken where KVM counts it and refused, or ignored, elsewhere")
    func deviceID() throws {
        let machine = try machine(.full)
        var routing = GSIRouting(live: .irqChipDefaults())
        try routing.add(.message(address: 0xfee0_0000, data: 0x41, deviceID: 0x100), for: 24)
        #expect(try routing.commit(to: machine))
    }
}
