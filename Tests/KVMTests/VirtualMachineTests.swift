import CKernel
import EventRing
import KVM
import TestSupport
import Testing

@Suite(
    "virtual machines and capabilities",
    .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized)
struct VirtualMachineTests {
    @Test("the probe agrees with what the machine does")
    func capabilities() throws {
        let device = try KVMDevice()
        #expect(device.apiVersion == 12)
        let can = device.capabilities()
        let machine = try device.createVirtualMachine()
        #expect(machine.capabilities() == can, "answers about one machine and about KVM are the same here")

        let chip: KVMError? = refusal { () throws(KVMError) in try machine.createIRQChip(.full) }
        #expect((chip == nil) == can.irqChip)
        let eventFD = try EventFD()
        let other = try EventFD()
        let irqfd = refusal { () throws(KVMError) in try machine.assignIRQFD(eventFD, gsi: 5) }
        #expect((irqfd == nil) == can.irqfd)
        let resample = refusal { () throws(KVMError) in try machine.assignIRQFD(eventFD, gsi: 5, resample: other) }
        #expect((resample == nil) == can.irqfdResample)
        func doorbell(_ place: DoorbellAddress.Place, _ width: DoorbellAddress.Width) -> Bool {
            refusal { () throws(KVMError) in
                try machine.assignIOEventFD(eventFD, at: DoorbellAddress(place, width: width))
            } == nil
        }
        #expect(doorbell(.memory(0x1000_0000), .four) == can.ioEventFD)
        #expect(doorbell(.port(0x700), .any) == can.ioEventFDNoLength)
        #expect(doorbell(.memory(0x1000_0000), .any) == can.ioEventFDAnyLength)
        let signal = refusal { () throws(KVMError) in try machine.signalMSI(address: 0xfee0_0000, data: 0x41) }
        #expect((signal == nil) == can.signalMSI)
        let split = try device.createVirtualMachine()
        let splitChip = refusal { () throws(KVMError) in try split.createIRQChip(.split(pins: 24)) }
        #expect((splitChip == nil) == can.splitIRQChip)
        #expect(can.canPair == (can.irqChip && can.irqfd && can.ioEventFD && can.routes > 0))
        #expect(can.maximumVirtualCPUs >= 1)
    }

    private func refusal<Result: ~Copyable>(_ body: () throws(KVMError) -> Result) -> KVMError? {
        do {
            _ = try body()
            return nil
        } catch { return error }
    }

    @Test("no /dev/kvm, and a file that is not KVM: said with what to do")
    func notKVM() {
        expectRefusal(.open, ENOENT, .noKVM) { () throws(KVMError) in try KVMDevice(path: "/dev/no-such-kvm") }
        expectRefusal(.open, ENOTTY, .noKVM) { () throws(KVMError) in try KVMDevice(path: "/dev/null") }
    }

    @Test("which irqchip a machine has is found out", arguments: [IRQChip.none, .split(pins: 24), .full])
    func probe(chip: IRQChip) throws {
        let machine = try VirtualMachine()
        try machine.createIRQChip(chip)
        #expect(try machine.probeIRQChip() == chip)
        #expect(try machine.probeIRQChip() == chip, "and asking leaves it as it was")
    }

    @Test("a second irqchip: EEXIST", arguments: [IRQChip.split(pins: 24), .full], [IRQChip.split(pins: 24), .full])
    func irqChipTwice(first: IRQChip, second: IRQChip) throws {
        let machine = try VirtualMachine()
        try machine.createIRQChip(first)
        expectRefusal(.createIRQChip, EEXIST, .irqChipExists) { () throws(KVMError) in
            try machine.createIRQChip(second)
        }
    }

    @Test("an irqchip after the first virtual CPU is too late", arguments: [IRQChip.split(pins: 24), .full])
    func irqChipTooLate(chip: IRQChip) throws {
        let machine = try VirtualMachine()
        let cpu = irqmux_ioctl_value(machine.number, irqmux_KVM_CREATE_VCPU, 0)
        try #require(cpu >= 0)
        defer { _ = irqmux_close(cpu) }
        expectRefusal(.createIRQChip, chip == .full ? EINVAL : EEXIST, .virtualCPUFirst) { () throws(KVMError) in
            try machine.createIRQChip(chip)
        }
    }

