/// Which group of interrupts of a PCI device, as VFIO numbers them.
///
/// Source: `<linux/vfio.h>`, `VFIO_PCI_INTX_IRQ_INDEX` … `VFIO_PCI_REQ_IRQ_INDEX`.
public enum IRQIndex: UInt32, CaseIterable, Sendable, BitwiseCopyable {
    /// The level-triggered pin, INTA#…INTD#. One vector, maskable, automasked.
    case intx = 0
    /// Message-signalled interrupts, 1 to 32 vectors.
    case msi = 1
    /// Extended message-signalled interrupts, up to 2048 vectors.
    case msix = 2
    /// Error events (PCIe AER). One vector; since Linux 3.11.
    case err = 3
    /// "The host wants the device back." One vector; since Linux 4.0.
    case req = 4
}

/// One interrupt of a device: an index and a number within it.
public struct Vector: Hashable, Sendable {
    /// The group the vector belongs to.
    public var index: IRQIndex
    /// The number within the group, from 0.
    public var number: UInt32

    /// Names vector `number` of `index`. Whether a device has it is the device's to say.
    public init(_ index: IRQIndex, _ number: UInt32) {
        self.index = index
        self.number = number
    }
}
