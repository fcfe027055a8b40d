import CKernel
import InterruptModel
import VFIO

/// A device of the emulated machine, and how it is made to raise an interrupt.
enum DeviceKind: Equatable {
    /// QEMU's edu: INTx and one MSI vector; register 0x60 raises, 0x64 acknowledges.
    case edu
    /// QEMU's rocker: MSI-X; register 0x20 fires the vector written to it.
    case rocker
    /// Any other: what requests do is compared, the device itself stays silent.
    case silent
    /// The kernel's sample mediated device, with a SET_IRQS of its own.
    case mtty

    init(_ device: RawDevice, _ name: VFIODeviceName) throws {
        guard case .pci = name else {
            self = .mtty
            return
        }
        switch try device.read(UInt32(VFIO_PCI_CONFIG_REGION_INDEX), 0) {
        case 0x11e8_1234: self = .edu
        case 0x0006_1b36: self = .rocker
        default: self = .silent
        }
    }
}

/// What the device itself remembers, as QEMU's source has it, beside what the model keeps of SET_IRQS.
struct DeviceMirror {
    let kind: DeviceKind
    /// edu's status register is not zero.
    private var raised = false
    /// Vectors whose pending bit was set when MSI-X was disabled. QEMU keeps the bits, so they fire when the vector is
    /// unmasked again.
    private var kept: Set<UInt32> = []

    init(_ kind: DeviceKind) { self.kind = kind }

    /// What the model makes of an interrupt that the device raises.
    mutating func raise(_ vector: Int, _ model: inout DeviceInterrupts) -> RaiseResult? {
        switch kind {
        case .edu:
            raised = true
            // With MSI enabled every write is a message, and the line stays as it is.
            return model.activeType == .msi ? model.raise(Vector(.msi, 0)) : model.assertLine()
        case .rocker:
            let vector = Vector(.msix, UInt32(vector))
            // A pending bit that is set already says no more when it is set again.
            if kept.contains(vector.number) { return nil }
            if model.activeType == .msix { return model.raise(vector) }
            kept.insert(vector.number)
            return nil
        // Whichever type is enabled is the one that it raises.
        case .mtty: return model.raise(Vector(model.activeType ?? .intx, 0))
        case .silent: return nil
        }
    }

    /// The driver acknowledges.
    mutating func acknowledge(_ model: inout DeviceInterrupts) {
        guard kind == .edu, raised else { return }
        raised = false
        if model.activeType != .msi { model.deassertLine() }
    }

    /// Whether the driver has to acknowledge now. The emulated IOAPIC forgets a level that rose while its pin was not
    /// set up (QEMU, hw/intc/ioapic.c: edge mode and masked), so a line must not be high when INTx is enabled.
    func mustAcknowledge(_ model: DeviceInterrupts) -> Bool { kind == .edu && raised && model.activeType != .intx }

    /// What a request's changes mean to the device. Returns the eventfds that it signals in answer.
    mutating func follow(_ changes: [Change]) -> [AssignedEventFD] {
        var signals: [AssignedEventFD] = []
        for change in changes {
            switch change {
            case .pendingDropped(let vector) where vector.index == .msix: kept.insert(vector.number)
            case .assigned(let vector, let eventFD) where vector.index == .msix:
                if kept.remove(vector.number) != nil { signals.append(eventFD) }
            default: break
            }
        }
        return signals
    }
}
