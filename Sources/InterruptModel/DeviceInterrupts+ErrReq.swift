internal import CKernel

/// The rules of ERR and REQ (table B.4), which do not care what type is active.
extension DeviceInterrupts {
    static func trigger(
        _ index: IRQIndex, _ held: inout AssignedEventFD?, _ request: IRQRequest, _ dialect: Dialect,
        _ lookUp: (Int32) -> EventFDLookup
    ) -> Outcome {
        let vector = Vector(index, 0)
        switch request.data {
        case .none(count: 0):
            guard let old = held else { return .refused(EINVAL, .noneToRemove) }
            held = nil
            return Outcome(.done, .removed, changes: [.released(vector, old)])
        case .none:
            guard let held else { return .refused(EINVAL, .noneToSignal) }
            return Outcome(.done, .looped, changes: [.signalled(vector, held)])
        case .bool(let bytes):
            guard let byte = bytes.first else { return .refused(EINVAL, .eventTakesOneVector) }
            guard dialect.isTrue(byte) else { return Outcome(.done, .falseByte) }
            guard let held else { return Outcome(.done, .loopedNowhere) }
            return Outcome(.done, .looped, changes: [.signalled(vector, held)])
        case .eventfd(let numbers):
            guard let number = numbers.first else { return .refused(EINVAL, .eventTakesOneVector) }
            return assign(number, to: vector, &held, dialect, lookUp)
        }
    }

    private static func assign(
        _ number: Int32, to vector: Vector, _ held: inout AssignedEventFD?, _ dialect: Dialect,
        _ lookUp: (Int32) -> EventFDLookup
    ) -> Outcome {
        // Alone among the indexes, these two tell -1 from the other negative numbers.
        guard number >= -1 else {
            return dialect.ignoresBelowMinusOne ? Outcome(.done, .ignored) : .refused(EINVAL, .belowMinusOne)
        }
        var outcome = Outcome(.done, .removed)
        var new: AssignedEventFD?
        if number >= 0 {
            let (found, refusal) = resolve(number, dialect, lookUp)
            guard let found else { return refusal ?? .refused(EBADF, .notOpen) }
            new = found
            outcome.reason = .assigned
            outcome.changes.append(.assigned(vector, found))
        }
        if let old = held { outcome.changes.append(.released(vector, old)) }
        held = new
        return outcome
    }
}
