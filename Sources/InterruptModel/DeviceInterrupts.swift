/// The interrupts of one device as the kernel keeps them: an executable copy of the rules of SET_IRQS.
///
/// A pure value. `apply` takes a request and says exactly what the kernel would do: errno or not, what was signalled,
/// and what is left behind by a request that fails half-way. The device's own side (its line, its raises, DisINTx,
/// reset) enters by the functions of `DeviceInterrupts+Events.swift`. Nothing here opens, signals or closes a file: an
/// eventfd is the identity that the caller gave it. One owner at a time, as the kernel serialises on one lock.
///
/// Source: docs/vfio-semantics.md, tables B.1 to B.4; drivers/vfio/pci/vfio_pci_intrs.c.
public struct DeviceInterrupts: Equatable, Sendable {
    /// INTx beside its eventfd: what masks and unmasks it.
    struct Line: Equatable, Sendable {
        var trigger: AssignedEventFD?
        var unmask: AssignedEventFD?
        var masked = false
        /// The device's pin, whether or not anybody listens.
        var asserted = false
        /// DisINTx as the guest or the driver wrote it in configuration space.
        var disabledByCommand = false
    }

    /// One MSI or MSI-X vector.
    struct Slot: Equatable, Sendable {
        var allocated = false
        /// An eventfd was assigned since the allocation, even if it is gone.
        var wasAssigned = false
        var trigger: AssignedEventFD?
        /// The pending bit: raised while nobody could take it.
        var pending = false
    }

    /// What the device and its host offer.
    public let profile: DeviceProfile
    /// Whose rules are followed.
    public let dialect: Dialect
    /// Which of INTx, MSI and MSI-X is enabled; `nil` for none, and always with a dialect that enables nothing.
    public internal(set) var activeType: IRQIndex?

    var line = Line()
    var slots: [Slot]
    var masks: MessageMasks
    var err: AssignedEventFD?
    var req: AssignedEventFD?

    /// A device as it is after being opened: nothing enabled, nothing assigned, its line low.
    public init(_ profile: DeviceProfile, _ dialect: Dialect = .linux) {
        self.profile = profile
        self.dialect = dialect
        slots = Array(repeating: Slot(), count: Int(max(profile.msiVectors, profile.msixVectors, 1)))
        masks = MessageMasks(msixVectors: profile.msixVectors)
    }

    /// What GET_IRQ_INFO answers; `nil` where it answers EINVAL.
    public func info(_ index: IRQIndex) -> IRQInfo? { profile.info(index, dialect) }

    /// The eventfd that `vector` signals; `nil` when it has none or the device has no such vector.
    public func eventFD(_ vector: Vector) -> AssignedEventFD? {
        guard vector.number < profile.count(vector.index, dialect) else { return nil }
        switch vector.index {
        case .err: return err
        case .req: return req
        case .intx where dialect.tables != .sharedByTypes: return activeType == .intx ? line.trigger : nil
        case .intx, .msi, .msix:
            guard dialect.tables == .sharedByTypes || activeType == vector.index else { return nil }
            return slots[Int(vector.number)].trigger
        }
    }

    /// How many MSI or MSI-X vectors are allocated at the host, with or without eventfd.
    public var allocatedVectors: UInt32 {
        slots.reduce(0) { $0 + ($1.allocated ? 1 : 0) }
    }

    /// Whether `vector` is allocated at the host.
    public func isAllocated(_ vector: Vector) -> Bool {
        guard vector.index == activeType, vector.number < profile.count(vector.index, dialect) else { return false }
        return vector.index == .intx || slots[Int(vector.number)].allocated
    }

    /// Whether `vector` was raised while nobody could take it and waits for an eventfd, or the asserted line for an
    /// unmask.
    public func isPending(_ vector: Vector) -> Bool {
        guard vector.number < profile.count(vector.index, dialect) else { return false }
        switch vector.index {
        case .intx: return line.asserted && line.masked
        case .msi, .msix: return activeType == vector.index && slots[Int(vector.number)].pending
        case .err, .req: return false
        }
    }

    /// Whether INTx is enabled and masked, by request, by itself, or by DisINTx.
    public var isINTxMasked: Bool { activeType == .intx && line.masked }
    /// Whether the device asserts its pin.
    public var isLineAsserted: Bool { line.asserted }
    /// Whether DisINTx is set in the command register.
    public var isINTxDisabledByCommand: Bool { line.disabledByCommand }
    /// The eventfd that unmasks INTx, if one is installed.
    public var unmaskEventFD: AssignedEventFD? { line.unmask }
}