    @Test("a split irqchip with more pins than there are routes: EINVAL")
    func tooManyPins() throws {
        let machine = try VirtualMachine()
        expectRefusal(.createIRQChip, EINVAL, .tooManyPins) { () throws(KVMError) in
            try machine.createIRQChip(.split(pins: 4097))
        }
        try machine.createIRQChip(.split(pins: 0))
    }

    @Test("without an irqchip: no MSI, no line")
    func noIRQChip() throws {
        let machine = try VirtualMachine()
        expectRefusal(.signalMSI, EINVAL, .noIRQChip) { () throws(KVMError) in
            try machine.signalMSI(address: 0xfee0_0000, data: 0x41)
        }
        expectRefusal(.setLine, ENXIO, .noIRQChip) { () throws(KVMError) in
            try machine.setLine(gsi: 5, asserted: true)
        }
    }

    @Test("a shared machine outlives the descriptor it was shared from")
    func sharing() throws {
        let eventFD = try EventFD()
        let original = try VirtualMachine()
        try original.createIRQChip(.full)
        let shared = try VirtualMachine(sharing: original.number)
        #expect(shared.number != original.number)
        #expect(irqmux_close(original.release()) == 0)
        #expect(try shared.probeIRQChip() == .full)
        try shared.assignIRQFD(eventFD, gsi: 5).deassign()
    }

    @Test("an irqfd assigned through one descriptor of a machine is known to the other")
    func oneMachine() throws {
        let eventFD = try EventFD()
        let original = try VirtualMachine()
        try original.createIRQChip(.full)
        let shared = try VirtualMachine(sharing: original.number)
        let irqfd = try original.assignIRQFD(eventFD, gsi: 5)
        expectRefusal(.assignIRQFD, EBUSY, .alreadyBound) { () throws(KVMError) in
            try shared.assignIRQFD(eventFD, gsi: 5)
        }
        try irqfd.deassign()
    }

    @Test("only a machine's descriptor is adopted")
    func adoption() throws {
        let eventFD = try EventFD()
        let device = try KVMDevice()
        let machine = try VirtualMachine()
        let cpu = irqmux_ioctl_value(machine.number, irqmux_KVM_CREATE_VCPU, 0)
        try #require(cpu >= 0)
        defer { _ = irqmux_close(cpu) }
        for number in [eventFD.number, device.number, cpu] {
            expectRefusal(.adopt, ENOTTY, .notAVirtualMachine) { () throws(KVMError) in
                try VirtualMachine(owning: number)
            }
            expectRefusal(.adopt, ENOTTY, .notAVirtualMachine) { () throws(KVMError) in
                try VirtualMachine(sharing: number)
            }
            #expect(irqmux_fd_flags(number) >= 0, "a refused number stays the caller's")
        }
        expectRefusal(.adopt, EBADF, .notAVirtualMachine) { () throws(KVMError) in
            try VirtualMachine(owning: neverOpen)
        }
    }
}

@Suite("KVM errors speak") struct KVMErrorTests {
    @Test("every reason but the unknown one has a remedy")
    func remedies() {
        for reason in KVMError.Reason.allCases where reason != .unknown {
            #expect(reason.remedy.utf8CodeUnitCount > 0, "\(reason)")
        }
    }

    @Test("operation, errno and remedy stand on one line")
    func description() {
        #expect(
            "\(KVMError(.assignIRQFD, errno: EBUSY, .alreadyBound))"
                == "KVM_IRQFD: EBUSY: deassign it first, or use one eventfd for each irqfd")
        #expect("\(KVMError(.setLine, errno: EIO))" == "KVM_IRQ_LINE: EIO")
        for operation in KVMError.Operation.allCases {
            #expect("\(KVMError(operation, errno: EIO))".hasSuffix(": EIO"))
        }
    }
}
