internal import CKernel
internal import EventRing
public import InterruptModel

/// What a device has told besides its interrupts, as its owner hears it.
public enum DeviceNotice: Equatable, Sendable {
    /// Something has come up; the owner has until `deadline`, in nanoseconds of CLOCK_MONOTONIC, to answer.
    case opened(DeviceNotices.Kind, deadline: UInt64)
    /// Nobody answered, and the default action was carried out. `errno` is what it met, 0 for nothing. After `detach`
    /// the device's identity is spent; after `reset` its interrupts are assigned as before, and what the guest's
    /// registers say is the owner's to reset (`GuestFunction.reset`).
    case expired(DeviceNotices.Kind, DeviceNotices.Action, errno: Int32)
}

/// Listens to a device's ERR and REQ, and sees to what nobody sees to.
///
///     var keeper = NoticeKeeper(device, tag: 900)
///     try keeper.listen(on: &mux)
///     while let event = mux.next() {
///         if let notice = keeper.take(event, on: &mux) { … }   // each once, however often the host asks
///     }
///
/// Both vectors are connected to the loop like any others. REQ fires again and again until the host has its device back
/// (`VFIO_PCI_REQ_IRQ_INDEX`, since Linux 4.0; ERR since 3.11). Belongs to the mux's thread, beside its handler.
public struct NoticeKeeper {
    /// The device.
    public let device: DeviceID
    /// What is known so far.
    public private(set) var notices: DeviceNotices
    private let tag: UInt64
    private var vectors: [VectorID] = []
    private var timer: TimerID?
    /// When it is due.
    private var timerDeadline: UInt64 = 0

    /// A keeper that does not listen yet.
    ///
    /// - Parameters:
    ///   - tag: The tag of its vectors and its timer; its highest bit must be clear.
    ///   - error: How long the owner has for an error, and what happens then.
    ///   - release: The same for the host's request.
    public init(
        _ device: DeviceID, tag: UInt64, error: DeviceNotices.Rule = DeviceNotices.usualError,
        release: DeviceNotices.Rule = DeviceNotices.usualRelease
    ) {
        self.device = device
        self.tag = tag
        notices = DeviceNotices(error: error, release: release)
    }

    /// Connects what the device has of ERR and REQ.
    ///
    /// - Returns: Which of them it has; a mediated device may have neither.
    /// - Throws: As `Mux.connect`, and then neither is connected; `EBUSY` when it listens already.
    @discardableResult
    public mutating func listen(on mux: inout Mux) throws(MuxError) -> [DeviceNotices.Kind] {
        guard vectors.isEmpty else {
            throw MuxError("listening to notices", errno: EBUSY, remedy: "this keeper listens already")
        }
        var found: [DeviceNotices.Kind] = []
        for (kind, index) in [(DeviceNotices.Kind.error, IRQIndex.err), (.release, .req)] {
            guard try mux.locate(device).has(index) else { continue }
            do throws(MuxError) {
                vectors += try mux.connect(device, index, 0..<1, tag: { [tag] _ in tag })
                found.append(kind)
            } catch {
                stop(on: &mux)
                throw error
            }
        }
        return found
    }

    /// Stops listening; what is open stays open, without a deadline.
    public mutating func stop(on mux: inout Mux) {
        for vector in vectors { try? mux.disconnect(vector) }
        vectors = []
        stopTimer(on: &mux)
    }

    /// Looks at an event of the mux.
    ///
    /// - Returns: What there is to tell; `nil` for events of others, and for a repetition.
    public mutating func take(_ event: VectorEvent, on mux: inout Mux) -> DeviceNotice? {
        guard event.tag == tag else { return nil }
        switch event.kind {
        case .interrupt where vectors.contains(event.id):
            let kind: DeviceNotices.Kind = event.vector.index == .err ? .error : .release
            let told = notices.signal(kind, at: irqmux_monotonic_ns())
            // Without a timer there is no deadline, so what would be done then is done now.
            if told != nil, !startTimer(on: &mux) { return expire(at: .max, on: &mux) }
            guard case .opened(let kind, let deadline) = told else { return nil }
            return .opened(kind, deadline: deadline)
        case .timer:
            timer = nil
            return expire(at: irqmux_monotonic_ns(), on: &mux)
        default: return nil
        }
    }

