internal import CKernel
internal import EventRing
public import InterruptModel
internal import Synchronization

/// The interrupts of a device in user space: the rules of SET_IRQS (`DeviceInterrupts`) with real eventfds.
///
/// Raising never waits, whatever the client did with its eventfds. Every call may be made from any thread; changes are
/// serialised on one lock, as in the kernel.
public final class InterruptLines: Sendable {
    private struct State: ~Copyable {
        var interrupts: DeviceInterrupts
        /// Mask and pending bits of the MSI-X table, which the device's own registers hold.
        var masked: [Bool]
        var pending: [Bool]
        let probe = EventFDProbe()
    }

    private let state: Mutex<State>
    private let signals = Atomic<UInt64>(0)

    /// Makes the interrupts of a device with nothing enabled.
    ///
    /// - Parameter dialect: Whose rules are followed; those of vfio-user unless told otherwise.
    public init(_ profile: DeviceProfile, _ dialect: Dialect = .vfioUser) {
        let count = Int(profile.msixVectors)
        state = Mutex(
            State(
                interrupts: DeviceInterrupts(profile, dialect), masked: Array(repeating: false, count: count),
                pending: Array(repeating: false, count: count)))
    }

    deinit { release() }

    /// How many signals were given to clients, of all vectors.
    public var signalCount: UInt64 { signals.load(ordering: .relaxed) }

    /// Raises `vector` once, on the caller's thread. For INTx the line goes high, until `lowerINTx`.
    ///
    /// - Returns: What became of it. `.signal` means that the eventfd has been written.
    @discardableResult
    public func raise(_ vector: Vector) -> RaiseResult {
        state.withLock { state in
            if vector.index == .msix, Int(vector.number) < state.masked.count, state.masked[Int(vector.number)] {
                let wasPending = state.pending[Int(vector.number)]
                state.pending[Int(vector.number)] = true
                return wasPending ? .alreadyPending : .pended
            }
            let result = state.interrupts.raise(vector)
            if case .signal(let eventFD) = result { signal(eventFD) }
            return result
        }
    }

    /// Lets the INTx line go, as a driver's acknowledgement does. INTx stays masked until the client unmasks it.
    public func lowerINTx() { state.withLock { $0.interrupts.deassertLine() } }

    /// Whether the INTx line is high.
    public var isINTxHigh: Bool { state.withLock { $0.interrupts.isLineAsserted } }

    /// The device's command register: DisINTx (bit 10) is set or cleared.
    public func setDisINTx(_ isSet: Bool) {
        state.withLock { state in
            if let eventFD = state.interrupts.writeDisINTx(isSet) { signal(eventFD) }
        }
    }

    /// The mask bit of an MSI-X table entry. Set, raises wait in the pending bit; cleared, a pending one fires once.
    public func setMasked(_ vector: UInt32, _ isMasked: Bool) {
        state.withLock { state in
            let place = Int(vector)
            guard place < state.masked.count, state.masked[place] != isMasked else { return }
            state.masked[place] = isMasked
            guard !isMasked, state.pending[place] else { return }
            state.pending[place] = false
            if case .signal(let eventFD) = state.interrupts.raise(Vector(.msix, vector)) { signal(eventFD) }
        }
    }

    /// The pending bit of an MSI-X vector: it was raised while its mask bit was set, or while it had no eventfd.
    public func isPending(_ vector: UInt32) -> Bool {
        state.withLock { state in
            guard Int(vector) < state.pending.count else { return false }
            return state.pending[Int(vector)] || state.interrupts.isPending(Vector(.msix, vector))
        }
    }

    /// How many vectors of `index` have an eventfd.
    public func assignedCount(_ index: IRQIndex) -> UInt32 {
        state.withLock { state in
            (0..<(state.interrupts.info(index)?.count ?? 0)).reduce(0) {
                $0 + (state.interrupts.eventFD(Vector(index, $1)) == nil ? 0 : 1)
            }
        }
    }

    /// Which of INTx, MSI and MSI-X is enabled.
    public var activeType: IRQIndex? { state.withLock { $0.interrupts.activeType } }

