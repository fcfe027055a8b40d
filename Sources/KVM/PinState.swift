internal import CKernel

/// How the in-kernel interrupt controllers see one pin: what the guest programmed, and how far the interrupt got.
///
/// For diagnosis. Of pins with their default routes only: GSI n is pin n of the IOAPIC, and below 16 of the PICs too.
/// Source: `KVM_GET_IRQCHIP`, Documentation/virt/kvm/api.rst section 4.26.
public struct PinState: Equatable, Sendable {
    /// What one controller has of the pin.
    public struct Controller: Equatable, Sendable {
        /// The guest has masked the pin, or has not set it up.
        public var isMasked: Bool
        /// The guest expects levels; otherwise edges.
        public var isLevel: Bool
        /// The guest has taken the interrupt and not ended it. An IOAPIC knows that of levels only.
        public var isInService: Bool

        /// Makes a state of its parts.
        public init(isMasked: Bool, isLevel: Bool, isInService: Bool) {
            self.isMasked = isMasked
            self.isLevel = isLevel
            self.isInService = isInService
        }
    }

    /// Somebody asserts the pin. An IOAPIC does not tell of an edge that it has delivered.
    public var isHigh: Bool
    /// The IOAPIC.
    public var ioAPIC: Controller
    /// The PIC, where the pin has one.
    public var pic: Controller?

    /// Makes a state of its parts.
    public init(isHigh: Bool, ioAPIC: Controller, pic: Controller? = nil) {
        self.isHigh = isHigh
        self.ioAPIC = ioAPIC
        self.pic = pic
    }
}

extension VirtualMachine {
    /// Looks at a pin of the in-kernel interrupt controllers. Two system calls, no effect on the guest.
    ///
    /// - Returns: `nil` where the machine has no such pin in the kernel: another irqchip than the full one, or a GSI
    ///   above 23.
    public func pinState(gsi: UInt32) -> PinState? {
        var pin = irqmux_kvm_pin()
        // SAFETY: the wrapper fills the structure, which outlives the call.
        guard unsafe irqmux_kvm_read_pin(number, gsi, &pin) == 0 else { return nil }
        let ioAPIC = PinState.Controller(
            isMasked: pin.ioapic_masked != 0, isLevel: pin.ioapic_level != 0, isInService: pin.ioapic_in_service != 0)
        let pic = PinState.Controller(
            isMasked: pin.pic_masked != 0, isLevel: pin.pic_level != 0, isInService: pin.pic_in_service != 0)
        return PinState(isHigh: pin.high != 0, ioAPIC: ioAPIC, pic: gsi < 16 ? pic : nil)
    }
}
