/// What became of one interrupt that the device raised.
public enum RaiseResult: Equatable, Sendable {
    /// Signal this eventfd once.
    case signal(AssignedEventFD)
    /// The vector's pending bit was set: it fires once when an eventfd is assigned, or INTx is unmasked.
    case pended
    /// The pending bit was set already: this one and the pending one will be delivered as one.
    case alreadyPending
    /// Nobody will ever hear of it.
    case dropped(DropReason)
}

/// The device's own side: what it does without being asked by a request.
extension DeviceInterrupts {
    /// The device raises `vector`: a message for MSI and MSI-X, an event for ERR and REQ, the line's rising edge for
    /// INTx.
    ///
    /// Allocates nothing. A vector that the device does not have is dropped as `disabled`.
    public mutating func raise(_ vector: Vector) -> RaiseResult {
        guard vector.number < profile.count(vector.index, dialect) else { return .dropped(.disabled) }
        if dialect.tables == .oneVectorEach { return raiseSample(vector.index) }
        switch vector.index {
        case .err: return Self.result(err)
        case .req: return Self.result(req)
        case .intx: return assertLine()
        case .msi, .msix: return raiseMessage(vector)
        }
    }

    private static func result(_ eventFD: AssignedEventFD?) -> RaiseResult {
        if let eventFD { .signal(eventFD) } else { .dropped(.unassigned) }
    }

    private mutating func raiseMessage(_ vector: Vector) -> RaiseResult {
        let number = Int(vector.number)
        guard dialect.tables == .oneActiveType else { return Self.result(slots[number].trigger) }
        guard activeType == vector.index else { return .dropped(.disabled) }
        guard masks.isBusMaster else { return .dropped(.disabled) }
        if let trigger = slots[number].trigger, !masks.holds(vector) { return .signal(trigger) }
        // An MSI-X entry without a handler is masked in the table, and a masked entry sets its pending bit instead. For
        // MSI without such bits the host stands in, until the vector has had its first eventfd: the interrupt is
        // allocated and live, and the kernel notes that it fired (kernel/irq/chip.c, handle_edge_irq and
        // irq_startup). Taking the eventfd away shuts it down, and from then on messages are lost.
        let isKept = vector.index == .msix || profile.msiHasPendingBits
        guard slots[number].trigger != nil || isKept || (slots[number].allocated && !slots[number].wasAssigned) else {
            return .dropped(.unassigned)
        }
        guard !slots[number].pending else { return .alreadyPending }
        slots[number].pending = true
        return .pended
    }

    /// The device asserts its pin, or keeps asserting it.
    ///
    /// Unmasked, INTx masks itself and signals. Masked, or asserted already, it waits for an unmask.
    public mutating func assertLine() -> RaiseResult {
        let wasAsserted = line.asserted
        line.asserted = true
        if dialect.tables == .sharedByTypes { return Self.result(slots[0].trigger) }
        guard activeType == .intx else { return wasAsserted ? .alreadyPending : .pended }
        guard !line.masked else { return wasAsserted ? .alreadyPending : .pended }
        line.masked = true
        // The kernel's handler masks first and then finds nobody to tell.
        guard let trigger = line.trigger else { return .pended }
        return .signal(trigger)
    }

    /// The device lets its pin go, as it does when its driver has acknowledged the interrupt.
    public mutating func deassertLine() { line.asserted = false }

    /// The guest or the driver writes DisINTx in the command register. Returns the eventfd to signal, if any.
    ///
    /// Setting it masks INTx; clearing it unmasks, even where the mask came from a request.
    public mutating func writeDisINTx(_ set: Bool) -> AssignedEventFD? {
        guard set != line.disabledByCommand else { return nil }
        line.disabledByCommand = set
        guard set else { return Self.signal(in: unmaskLine()) }
        if activeType == .intx { line.masked = true }
        return nil
    }

    /// The unmasking eventfd was signalled. Returns the eventfd to signal, if the line is still asserted.
    public mutating func unmaskEventFDSignalled() -> AssignedEventFD? {
        line.unmask == nil ? nil : Self.signal(in: unmaskLine())
    }

    /// `VFIO_DEVICE_RESET`: the device lets its line go and forgets its pending bits; assignments and masks stay.
    ///
    /// - Returns: How many pending interrupts were forgotten.
    public mutating func reset() -> UInt32 {
        line.asserted = false
        return forgetPending()
    }

    /// The device is closed: everything is taken down, and DisINTx is as after power-up.
    ///
    /// - Returns: What happened, in order; every eventfd held is among the released ones.
    public mutating func close() -> [Change] {
        var changes: [Change] = []
        switch activeType {
        case .intx: changes += releaseINTx()
        case .msi, .msix: changes += releaseMSI()
        case .err, .req, nil: break
        }
        for number in slots.indices {
            guard let trigger = slots[number].trigger else { continue }
            changes.append(.released(Vector(.msix, UInt32(number)), trigger))
            slots[number].trigger = nil
        }
        if let eventFD = err { changes.append(.released(Vector(.err, 0), eventFD)) }
        if let eventFD = req { changes.append(.released(Vector(.req, 0), eventFD)) }
        err = nil
        req = nil
        line = Line()
        return changes
    }

    private mutating func forgetPending() -> UInt32 {
        var forgotten: UInt32 = 0
        for number in slots.indices where slots[number].pending {
            slots[number].pending = false
            forgotten += 1
        }
        return forgotten
    }

    private static func signal(in changes: [Change]) -> AssignedEventFD? {
        for case .signalled(_, let eventFD) in changes { return eventFD }
        return nil
    }
}
