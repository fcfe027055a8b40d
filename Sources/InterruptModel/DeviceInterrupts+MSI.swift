internal import CKernel

/// The rules of the MSI and MSI-X indexes (table B.3).
extension DeviceInterrupts {
    mutating func triggerMSI(_ request: IRQRequest, _ lookUp: (Int32) -> EventFDLookup) -> Outcome {
        let active = activeType == request.index
        if active, request.data == .none(count: 0) {
            return Outcome(.done, .disabled, changes: releaseMSI())
        }
        guard active || activeType == nil else { return .refused(EINVAL, .otherTypeActive) }
        if case .eventfd(let numbers) = request.data {
            return active
                ? assign(numbers, from: request.start, request.index, lookUp)
                : enable(numbers, from: request.start, request.index, lookUp)
        }
        guard active else {
            return .refused(EINVAL, request.data == .none(count: 0) ? .notEnabled : .notEnabledLoopback)
        }
        return loopBack(request)
    }

    private mutating func enable(
        _ numbers: [Int32], from start: UInt32, _ index: IRQIndex, _ lookUp: (Int32) -> EventFDLookup
    ) -> Outcome {
        // Everything up to the end of the range is allocated, also what lies below its start.
        let wanted = start + UInt32(numbers.count)
        guard wanted > 0 else { return .refused(ERANGE, .noVectorsAsked) }
        guard profile.hostVectors > 0 else { return .refused(ENOSPC, .noVectorsLeft) }
        guard profile.hostVectors >= wanted else {
            return Outcome(.available(profile.hostVectors), .fewerVectors)
        }
        activeType = index
        for number in 0..<Int(wanted) { slots[number].allocated = true }
        var outcome = assign(numbers, from: start, index, lookUp)
        outcome.changes.insert(.enabled(index, vectors: wanted), at: 0)
        if outcome.verdict == .done {
            outcome.reason = .enabled
        } else {
            outcome.changes += releaseMSI()
        }
        return outcome
    }

    private mutating func assign(
        _ numbers: [Int32], from start: UInt32, _ index: IRQIndex, _ lookUp: (Int32) -> EventFDLookup
    ) -> Outcome {
        let allocated = allocatedVectors
        if dialect.refusesRangesBeyondAllocation {
            guard start < allocated, start + UInt32(numbers.count) <= allocated else {
                return .refused(EINVAL, .beyondAllocation)
            }
        }
        var outcome = Outcome(.done, numbers.isEmpty ? .nothingAsked : .assigned)
        for (offset, number) in numbers.enumerated() {
            let vector = Vector(index, start + UInt32(offset))
            if let refusal = assign(number, to: vector, &outcome.changes, lookUp) {
                outcome.verdict = refusal.verdict
                outcome.reason = refusal.reason
                outcome.failedAt = vector.number
                outcome.changes += refusal.changes
                for done in start..<vector.number { release(Vector(index, done), &outcome.changes) }
                break
            }
        }
        return outcome
    }

    /// One vector of a range. The old eventfd goes first, so that a failure leaves the vector with none.
    private mutating func assign(
        _ number: Int32, to vector: Vector, _ changes: inout [Change], _ lookUp: (Int32) -> EventFDLookup
    ) -> Outcome? {
        let slot = Int(vector.number)
        release(vector, &changes)
        guard number >= 0 else { return nil }
        if !slots[slot].allocated {
            let grows = vector.index == .msix ? profile.growsMSIX(dialect) : dialect.growsMSI
            guard grows else { return .refused(EINVAL, .beyondAllocation) }
            guard allocatedVectors < profile.hostVectors else { return .refused(ENOSPC, .cannotGrow) }
            // It stays allocated until the type is disabled, even when the eventfd turns out to be bad.
            slots[slot].allocated = true
            changes.append(.allocated(vector))
        }
        let (found, refusal) = Self.resolve(number, dialect, lookUp)
        guard let found else { return refusal }
        slots[slot].trigger = found
        slots[slot].wasAssigned = true
        changes.append(.assigned(vector, found))
        if vector.index == .msix { masks.msix[slot] = false }
        if let pending = firePending(vector) { changes.append(.signalled(vector, pending)) }
        return nil
    }

    /// What a request with one eventfd does to an MSI or MSI-X vector that signals one already, allocating nothing.
    ///
    /// - Returns: The eventfd that was let go, and whether the pending bit fires, at the new one; `nil` when the vector
    ///   signals none, and then nothing was done.
    public mutating func swap(
        _ vector: Vector, for eventFD: AssignedEventFD
    ) -> (released: AssignedEventFD, fires: Bool)? {
        guard dialect.tables == .oneActiveType, vector.index == activeType, vector.index != .intx,
            vector.number < profile.count(vector.index, dialect), let old = slots[Int(vector.number)].trigger
        else { return nil }
        slots[Int(vector.number)].trigger = eventFD
        if vector.index == .msix { masks.msix[Int(vector.number)] = false }
        return (old, firePending(vector) != nil)
    }

    private mutating func release(_ vector: Vector, _ changes: inout [Change]) {
        guard let old = slots[Int(vector.number)].trigger else { return }
        slots[Int(vector.number)].trigger = nil
        if vector.index == .msix { masks.msix[Int(vector.number)] = true }
        changes.append(.released(vector, old))
    }

    private func loopBack(_ request: IRQRequest) -> Outcome {
        guard !dialect.refusesRangesBeyondAllocation || request.start + request.count <= allocatedVectors else {
            return .refused(EINVAL, .beyondAllocation)
        }
        return loopBack(request) { slots[Int($0)].trigger }
    }

    /// Signals every vector of the range that has an eventfd and whose byte is true.
    func loopBack(_ request: IRQRequest, trigger: (UInt32) -> AssignedEventFD?) -> Outcome {
        guard request.count > 0 else { return Outcome(.done, .nothingAsked) }
        var outcome = Outcome(.done, .falseByte)
        for offset in 0..<request.count {
            if case .bool(let bytes) = request.data, !dialect.isTrue(bytes[Int(offset)]) { continue }
            if outcome.reason == .falseByte { outcome.reason = .loopedNowhere }
            guard let eventFD = trigger(request.start + offset) else { continue }
            outcome.reason = .looped
            outcome.changes.append(.signalled(Vector(request.index, request.start + offset), eventFD))
        }
        return outcome
    }

    /// Takes MSI or MSI-X down: every eventfd goes, every vector is freed, and pending bits go with them.
    mutating func releaseMSI() -> [Change] {
        guard let index = activeType else { return [] }
        var changes: [Change] = []
        for number in slots.indices {
            let vector = Vector(index, UInt32(number))
            release(vector, &changes)
            if slots[number].pending { changes.append(.pendingDropped(vector)) }
            slots[number] = Slot()
        }
        activeType = nil
        changes.append(.disabled(index))
        return changes
    }
}
