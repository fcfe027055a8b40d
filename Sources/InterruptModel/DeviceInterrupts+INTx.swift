internal import CKernel

/// The rules of the INTx index (table B.2).
extension DeviceInterrupts {
    private static var pin: Vector { Vector(.intx, 0) }

    mutating func triggerINTx(_ request: IRQRequest, _ lookUp: (Int32) -> EventFDLookup) -> Outcome {
        if activeType == .intx, request.data == .none(count: 0) { return disableINTx() }
        guard activeType == .intx || activeType == nil else { return .refused(EINVAL, .otherTypeActive) }
        guard request.count == 1 else {
            let disable = request.data == .none(count: 0)
            return .refused(EINVAL, disable ? .notEnabled : .intxTakesOneVector)
        }
        if case .eventfd(let numbers) = request.data { return assignINTx(numbers[0], lookUp) }
        guard activeType == .intx else { return .refused(EINVAL, .notEnabledLoopback) }
        if case .bool(let bytes) = request.data, !dialect.isTrue(bytes[0]) { return Outcome(.done, .falseByte) }
        // Loopback tells the listener and leaves the mask alone: a later unmask is not owed for it.
        guard !line.disabledByCommand else { return Outcome(.done, .loopbackGated) }
        guard let trigger = line.trigger else { return Outcome(.done, .loopedNowhere) }
        return Outcome(.done, .looped, changes: [.signalled(Self.pin, trigger)])
    }

    private mutating func assignINTx(_ number: Int32, _ lookUp: (Int32) -> EventFDLookup) -> Outcome {
        // The descriptor is looked at before anything is touched, so that a bad one leaves the old assignment working.
        var trigger: AssignedEventFD?
        if number >= 0 {
            let (found, refusal) = Self.resolve(number, dialect, lookUp)
            if let refusal { return refusal }
            trigger = found
        }
        let declined = trigger.map { [Change.declined($0)] } ?? []
        var changes: [Change] = []
        if activeType == nil {
            guard profile.line != .notConnected else {
                return Outcome(.refused(errno: ENODEV), .notConnected, changes: declined)
            }
            guard profile.line != .shared || profile.supportsDisINTx else {
                return Outcome(.refused(errno: EBUSY), .lineShared, changes: declined)
            }
            activeType = .intx
            line.masked = line.disabledByCommand
            changes.append(.enabled(.intx, vectors: 1))
        }
        let reason: Reason =
            switch (changes.isEmpty, trigger == nil) {
            case (true, true): .removed
            case (true, false): .assigned
            case (false, true): .enabledWithoutTrigger
            case (false, false): .enabled
            }
        let old = line.trigger
        line.trigger = trigger
        if let trigger { changes.append(.assigned(Self.pin, trigger)) }
        if let old { changes.append(.released(Self.pin, old)) }
        changes += automask()
        return Outcome(.done, reason, changes: changes)
    }

    private mutating func disableINTx() -> Outcome {
        Outcome(.done, .disabled, changes: releaseINTx())
    }

    /// Takes INTx down; the line and DisINTx belong to the device and stay.
    mutating func releaseINTx() -> [Change] {
        var changes: [Change] = []
        if let unmask = line.unmask { changes.append(.unmaskRemoved(unmask)) }
        if let trigger = line.trigger { changes.append(.released(Self.pin, trigger)) }
        changes.append(.disabled(.intx))
        line.unmask = nil
        line.trigger = nil
        line.masked = false
        activeType = nil
        return changes
    }

    mutating func maskINTx(_ request: IRQRequest) -> Outcome {
        if let refusal = refusalOfMasking(request) { return refusal }
        switch request.data {
        case .eventfd: return .refused(ENOTTY, .maskByEventFD)
        case .bool(let bytes) where !dialect.isTrue(bytes[0]): return Outcome(.done, .falseByte)
        case .bool, .none:
            guard !line.masked else { return Outcome(.done, .alreadyMasked) }
            line.masked = true
            return Outcome(.done, .masked, changes: [.masked])
        }
    }

    mutating func unmaskINTx(_ request: IRQRequest, _ lookUp: (Int32) -> EventFDLookup) -> Outcome {
        if let refusal = refusalOfMasking(request) { return refusal }
        switch request.data {
        case .eventfd(let numbers): return setUnmaskEventFD(numbers[0], lookUp)
        case .bool(let bytes) where !dialect.isTrue(bytes[0]): return Outcome(.done, .falseByte)
        case .bool, .none:
            guard line.masked else { return Outcome(.done, .notMasked) }
            guard !line.disabledByCommand else { return Outcome(.done, .unmaskGated) }
            let changes = unmaskLine()
            return Outcome(.done, line.masked ? .stillAsserted : .unmasked, changes: changes)
        }
    }

    private func refusalOfMasking(_ request: IRQRequest) -> Outcome? {
        guard activeType == .intx else {
            return .refused(EINVAL, activeType == nil ? .notEnabledMask : .otherTypeActive)
        }
        return request.count == 1 ? nil : .refused(EINVAL, .intxTakesOneVector)
    }

    private mutating func setUnmaskEventFD(_ number: Int32, _ lookUp: (Int32) -> EventFDLookup) -> Outcome {
        guard number >= 0 else {
            let changes = line.unmask.map { [Change.unmaskRemoved($0)] } ?? []
            line.unmask = nil
            return Outcome(.done, .unmaskRemoved, changes: changes)
        }
        // EBADF and EINVAL come before EBUSY: the descriptor is resolved before the slot is looked at.
        let (found, refusal) = Self.resolve(number, dialect, lookUp)
        guard let found else { return refusal ?? .refused(EBADF, .notOpen) }
        guard line.unmask == nil else {
            return Outcome(.refused(errno: EBUSY), .unmaskEventFDBusy, changes: [.declined(found)])
        }
        line.unmask = found
        return Outcome(.done, .unmaskInstalled, changes: [.unmaskInstalled(found)])
    }

    /// What the interrupt handler does while the line is asserted: mask, then tell the listener.
    mutating func automask() -> [Change] {
        guard activeType == .intx, line.asserted, !line.masked else { return [] }
        line.masked = true
        return [.masked] + signalLine()
    }

    /// What unmasking does, whoever asks: while the line is still asserted the listener is told again instead.
    mutating func unmaskLine() -> [Change] {
        guard activeType == .intx, line.masked, !line.disabledByCommand else { return [] }
        guard !line.asserted else { return signalLine() }
        line.masked = false
        return [.unmasked]
    }

    private func signalLine() -> [Change] {
        guard !line.disabledByCommand, let trigger = line.trigger else { return [] }
        return [.signalled(Self.pin, trigger)]
    }
}
