internal import CKernel

/// What holds messages back inside the device: mask bits, MSI-X's function mask, and bus mastership.
///
/// An entry of the MSI-X table comes up masked. Assigning an eventfd opens it and de-assigning shuts it, as the kernel
/// does with a real table when it requests and frees the interrupt.
struct MessageMasks: Equatable, Sendable {
    /// The mask register of MSI, bit by vector.
    var msi: UInt32 = 0
    /// The mask bit of each MSI-X table entry.
    var msix: [Bool]
    /// All of MSI-X is masked.
    var wholeMSIX = false
    /// The function may write to memory, and a message is such a write.
    var isBusMaster = true

    init(msixVectors: UInt32) { msix = Array(repeating: true, count: Int(msixVectors)) }

    func holds(_ vector: Vector) -> Bool {
        guard isBusMaster else { return true }
        return vector.index == .msi
            ? msi >> vector.number & 1 == 1
            : wholeMSIX || msix[Int(vector.number)]
    }
}

/// The device's own masks. A vector that was raised while held keeps its pending bit and fires once when nothing holds
/// it any more. Loopback passes over them, as it does over a real device's.
extension DeviceInterrupts {
    /// Whether the mask bit of `vector` is set; false for what has none.
    public func isMasked(_ vector: Vector) -> Bool {
        guard vector.number < profile.count(vector.index, dialect) else { return false }
        switch vector.index {
        case .msi: return masks.msi >> vector.number & 1 == 1
        case .msix: return masks.msix[Int(vector.number)]
        case .intx, .err, .req: return false
        }
    }

    /// Whether the function mask of MSI-X is set.
    public var isMSIXMasked: Bool { masks.wholeMSIX }
    /// Whether the function may write to memory, and so send messages.
    public var isBusMaster: Bool { masks.isBusMaster }

    /// Writes the mask bit of an MSI or MSI-X vector. Returns the eventfd to signal, if a pending bit fires.
    ///
    /// Allocates nothing. A vector without a mask bit is left alone.
    public mutating func setMasked(_ vector: Vector, _ masked: Bool) -> AssignedEventFD? {
        guard vector.number < profile.count(vector.index, dialect) else { return nil }
        switch vector.index {
        case .msi: masks.msi = masks.msi & ~(1 << vector.number) | (masked ? 1 << vector.number : 0)
        case .msix: masks.msix[Int(vector.number)] = masked
        case .intx, .err, .req: return nil
        }
        return firePending(vector)
    }

    /// Writes the function mask of MSI-X. `signal` is called for each vector whose pending bit fires, in order.
    public mutating func setMSIXMasked(_ masked: Bool, signal: (Vector, AssignedEventFD) -> Void) {
        masks.wholeMSIX = masked
        firePending(signal)
    }

    /// Makes the function a bus master, or stops it being one: what it raises then is lost, what pends stays.
    ///
    /// `signal` is called for each vector whose pending bit fires, in order.
    public mutating func setBusMaster(_ set: Bool, signal: (Vector, AssignedEventFD) -> Void) {
        masks.isBusMaster = set
        firePending(signal)
    }

    private mutating func firePending(_ signal: (Vector, AssignedEventFD) -> Void) {
        guard let index = activeType, index != .intx else { return }
        for number in 0..<profile.count(index, dialect) {
            let vector = Vector(index, number)
            if let eventFD = firePending(vector) { signal(vector, eventFD) }
        }
    }

    /// Takes the pending bit of `vector` if the vector is free to fire; returns whom to tell.
    mutating func firePending(_ vector: Vector) -> AssignedEventFD? {
        let slot = Int(vector.number)
        guard activeType == vector.index, slots[slot].pending, !masks.holds(vector),
            let trigger = slots[slot].trigger
        else { return nil }
        slots[slot].pending = false
        return trigger
    }

    /// MASK and UNMASK of MSI-X by request, in dialects that take them.
    mutating func maskMSIX(_ request: IRQRequest) -> Outcome {
        guard activeType == .msix else {
            return .refused(EINVAL, activeType == nil ? .msixNotEnabledMask : .otherTypeActive)
        }
        if case .eventfd = request.data { return .refused(ENOTTY, .maskByEventFD) }
        guard request.count > 0 else { return Outcome(.done, .nothingAsked) }
        let masked = request.action == .mask
        var outcome = Outcome(.done, .falseByte)
        for offset in 0..<request.count {
            if case .bool(let bytes) = request.data, !dialect.isTrue(bytes[Int(offset)]) { continue }
            outcome.reason = masked ? .messagesMasked : .messagesUnmasked
            let vector = Vector(.msix, request.start + offset)
            if let eventFD = setMasked(vector, masked) { outcome.changes.append(.signalled(vector, eventFD)) }
        }
        return outcome
    }
}
