import CKernel
import EventRing
import KVM
import TestSupport
import Testing

@Suite("irqfd rules", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized)
struct IRQFDTests {
    private func machine(_ chip: IRQChip = .full) throws -> VirtualMachine {
        let machine = try VirtualMachine()
        try machine.createIRQChip(chip)
        return machine
    }

    private func raw(
        _ machine: borrowing VirtualMachine, _ eventFD: Int32, gsi: UInt32, flags: Int32 = 0
    ) -> Int32 {
        var request = kvm_irqfd()
        request.fd = UInt32(bitPattern: eventFD)
        request.gsi = gsi
        request.flags = UInt32(flags)
        // SAFETY: a whole struct kvm_irqfd that outlives the call.
        return unsafe irqmux_ioctl(machine.number, irqmux_KVM_IRQFD, &request)
    }

    /// An eventfd is bound exactly when binding it once more is EBUSY. Leaves it as it was.
    private func isBound(_ machine: borrowing VirtualMachine, _ eventFD: Int32) -> Bool {
        let result = raw(machine, eventFD, gsi: 3000)
        if result == 0 { _ = raw(machine, eventFD, gsi: 3000, flags: KVM_IRQFD_FLAG_DEASSIGN) }
        return result == -EBUSY
    }

    @Test("without an irqchip: EINVAL, and said to be that")
    func noIRQChip() throws {
        let machine = try VirtualMachine()
        let eventFD = try EventFD()
        expectRefusal(.assignIRQFD, EINVAL, .noIRQChip) { () throws(KVMError) in
            try machine.assignIRQFD(eventFD, gsi: 24)
        }
    }

    @Test("resampling with a split irqchip: EINVAL, and said to be that")
    func resampleOnSplit() throws {
        let machine = try machine(.split(pins: 24))
        let eventFD = try EventFD()
        let resampled = try EventFD()
        expectRefusal(.assignIRQFD, EINVAL, .resampleNeedsFullIRQChip) { () throws(KVMError) in
            try machine.assignIRQFD(eventFD, gsi: 5, resample: resampled)
        }
        try machine.assignIRQFD(eventFD, gsi: 5).deassign()
    }

    @Test("a number that is not open: EBADF")
    func closedEventFD() throws {
        let machine = try machine()
        for number in [neverOpen, -1] {
            expectRefusal(.assignIRQFD, EBADF, .eventFDClosed) { () throws(KVMError) in
                try machine.assignIRQFD(number, gsi: 24)
            }
        }
    }

    @Test("a file that is no eventfd: EINVAL")
    func plainFile() throws {
        let machine = try machine()
        try withPlainFile { number in
            expectRefusal(.assignIRQFD, EINVAL, .notAnEventFD) { () throws(KVMError) in
                try machine.assignIRQFD(number, gsi: 24)
            }
        }
    }

    @Test("a bad resample eventfd: EINVAL or EBADF, and said to be that one")
    func badResampleFD() throws {
        let machine = try machine()
        let eventFD = try EventFD()
        try withPlainFile { number in
            expectRefusal(.assignIRQFD, EINVAL, .badResampleFD) { () throws(KVMError) in
                try machine.assignIRQFD(eventFD.number, gsi: 5, resampleFD: number)
            }
        }
        expectRefusal(.assignIRQFD, EBADF, .badResampleFD) { () throws(KVMError) in
            try machine.assignIRQFD(eventFD.number, gsi: 5, resampleFD: neverOpen)
        }
        #expect(isBound(machine, eventFD.number) == false)
    }

    @Test("an eventfd is one irqfd of a machine: EBUSY")
    func twice() throws {
        let machine = try machine()
        let eventFD = try EventFD()
        let irqfd = try machine.assignIRQFD(eventFD, gsi: 24)
        for gsi in [24, 25] as [UInt32] {
            expectRefusal(.assignIRQFD, EBUSY, .alreadyBound) { () throws(KVMError) in
                try machine.assignIRQFD(eventFD, gsi: gsi)
            }
        }
        try irqfd.deassign()
    }

    @Test("an eventfd is one irqfd of all machines since Linux 6.17")
    func acrossMachines() throws {
        let first = try machine()
        let second = try machine()
        let eventFD = try EventFD()
        let irqfd = try first.assignIRQFD(eventFD, gsi: 24)
        if kernelIsAtLeast(6, 17) {
            expectRefusal(.assignIRQFD, EBUSY, .alreadyBound) { () throws(KVMError) in
                try second.assignIRQFD(eventFD, gsi: 24)
            }
        } else {
            try second.assignIRQFD(eventFD, gsi: 24).deassign()
        }
        try irqfd.deassign()
    }

    @Test(
        "trap: a GSI without a route, even out of range, is accepted",
        arguments: [24, 4095, 4096, 100_000] as [UInt32])
    func unrouted(gsi: UInt32) throws {
        let machine = try machine()
        let eventFD = try EventFD()
        let irqfd = try machine.assignIRQFD(eventFD, gsi: gsi)
        try eventFD.signal()
        #expect(try eventFD.take() == 0, "and the signal is swallowed")
        try irqfd.deassign()
    }

