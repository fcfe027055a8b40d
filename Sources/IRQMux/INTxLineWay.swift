internal import CKernel
public import KVM

/// How the end of a guest's level-triggered interrupt gets back to the device, which masked itself when it fired.
public enum INTxWay: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    /// In the kernel: the device signals a resampling irqfd, and KVM signals the device's unmasking eventfd when the
    /// guest acknowledges. This process is never woken. Needs PIC and IOAPIC in the kernel; since Linux 3.8.
    case kernelResample
    /// With a split irqchip, where KVM refuses to resample: the device signals a plain irqfd, and the VMM's run loop
    /// hands `KVM_EXIT_IOAPIC_EOI` to ``EndOfInterruptSink``, which signals the unmasking eventfd. Since Linux 4.4.
    case ioapicBroadcast
    /// The VMM calls `Mux.acknowledge`, or `Mux.endOfInterrupt(gsi:)`, from its own end-of-interrupt callback.
    case userEOI
    /// Nobody tells of the end of an interrupt: while one is in service the device's mappings are off, the guest's
    /// accesses are trapped, and when they have ceased for a while the guest is taken to be done.
    case mappingToggle

    /// The way's name for reports.
    public var name: StaticString {
        switch self {
        case .kernelResample: "in-kernel resample"
        case .ioapicBroadcast: "IOAPIC broadcast"
        case .userEOI: "user EOI"
        case .mappingToggle: "mapping toggle"
        }
    }

    /// What happens with an interrupt, in half a sentence.
    public var summary: StaticString {
        switch self {
        case .kernelResample: "KVM raises the pin and unmasks the device when the guest acknowledges"
        case .ioapicBroadcast: "KVM injects, and the run loop unmasks the device on KVM_EXIT_IOAPIC_EOI"
        case .userEOI: "the VMM's end-of-interrupt callback unmasks the device"
        case .mappingToggle: "trapped accesses show the guest at work, and a quiet period that it is done"
        }
    }

    /// Whether signals go into the guest without waking this process.
    public var bypasses: Bool { self == .kernelResample || self == .ioapicBroadcast }
}

/// What there is for serving INTx: of the machine, of the device, and of the VMM.
public struct INTxCapabilities: Equatable, Sendable {
    /// The machine's interrupt controllers in the kernel; `none` also for a machine that is not KVM's.
    public var irqChip = IRQChip.none
    /// KVM has irqfds (`KVM_CAP_IRQFD`).
    public var irqfd = false
    /// KVM resamples (`KVM_CAP_IRQFD_RESAMPLE`).
    public var resample = false
    /// The device takes UNMASK with an eventfd. Kernel devices do; some vfio-user servers do not.
    public var unmaskEventFD = true
    /// The VMM's run loop hands on `KVM_EXIT_IOAPIC_EOI`.
    public var endOfInterruptExits = false
    /// The VMM learns of a guest's end of interrupt in some other way.
    public var endOfInterruptCallback = false
    /// The VMM can turn the mappings of the device's BARs off and on, and tells of trapped accesses.
    public var mappings = false

    /// Nothing but a device that takes an unmasking eventfd.
    public init() {}

    /// What a machine has; the VMM's own abilities remain to be set.
    ///
    /// - Throws: As `VirtualMachine.probeIRQChip()`.
    public init(of machine: borrowing VirtualMachine) throws(KVMError) {
        let known = machine.capabilities()
        irqChip = known.irqChip ? try machine.probeIRQChip() : .none
        irqfd = known.irqfd
        resample = known.irqfdResample
    }
}

/// A way, and why it was chosen.
public struct INTxChoice: Equatable, Sendable {
    /// Why the ways before the chosen one could not be had; of several reasons the last obstacle.
    public enum Reason: UInt8, CaseIterable, Sendable {
        /// Everything the first way needs is there.
        case everythingInKernel
        /// The split irqchip has no pins to resample.
        case splitIRQChip
        /// No interrupt controller of the machine is in the kernel.
        case noIRQChip
        /// KVM is without irqfds.
        case noIRQFD
        /// KVM does not resample.
        case noResample
        /// The device takes no unmasking eventfd.
        case noUnmaskEventFD
        /// The irqchip is split, and the run loop does not hand on the exits.
        case noExits
        /// Nobody tells of the end of an interrupt.
        case notTold
        /// The owner chose.
        case chosenByOwner

        /// The reason after "because".
        public var text: StaticString {
            switch self {
            case .everythingInKernel: "the full irqchip resamples and the device takes an unmasking eventfd"
            case .splitIRQChip: "KVM refuses to resample with a split irqchip, and the run loop hands on its exits"
            case .noIRQChip: "the machine has no interrupt controller in the kernel"
            case .noIRQFD: "this KVM has no irqfd"
            case .noResample: "this KVM does not resample"
            case .noUnmaskEventFD: "the device takes no unmasking eventfd"
            case .noExits: "the irqchip is split and the run loop does not hand on KVM_EXIT_IOAPIC_EOI"
            case .notTold: "the VMM is not told of a guest's end of interrupt"
            case .chosenByOwner: "its owner chose it"
            }
        }
    }

    /// The way.
    public let way: INTxWay
    /// Why this one.
    public let reason: Reason

    init(_ way: INTxWay, _ reason: Reason) {
        self.way = way
        self.reason = reason
    }
}

extension INTxWay {
    /// The best way that can be had: the fewer wake-ups of this process, the better.
    ///
    /// - Throws: `ENOTSUP` when none can be had.
    public static func best(for capabilities: INTxCapabilities) throws(MuxError) -> INTxChoice {
        let obstacle: INTxChoice.Reason
        switch capabilities.irqChip {
        case _ where !capabilities.unmaskEventFD: obstacle = .noUnmaskEventFD
        case .none: obstacle = .noIRQChip
        case _ where !capabilities.irqfd: obstacle = .noIRQFD
        case .full:
            if capabilities.resample { return INTxChoice(.kernelResample, .everythingInKernel) }
            obstacle = .noResample
        case .split:
            if capabilities.endOfInterruptExits { return INTxChoice(.ioapicBroadcast, .splitIRQChip) }
            obstacle = .noExits
        }
        if capabilities.endOfInterruptCallback { return INTxChoice(.userEOI, obstacle) }
        if capabilities.mappings { return INTxChoice(.mappingToggle, .notTold) }
        throw MuxError(
            "choosing a way for INTx", errno: ENOTSUP,
            remedy: "tell the mux of the guest's end of interrupt, or let it turn the device's mappings off and on")
    }
}

#if !hasFeature(Embedded)
    extension INTxChoice: CustomStringConvertible {
        /// "INTx by WAY: WHAT HAPPENS, because REASON".
        public var description: String { "INTx by \(way.name): \(way.summary), because \(reason.text)" }
    }
#endif
