internal import CKernel

extension DeviceInterrupts {
    /// Carries out `request` as the device's kernel would.
    ///
    /// - Parameter lookUp: Says what a file descriptor is. Called once for each descriptor that the kernel would look
    ///   at, in its order, and not for those it never reaches.
    /// - Returns: Verdict, reason, and everything that happened in order. After a refusal the state may have changed:
    ///   `Outcome.changes` is then not empty.
    public mutating func apply(_ request: IRQRequest, lookUp: (Int32) -> EventFDLookup) -> Outcome {
        if let refusal = refusal(of: request.header, payloadBytes: .max) { return refusal }
        return dispatch(request, lookUp)
    }

    /// Carries out a request that nobody has looked at yet, in the kernel's order of checks.
    public mutating func apply(_ raw: RawIRQRequest, lookUp: (Int32) -> EventFDLookup) -> Outcome {
        if let refusal = refusal(of: raw.header, payloadBytes: raw.payload.count) { return refusal }
        guard let request = complete(raw).request else { return .refused(dialect.badActionErrno, .actionNotOne) }
        return dispatch(request, lookUp)
    }

    /// Carries out a request from its bytes, as many as the sender really has.
    public mutating func apply(bytes: [UInt8], lookUp: (Int32) -> EventFDLookup) -> Outcome {
        guard let raw = RawIRQRequest(bytes: bytes) else { return .refused(EFAULT, .headerUnreadable) }
        return apply(raw, lookUp: lookUp)
    }

    /// Where eventfds travel beside the message, a message without any stands for a range of removals.
    private func complete(_ raw: RawIRQRequest) -> RawIRQRequest {
        guard !dialect.eventFDsInPayload, raw.header.bytesPerVector == 4 else { return raw }
        var raw = raw
        raw.payload = Array(repeating: 0xff, count: Int(raw.header.count) * 4)
        return raw
    }

    /// Judges the fixed part, in the order in which the kernel does; `nil` when it passes.
    ///
    /// - Parameter payloadBytes: How many bytes can really be read after the fixed part.
    func refusal(of header: IRQSetHeader, payloadBytes: Int) -> Outcome? {
        let known = IRQSetHeader.dataMask | IRQSetHeader.actionMask
        guard header.argsz >= UInt32(IRQSetHeader.size) else { return .refused(EINVAL, .argszTooSmall) }
        guard let index = IRQIndex(rawValue: header.index) else { return .refused(EINVAL, .unknownIndex) }
        guard header.count < UInt32.max - header.start else { return .refused(EINVAL, .rangeWraps) }
        guard header.flags & ~known == 0 || !dialect.refusesUnknownFlags else {
            return .refused(EINVAL, .unknownFlags)
        }
        let vectors = dialect.tables == .oneVectorEach ? Self.sampleRange : profile.count(index, dialect)
        guard vectors > 0 else { return .refused(EINVAL, .indexAbsent) }
        guard header.start < vectors, header.start + header.count <= vectors else {
            return .refused(EINVAL, .rangeOutside)
        }
        guard let bytesPerVector = header.bytesPerVector else { return .refused(EINVAL, .dataNotOne) }
        if let refusal = refusal(ofPayload: header, bytesPerVector, readable: payloadBytes) { return refusal }
        return refusal(ofAction: header, index)
    }

    private func refusal(ofPayload header: IRQSetHeader, _ bytesPerVector: UInt32, readable: Int) -> Outcome? {
        if bytesPerVector == 4 && !dialect.eventFDsInPayload { return nil }
        // No overflow: count is at most the number of vectors by now, which is at most 2048.
        let needed = header.count * bytesPerVector
        let stated = header.argsz - UInt32(IRQSetHeader.size)
        guard stated >= needed else { return .refused(EINVAL, .payloadTooShort) }
        guard !dialect.boolPayloadIsExact || bytesPerVector != 1 || stated == needed else {
            return .refused(EINVAL, .payloadTooShort)
        }
        guard readable >= Int(needed) else { return .refused(EFAULT, .payloadUnreadable) }
        return nil
    }

    private func refusal(ofAction header: IRQSetHeader, _ index: IRQIndex) -> Outcome? {
        if dialect.tables == .oneVectorEach { return Self.sampleRefusal(header, index) }
        let errno = dialect.badActionErrno
        guard let action = IRQRequest.Action(rawValue: header.flags & IRQSetHeader.actionMask) else {
            return .refused(errno, .actionNotOne)
        }
        let empty = action == .trigger && header.bytesPerVector == 0 && header.start == 0
        guard header.count > 0 || empty || !dialect.emptyRangeOnlyDisables else {
            return .refused(EINVAL, .emptyRange)
        }
        guard action != .trigger else { return nil }
        switch index {
        case .intx: return nil
        case .msi: return dialect.tables == .oneActiveType ? .refused(errno, .msiNotMaskable) : nil
        case .msix where dialect.masksMSIX: return nil
        case .msix: return dialect.tables == .oneActiveType ? .refused(errno, .msixNotMaskable) : nil
        case .err, .req: return .refused(errno, .eventNotMaskable)
        }
    }

    private mutating func dispatch(_ request: IRQRequest, _ lookUp: (Int32) -> EventFDLookup) -> Outcome {
        switch dialect.tables {
        case .oneActiveType: break
        case .sharedByTypes: return applyToSharedTable(request, lookUp)
        case .oneVectorEach: return applyToSample(request, lookUp)
        }
        switch (request.index, request.action) {
        case (.intx, .trigger): return triggerINTx(request, lookUp)
        case (.intx, .mask): return maskINTx(request)
        case (.intx, .unmask): return unmaskINTx(request, lookUp)
        case (.msix, .mask), (.msix, .unmask): return maskMSIX(request)
        case (.msi, _), (.msix, _): return triggerMSI(request, lookUp)
        case (.err, _): return Self.trigger(.err, &err, request, dialect, lookUp)
        case (.req, _): return Self.trigger(.req, &req, request, dialect, lookUp)
        }
    }

    /// Turns a lookup into an eventfd to hold, or into the refusal it earns.
    static func resolve(
        _ number: Int32, _ dialect: Dialect, _ lookUp: (Int32) -> EventFDLookup
    ) -> (eventFD: AssignedEventFD?, refusal: Outcome?) {
        switch lookUp(number) {
        case .eventFD(let identity): return (AssignedEventFD(number: number, identity: identity), nil)
        case .otherFile(let identity):
            let eventFD = AssignedEventFD(number: number, identity: identity)
            guard dialect.refusesOtherFiles else { return (eventFD, nil) }
            return (nil, Outcome(.refused(errno: EINVAL), .notAnEventFD, changes: [.declined(eventFD)]))
        case .notOpen: return (nil, .refused(EBADF, .notOpen))
        }
    }
}