    @Test("trap: a deassign that matches nothing succeeds, and leaves the irqfd bound")
    func deassignMismatch() throws {
        let machine = try machine()
        let eventFD = try EventFD()
        #expect(raw(machine, eventFD.number, gsi: 24, flags: KVM_IRQFD_FLAG_DEASSIGN) == 0, "never assigned")
        let irqfd = try machine.assignIRQFD(eventFD, gsi: 24)
        #expect(raw(machine, eventFD.number, gsi: 25, flags: KVM_IRQFD_FLAG_DEASSIGN) == 0, "another GSI")
        #expect(isBound(machine, eventFD.number) == true)
        try irqfd.deassign()
        #expect(isBound(machine, eventFD.number) == false)
    }

    @Test("the owner's deassign matches, with resampling too")
    func deassignResample() throws {
        let machine = try machine()
        let eventFD = try EventFD()
        let resampled = try EventFD()
        let irqfd = try machine.assignIRQFD(eventFD, gsi: 5, resample: resampled)
        #expect((irqfd.eventFD, irqfd.gsi, irqfd.resampleFD) == (eventFD.number, 5, resampled.number))
        #expect(isBound(machine, eventFD.number) == true)
        try irqfd.deassign()
        #expect(isBound(machine, eventFD.number) == false)
    }

    @Test("an owner that goes out of scope deassigns")
    func scope() throws {
        let machine = try machine()
        let eventFD = try EventFD()
        do {
            let irqfd = Held(try machine.assignIRQFD(eventFD, gsi: 24))
            #expect(isBound(machine, eventFD.number) == true)
            #expect(irqfd.value.gsi == 24)
        }
        #expect(isBound(machine, eventFD.number) == false)
    }

    @Test("deassigning from a machine, or with an eventfd, that was closed says so")
    func deassignAfterClose() throws {
        let machine = try machine()
        let alive = try EventFD()
        let moved = try VirtualMachine(owning: duplicateOutOfReach(machine.number))
        let irqfd = try moved.assignIRQFD(alive, gsi: 24)
        #expect(irqmux_close(moved.number) == 0)
        expectRefusal(ofDeassigning: irqfd, EBADF, .virtualMachineClosed)
        #expect(isBound(machine, alive.number) == true, "the machine lives on behind its other descriptor")

        let another = try EventFD()
        let number = try duplicateOutOfReach(another.number)
        let orphan = try machine.assignIRQFD(number, gsi: 24)
        #expect(irqmux_close(number) == 0)
        expectRefusal(ofDeassigning: orphan, EBADF, .eventFDClosed)
    }

    @Test("a closed machine refuses everything with EBADF")
    func closedMachine() throws {
        let machine = try VirtualMachine.closed()
        let eventFD = try EventFD()
        expectRefusal(.assignIRQFD, EBADF, .virtualMachineClosed) { () throws(KVMError) in
            try machine.assignIRQFD(eventFD, gsi: 24)
        }
        expectRefusal(.assignIOEventFD, EBADF, .virtualMachineClosed) { () throws(KVMError) in
            try machine.assignIOEventFD(eventFD, at: DoorbellAddress(.port(0x700), width: .two))
        }
        expectRefusal(.createIRQChip, EBADF, .virtualMachineClosed) { () throws(KVMError) in
            try machine.createIRQChip(.full)
        }
        expectRefusal(.signalMSI, EBADF, .virtualMachineClosed) { () throws(KVMError) in
            try machine.signalMSI(address: 0xfee0_0000, data: 0x41)
        }
        expectRefusal(.setLine, EBADF, .virtualMachineClosed) { () throws(KVMError) in
            try machine.setLine(gsi: 5, asserted: true)
        }
        expectRefusal(.assignIRQFD, EBADF, .virtualMachineClosed) { () throws(KVMError) in
            _ = try machine.probeIRQChip()
        }
    }

    @Test("unknown flags: EINVAL from the kernel")
    func unknownFlags() throws {
        let machine = try machine()
        let eventFD = try EventFD()
        #expect(raw(machine, eventFD.number, gsi: 24, flags: 1 << 7) == -EINVAL)
    }

    @Test("512 irqfds on one machine, and they all go")
    func many() throws {
        let machine = try machine()
        var eventFDs: [Held<EventFD>] = []
        var irqfds: [Held<IRQFD>] = []
        for index in 0..<512 {
            eventFDs.append(Held(try EventFD()))
            irqfds.append(Held(try machine.assignIRQFD(eventFDs[index].value, gsi: 24 + UInt32(index))))
        }
        irqfds.removeAll()
        for eventFD in eventFDs { #expect(isBound(machine, eventFD.value.number) == false) }
    }
}
