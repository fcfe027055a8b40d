internal import CKernel

/// The rules of the kernel's sample mediated device (mtty as of Linux 6.12): INTx and MSI with one vector each, nothing
/// else. Source: samples/vfio-mdev/mtty.c.
extension DeviceInterrupts {
    /// It checks ranges against the number of indexes, not of vectors.
    static var sampleRange: UInt32 { UInt32(IRQIndex.allCases.count) }

    /// It looks at the index first, and takes a request with no action, or with several, for one with nothing to do.
    static func sampleRefusal(_ header: IRQSetHeader, _ index: IRQIndex) -> Outcome? {
        guard index == .intx || index == .msi else { return .refused(ENOTTY, .indexAbsent) }
        guard let action = IRQRequest.Action(rawValue: header.flags & IRQSetHeader.actionMask) else {
            return Outcome(.done, .ignored)
        }
        return index == .msi && action != .trigger ? .refused(ENOTTY, .msiNotMaskable) : nil
    }

    mutating func applyToSample(_ request: IRQRequest, _ lookUp: (Int32) -> EventFDLookup) -> Outcome {
        let active = activeType == request.index
        guard request.action == .trigger else {
            guard active else {
                return .refused(EINVAL, activeType == nil ? .notEnabledMask : .otherTypeActive)
            }
            guard request.start == 0, request.count == 1 else { return .refused(EINVAL, .intxTakesOneVector) }
            return maskSample(request)
        }
        if active, request.data == .none(count: 0) { return Outcome(.done, .disabled, changes: disableSample()) }
        guard active || activeType == nil else { return .refused(EINVAL, .otherTypeActive) }
        guard request.start == 0, request.count == 1 else { return .refused(EINVAL, .intxTakesOneVector) }
        if case .eventfd(let numbers) = request.data { return assignSample(numbers[0], request.index, lookUp) }
        guard active else { return .refused(EINVAL, .notEnabledLoopback) }
        if case .bool(let bytes) = request.data, !dialect.isTrue(bytes[0]) { return Outcome(.done, .falseByte) }
        // Loopback is the device's own interrupt: it masks INTx, and is lost while that is masked.
        guard case .signal(let eventFD) = raiseSample(request.index) else { return Outcome(.done, .loopedNowhere) }
        return Outcome(.done, .looped, changes: [.signalled(Vector(request.index, 0), eventFD)])
    }

    private mutating func maskSample(_ request: IRQRequest) -> Outcome {
        switch request.data {
        // Neither masks nor unmasks by eventfd.
        case .eventfd: return .refused(ENOTTY, .maskByEventFD)
        case .bool(let bytes) where !dialect.isTrue(bytes[0]): return Outcome(.done, .falseByte)
        case .bool, .none:
            let masks = request.action == .mask
            guard line.masked != masks else { return Outcome(.done, masks ? .alreadyMasked : .notMasked) }
            line.masked = masks
            return Outcome(.done, masks ? .masked : .unmasked, changes: [masks ? .masked : .unmasked])
        }
    }

    /// The old eventfd goes first, and the type with it: a bad descriptor leaves nothing enabled.
    private mutating func assignSample(
        _ number: Int32, _ index: IRQIndex, _ lookUp: (Int32) -> EventFDLookup
    ) -> Outcome {
        var changes = activeType == nil ? [] : disableSample()
        guard number >= 0 else { return Outcome(.done, .removed, changes: changes) }
        let (found, refusal) = Self.resolve(number, dialect, lookUp)
        guard let found else {
            var outcome = refusal ?? .refused(EBADF, .notOpen)
            outcome.changes = changes + outcome.changes
            return outcome
        }
        activeType = index
        if index == .intx {
            line.trigger = found
        } else {
            slots[0].trigger = found
            slots[0].allocated = true
        }
        changes += [.enabled(index, vectors: 1), .assigned(Vector(index, 0), found)]
        return Outcome(.done, .enabled, changes: changes)
    }

    private mutating func disableSample() -> [Change] { activeType == .intx ? releaseINTx() : releaseMSI() }

    /// The device raises: INTx masks itself, and what comes while it is masked is lost, since there is no line.
    mutating func raiseSample(_ index: IRQIndex) -> RaiseResult {
        guard activeType == index else { return .dropped(.disabled) }
        guard index == .intx else { return slots[0].trigger.map { .signal($0) } ?? .dropped(.unassigned) }
        guard !line.masked, let trigger = line.trigger else { return .dropped(.unassigned) }
        line.masked = true
        return .signal(trigger)
    }
}
