internal import CKernel

/// The rules of a device that keeps one table for INTx, MSI and MSI-X and enables nothing (libvfio-user).
extension DeviceInterrupts {
    mutating func applyToSharedTable(_ request: IRQRequest, _ lookUp: (Int32) -> EventFDLookup) -> Outcome {
        guard request.action == .trigger else { return Outcome(.done, .ignored) }
        switch request.data {
        case .none(count: 0): return removeFromSharedTable(request.index, 0..<profile.count(request.index, dialect))
        case .none, .bool: return loopBack(request) { sharedEntry(Vector(request.index, $0)) }
        case .eventfd(let numbers):
            guard numbers.contains(where: { $0 >= 0 }) else {
                let end = dialect.deassignEndsAtCount ? request.count : request.start + request.count
                return removeFromSharedTable(request.index, request.start..<max(request.start, end))
            }
            return fillSharedTable(request.index, request.start, numbers, lookUp)
        }
    }

    private func sharedEntry(_ vector: Vector) -> AssignedEventFD? {
        switch vector.index {
        case .err: err
        case .req: req
        case .intx, .msi, .msix: slots[Int(vector.number)].trigger
        }
    }

    private mutating func setSharedEntry(_ vector: Vector, _ eventFD: AssignedEventFD?) {
        switch vector.index {
        case .err: err = eventFD
        case .req: req = eventFD
        case .intx, .msi, .msix: slots[Int(vector.number)].trigger = eventFD
        }
    }

    private mutating func removeFromSharedTable(_ index: IRQIndex, _ range: Range<UInt32>) -> Outcome {
        var outcome = Outcome(.done, .ignored)
        for number in range {
            let vector = Vector(index, number)
            guard let old = sharedEntry(vector) else { continue }
            setSharedEntry(vector, nil)
            outcome.reason = .removed
            outcome.changes.append(.released(vector, old))
        }
        return outcome
    }

    private mutating func fillSharedTable(
        _ index: IRQIndex, _ start: UInt32, _ numbers: [Int32], _ lookUp: (Int32) -> EventFDLookup
    ) -> Outcome {
        // A message's descriptors are sent, or refused by the sender's kernel, all together.
        guard numbers.allSatisfy({ $0 >= 0 }) else { return .refused(EINVAL, .mixedEventFDs) }
        var outcome = Outcome(.done, .assigned)
        var found: [AssignedEventFD] = []
        for (offset, number) in numbers.enumerated() {
            let (eventFD, refusal) = Self.resolve(number, dialect, lookUp)
            guard let eventFD else {
                var refusal = refusal ?? .refused(EBADF, .notOpen)
                refusal.failedAt = start + UInt32(offset)
                refusal.changes += found.map { .declined($0) }
                return refusal
            }
            found.append(eventFD)
        }
        for (offset, eventFD) in found.enumerated() {
            let vector = Vector(index, start + UInt32(offset))
            if let old = sharedEntry(vector) { outcome.changes.append(.released(vector, old)) }
            setSharedEntry(vector, eventFD)
            outcome.changes.append(.assigned(vector, eventFD))
        }
        return outcome
    }
}