    /// What the device says of `index`.
    ///
    /// - Throws: `EINVAL` for an index that the device does not know.
    public func info(_ index: IRQIndex) throws(DeviceError) -> IRQInfo {
        guard let info = state.withLock({ $0.interrupts.info(index) }) else {
            throw DeviceError("GET_IRQ_INFO", errno: EINVAL, remedy: "this device has no such index")
        }
        return info
    }

    /// Carries out one SET_IRQS request. Descriptors are duplicated; the caller keeps his own.
    ///
    /// - Returns: 0, or the number of vectors that could have been had; then nothing was enabled.
    /// - Throws: The errno of the rules; `EMFILE` when an eventfd cannot be duplicated.
    public func set(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        try state.withLock { (state) throws(DeviceError) -> UInt32 in
            var shortage: Int32 = 0
            let outcome = Self.apply(request, &state.interrupts, state.probe, &shortage)
            // Signals first: nothing that is let go is signalled afterwards.
            for eventFD in outcome.signals { signal(eventFD) }
            for eventFD in outcome.released { ForeignEventFD(eventFD).close() }
            switch outcome.verdict {
            case .done: return 0
            case .available(let count): return count
            case .refused where shortage != 0:
                throw DeviceError("SET_IRQS", errno: shortage, remedy: "raise RLIMIT_NOFILE (ulimit -n)")
            case .refused(let errno):
                throw DeviceError("SET_IRQS", errno: errno, remedy: outcome.reason.explanation)
            }
        }
    }

    private static func apply(
        _ request: IRQRequest, _ interrupts: inout DeviceInterrupts, _ probe: borrowing EventFDProbe,
        _ shortage: inout Int32
    ) -> Outcome {
        interrupts.apply(request) { ForeignEventFD.lookUp($0, probe, shortage: &shortage) }
    }

    /// Forgets what is pending and lets the line go, as a reset of the function does. Assignments and masks of INTx
    /// stay; the table's mask bits are cleared with the table.
    public func reset() {
        state.withLock { state in
            _ = state.interrupts.reset()
            for place in state.masked.indices {
                state.masked[place] = false
                state.pending[place] = false
            }
        }
    }

    /// Disables everything and closes every eventfd. The line stays as high or low as the device drives it.
    public func release() {
        state.withLock { state in
            let isHigh = state.interrupts.isLineAsserted
            let isDisabled = state.interrupts.isINTxDisabledByCommand
            for change in state.interrupts.close() {
                switch change {
                case .released(_, let eventFD), .declined(let eventFD), .unmaskRemoved(let eventFD):
                    ForeignEventFD(eventFD).close()
                default: break
                }
            }
            if isHigh { _ = state.interrupts.assertLine() }
            if isDisabled { _ = state.interrupts.writeDisINTx(true) }
        }
    }

    /// The eventfd by which the client unmasks INTx, for whoever waits for it; −1 while there is none.
    var unmaskDescriptor: Int32 {
        state.withLock { $0.interrupts.unmaskEventFD.map { ForeignEventFD($0).descriptor } ?? -1 }
    }

    /// The unmasking eventfd may be readable: takes its count and unmasks.
    func takeUnmask() {
        state.withLock { state in
            guard let eventFD = state.interrupts.unmaskEventFD else { return }
            var count: UInt64 = 0
            let descriptor = ForeignEventFD(eventFD).descriptor
            // SAFETY: count is a local that outlives the call, which writes 8 bytes at most.
            guard unsafe irqmux_eventfd_take_without_waiting(descriptor, &count) == 0, count > 0 else { return }
            if let told = state.interrupts.unmaskEventFDSignalled() { signal(told) }
        }
    }

    private func signal(_ eventFD: AssignedEventFD) {
        // Somebody waits for the signal, nobody for the count.
        ForeignEventFD(eventFD).signal()
        signals.wrappingAdd(1, ordering: .relaxed)
    }
}

extension ForeignEventFD {
    /// An eventfd as the model remembers it.
    init(_ eventFD: AssignedEventFD) { self.init(identity: eventFD.identity) }

    /// Looks at a descriptor of a request, for the model.
    static func lookUp(_ number: Int32, _ probe: borrowing EventFDProbe, shortage: inout Int32) -> EventFDLookup {
        guard let (held, isEventFD) = duplicating(number, probe, shortage: &shortage) else { return .notOpen }
        return isEventFD ? .eventFD(identity: held.identity) : .otherFile(identity: held.identity)
    }
}
