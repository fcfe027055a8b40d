internal import CKernel
internal import EventRing
internal import KVM
internal import Synchronization

/// One virtual CPU with a thread of its own that runs it until it is stopped or ends by itself.
final class VirtualCPU: Sendable {
    private let number: Int32
    /// `struct kvm_run`: what the last KVM_RUN said.
    private let run: Mapping
    /// Signalled when the thread has ended, so that whoever waits for a doorbell need not wait for ever.
    let ended: EventFD
    private let onAccess: GuestAccessHandler?
    /// Told of `KVM_EXIT_IOAPIC_EOI`, on the virtual CPU's thread.
    private let endOfInterrupt: (@Sendable (UInt8) -> Void)?
    private let stopping = Atomic<Bool>(false)
    private let state = Mutex(State())

    private struct State {
        var thread: UInt?
        var hasStarted = false
        var exit: GuestExit?
    }

    /// Makes virtual CPU 0 of `machine`, in real mode at `entry`; with an irqchip, its local APIC in x2APIC mode.
    init(
        _ device: borrowing KVMDevice, _ machine: borrowing VirtualMachine, entry: UInt16, stack: UInt16,
        withAPIC apic: Bool, onAccess: GuestAccessHandler?, endOfInterrupt: (@Sendable (UInt8) -> Void)? = nil
    ) throws(MicroGuestError) {
        self.onAccess = onAccess
        self.endOfInterrupt = endOfInterrupt
        let size = irqmux_ioctl_value(device.number, irqmux_KVM_GET_VCPU_MMAP_SIZE, 0)
        guard size > 0 else { throw .system(operation: "KVM_GET_VCPU_MMAP_SIZE", errno: -size) }
        let number = irqmux_ioctl_value(machine.number, irqmux_KVM_CREATE_VCPU, 0)
        guard number >= 0 else { throw .system(operation: "KVM_CREATE_VCPU", errno: -number) }
        do {
            try VirtualCPU.setUp(device.number, number, entry, stack, apic)
            run = try Mapping(size: Int(size), file: number)
            ended = try VirtualCPU.eventFD()
        } catch {
            _ = irqmux_close(number)
            throw error
        }
        self.number = number
    }

    deinit {
        stop()
        _ = irqmux_close(number)
    }

    /// Why the guest ended; `nil` while it runs, or before it was started.
    var exit: GuestExit? { state.withLock { $0.exit } }

    /// Starts the thread. Once only.
    func start() throws(MicroGuestError) {
        let failure = state.withLock { state -> MicroGuestError? in
            guard !state.hasStarted else { return .startedTwice }
            // SAFETY: the thread takes over this retain, and gives it back when it ends.
            let context = unsafe Unmanaged.passRetained(self).toOpaque()
            var thread: UInt = 0
            // SAFETY: body and context belong together; `thread` is written before the call returns.
            let result = unsafe irqmux_kvm_start_thread(number, &thread, VirtualCPU.body, context)
            guard result == 0 else {
                // SAFETY: there is no thread that would give the retain back.
                unsafe Unmanaged<VirtualCPU>.fromOpaque(context).release()
                return .system(operation: "starting the virtual CPU's thread", errno: -result)
            }
            state.thread = thread
            state.hasStarted = true
            return nil
        }
        if let failure { throw failure }
    }

    /// Ends the thread and waits for it. From any thread but a virtual CPU's own; again is harmless.
    func stop() {
        let thread = state.withLock { state in
            defer { state.thread = nil }
            return state.thread
        }
        guard let thread else { return }
        stopping.store(true, ordering: .releasing)
        irqmux_kvm_interrupt_thread(thread)
        irqmux_kvm_join_thread(thread)
    }

    private static let body: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { context in
        // SAFETY: the context is the retained VirtualCPU that start() passed, and nobody else takes it.
        let cpu = unsafe Unmanaged<VirtualCPU>.fromOpaque(context!).takeRetainedValue()
        let exit = cpu.runToTheEnd()
        cpu.state.withLock { $0.exit = exit }
        try? cpu.ended.signal()
        return nil
    }

    private func runToTheEnd() -> GuestExit {
        while !stopping.load(ordering: .acquiring) {
            let result = irqmux_ioctl_value(number, irqmux_KVM_RUN, 0)
            if result == -EINTR || result == -EAGAIN { continue }
            if result < 0 { return .failed(errno: -result) }
            // SAFETY: the mapping is a struct kvm_run, and KVM does not write to it outside KVM_RUN.
            let exit = unsafe irqmux_kvm_read_exit(run.address)
            if Int32(exit.reason) == KVM_EXIT_IOAPIC_EOI, let endOfInterrupt {
                endOfInterrupt(UInt8(truncatingIfNeeded: exit.value))
                continue
            }
            if let end = attend(to: exit) { return end }
        }
        return .stopped
    }

    /// Lets the owner answer an access; the guest's end when it does not.
    private func attend(to exit: irqmux_kvm_exit) -> GuestExit? {
        guard let onAccess, let access = GuestAccess(exit) else { return GuestExit(exit) }
        switch onAccess(access) {
        case .done: return nil
        case .value(let value):
            // SAFETY: the mapping is a struct kvm_run, and only this thread runs the virtual CPU.
            if access.written == nil { unsafe irqmux_kvm_answer_read(run.address, value) }
            return nil
        case .powerOff: return .poweredOff
        case .unclaimed: return GuestExit(exit)
        }
    }

    private static func eventFD() throws(MicroGuestError) -> EventFD {
        do { return try EventFD() } catch { throw .eventFD(error) }
    }

    private static func setUp(
        _ device: Int32, _ cpu: Int32, _ entry: UInt16, _ stack: UInt16, _ apic: Bool
    ) throws(MicroGuestError) {
        func check(_ operation: StaticString, _ result: Int32) throws(MicroGuestError) {
            guard result == 0 else { throw .system(operation: operation, errno: -result) }
        }
        // Without the CPUID bit KVM refuses x2APIC mode.
        try check("KVM_SET_CPUID2", irqmux_kvm_use_supported_cpuid(device, cpu))
        try check("KVM_SET_SREGS", irqmux_kvm_enter_real_mode(cpu, entry, stack, apic ? 1 : 0))
        guard apic else { return }
        // The spurious-interrupt register: local APIC enabled, vector 0xFF.
        let spurious = 0x100 | UInt32(ClosedLoop.spuriousVector)
        try check("KVM_SET_LAPIC", irqmux_kvm_set_apic_register(cpu, 0xf0, spurious))
        // LINT0: ExtINT, so that the PIC's interrupts pass through the local APIC.
        try check("KVM_SET_LAPIC", irqmux_kvm_set_apic_register(cpu, 0x350, 0x700))
    }
}
