/// Where an interrupt (GSI) goes inside the guest.
///
/// Source: `struct kvm_irq_routing_entry`, Documentation/virt/kvm/api.rst section 4.52.
public enum GSIRoute: Equatable, Sendable {
    /// A message-signalled interrupt.
    ///
    /// `address` and `data` are what the guest wrote into the device's MSI or MSI-X registers; `deviceID` the
    /// requester, where ``KVMCapabilities/messageDeviceID`` says that it counts.
    case message(address: UInt64, data: UInt32, deviceID: UInt32? = nil)
    /// Pins of the in-kernel PIC and IOAPIC.
    case pins(IRQChipPins)

    /// How many entries of the kernel's table the route takes.
    public var entries: Int {
        switch self {
        case .message: 1
        case .pins(let pins): pins.count
        }
    }
}

/// Pins of the x86 interrupt controllers that one GSI drives: at most one of each, which is all KVM accepts.
public struct IRQChipPins: Equatable, Sendable {
    /// The pin of the first PIC, 0 to 7.
    public var primaryPIC: UInt8?
    /// The pin of the second PIC, 0 to 7.
    public var secondaryPIC: UInt8?
    /// The pin of the IOAPIC, 0 to 23.
    public var ioAPIC: UInt8?

    /// Names pins; what is left out is not driven.
    public init(primaryPIC: UInt8? = nil, secondaryPIC: UInt8? = nil, ioAPIC: UInt8? = nil) {
        self.primaryPIC = primaryPIC
        self.secondaryPIC = secondaryPIC
        self.ioAPIC = ioAPIC
    }

    /// How many pins there are.
    public var count: Int {
        (primaryPIC == nil ? 0 : 1) + (secondaryPIC == nil ? 0 : 1) + (ioAPIC == nil ? 0 : 1)
    }

    /// Whether the controllers have these pins.
    var areValid: Bool { (primaryPIC ?? 0) < 8 && (secondaryPIC ?? 0) < 8 && (ioAPIC ?? 0) < 24 }

    /// The pins KVM_CREATE_IRQCHIP gives to `gsi`: below 16 a PIC's and the IOAPIC's, below 24 the IOAPIC's.
    public static func defaults(for gsi: UInt32) -> IRQChipPins {
        precondition(gsi < 24, "the irqchip has default routes for GSIs 0 to 23")
        let pin = UInt8(gsi)
        return IRQChipPins(
            primaryPIC: pin < 8 ? pin : nil, secondaryPIC: pin >= 8 && pin < 16 ? pin - 8 : nil, ioAPIC: pin)
    }
}