    /// The owner has seen to it, or will: the default action is off.
    ///
    /// - Returns: Whether there was anything to answer; not after the deadline.
    @discardableResult
    public mutating func answer(_ kind: DeviceNotices.Kind, on mux: inout Mux) -> Bool {
        let isAnswered = notices.answer(kind)
        if notices.nextDeadline == nil { stopTimer(on: &mux) }
        return isAnswered
    }

    private mutating func expire(at now: UInt64, on mux: inout Mux) -> DeviceNotice? {
        let event = notices.expire(at: now)
        _ = startTimer(on: &mux)
        guard case .expired(let kind, let action) = event else { return nil }
        do throws(MuxError) {
            switch action {
            case .none: break
            case .reset: try mux.reset(device)
            case .mask: try mux.maskAll(device)
            case .detach:
                stopTimer(on: &mux)
                vectors = []
                try mux.detach(device)
            }
        } catch { return .expired(kind, action, errno: error.errno) }
        return .expired(kind, action, errno: 0)
    }

    /// One timer, for the next deadline. Whether there is one where one is needed.
    private mutating func startTimer(on mux: inout Mux) -> Bool {
        guard let deadline = notices.nextDeadline else { return true }
        if timer != nil, timerDeadline <= deadline { return true }
        stopTimer(on: &mux)
        timerDeadline = deadline
        let now = irqmux_monotonic_ns()
        do throws(MuxError) { timer = try mux.addTimer(after: deadline > now ? deadline - now : 0, tag: tag) } catch {
            return false
        }
        return true
    }

    private mutating func stopTimer(on mux: inout Mux) {
        if let timer { try? mux.removeTimer(timer) }
        timer = nil
    }
}

extension AttachedDevice {
    /// Whether the device has vectors of an index at all.
    func has(_ index: IRQIndex) -> Bool {
        do throws(DeviceError) { return try info(index).count > 0 } catch { return false }
    }
}

extension Mux {
    /// Masks every interrupt of a device: INTx, MSI and MSI-X, not ERR and REQ. Signals are kept, as with `mask`.
    ///
    /// Vectors that serve a guest's registers are held back beside what the guest masks: its table and its pending bits
    /// read as before, and what it unmasks waits for `unmaskAll`. One that the guest brings into use later is not held
    /// back.
    ///
    /// - Throws: `ENOENT` when the device was detached; what `mask` says, after all others were masked.
    public mutating func maskAll(_ id: DeviceID) throws(MuxError) {
        try forAll(id) { (mux, slot) throws(MuxError) in
            guard mux.entries[slot].isServed else { return try mux.mask(mux.identity(slot)) }
            try mux.haltServed(slot)
        }
    }

    /// Unmasks every interrupt of a device; what was kept is delivered, except where the guest's own mask holds it.
    ///
    /// - Throws: `ENOENT` when the device was detached; what `unmask` says, after all others were unmasked.
    public mutating func unmaskAll(_ id: DeviceID) throws(MuxError) {
        try forAll(id) { (mux, slot) throws(MuxError) in
            guard mux.entries[slot].isServed else { return try mux.unmask(mux.identity(slot)) }
            try mux.resumeServed(slot)
        }
    }

    private func identity(_ slot: UInt32) -> VectorID { VectorID(slot: slot, generation: entries[slot].generation) }

    private mutating func forAll(
        _ id: DeviceID, _ body: (_ mux: inout Mux, _ slot: UInt32) throws(MuxError) -> Void
    ) throws(MuxError) {
        _ = try locate(id)
        var refusal: MuxError?
        for slot in 0..<UInt32(entries.count) {
            guard [.intx, .msi, .msix].contains(where: { isConnected(slot, id, $0) }) else { continue }
            do throws(MuxError) { try body(&self, slot) } catch { refusal = error }
        }
        if let refusal { throw refusal }
    }
}
