internal import CKernel
internal import EventRing
internal import InterruptModel
internal import Synchronization

/// What the device's threads share: the model under one lock, as the kernel serialises on its own, and the counters.
final class DeviceCore: Sendable {
    struct State: ~Copyable {
        var interrupts: DeviceInterrupts
        /// The line was asserted and nobody has been told yet.
        var lineUntold = false
        var registers = RegisterFile()
        var configuration: ConfigurationSpace
        var messages: MessageTable
        let probe = EventFDProbe()
    }

    let table: VectorTable
    let state: Mutex<State>
    /// Wakes the listener of the unmasking eventfd when there is another one to listen to.
    let control: EventFD
    let isClosing = Atomic<Bool>(false)
    let stamps = StampWriter()

    init(_ configuration: ExerciserConfiguration) throws(DeviceError) {
        let (profile, dialect) = (try configuration.profile(), configuration.dialect)
        do {
            control = try EventFD()
        } catch {
            throw DeviceError("create the software device", errno: error.errno, remedy: error.remedy)
        }
        table = VectorTable(profile, dialect)
        var interrupts = DeviceInterrupts(profile, dialect)
        interrupts.setBusMaster(configuration.isBusMasterAtStart) { _, _ in }
        state = Mutex(
            State(
                interrupts: interrupts, configuration: ConfigurationSpace(configuration),
                messages: MessageTable(vectors: configuration.msix)))
    }

    deinit {
        let changes = state.withLock { $0.interrupts.close() }
        Self.release(changes)
    }

    static func release(_ changes: [Change]) {
        for change in changes {
            switch change {
            case .released(_, let eventFD), .declined(let eventFD), .unmaskRemoved(let eventFD):
                ForeignEventFD(eventFD).close()
            default: break
            }
        }
    }

    /// Signals `eventFD` for `vector`: stamps first, then write, so that whoever wakes finds them.
    func signal(_ vector: Vector, _ eventFD: AssignedEventFD, _ intendedNs: UInt64, isBusMaster: Bool) {
        let sequence = table.with(vector) { $0.stamp(intendedNs) }
        stamps.write(vector, sequence: sequence, timeNs: intendedNs, isBusMaster: isBusMaster)
        ForeignEventFD(eventFD).signal()
    }

    private func signal(
        _ vector: Vector, _ eventFD: AssignedEventFD, _ intendedNs: UInt64, _ state: borrowing State
    ) {
        signal(vector, eventFD, intendedNs, isBusMaster: state.interrupts.isBusMaster)
    }

    /// Raises `vector` once. Allocates nothing.
    func raise(_ vector: Vector, intendedNs: UInt64) -> RaiseResult {
        state.withLock { state in raise(vector, intendedNs, &state) }
    }

    /// A doorbell's eventfd was written `times` times before it was looked at: one raise, and as many merged into it.
    func ring(_ vector: Vector, times: UInt64) {
        state.withLock { state in
            _ = raise(vector, irqmux_monotonic_ns(), &state)
            table.with(vector) { record in
                VectorRecord.add(times &- 1, to: record.raised)
                VectorRecord.add(times &- 1, to: record.merged)
            }
        }
    }

    private func raise(_ vector: Vector, _ intendedNs: UInt64, _ state: inout State) -> RaiseResult {
        let result = state.interrupts.raise(vector)
        table.with(vector) { record in
            VectorRecord.count(record.raised)
            switch result {
            case .signal: break
            case .pended: VectorRecord.count(record.pended)
            case .alreadyPending: VectorRecord.count(record.merged)
            case .dropped(let reason): record.count(reason)
            }
        }
        if case .pended = result, vector.index == .intx { state.lineUntold = true }
        if vector.index == .err { state.configuration.logError() }
        if case .signal(let eventFD) = result { signal(vector, eventFD, intendedNs, state) }
        return result
    }

    /// The line is let go. What nobody was told of by then, nobody will be.
    func deassertLine() {
        state.withLock { state in
            state.interrupts.deassertLine()
            withdraw(.withdrawn, &state)
        }
    }

    private func withdraw(_ reason: DropReason, _ state: inout State) {
        guard state.lineUntold else { return }
        state.lineUntold = false
        table.with(Vector(.intx, 0)) { $0.count(reason) }
    }

    /// An unmask, a DisINTx write or an enable found the line asserted and tells the listener.
    func tellLine(_ eventFD: AssignedEventFD, _ state: inout State) {
        let pin = Vector(.intx, 0)
        // Told a second time, it is another interrupt; told for the first time, it is the one already counted.
        if !state.lineUntold { table.with(pin) { VectorRecord.count($0.raised) } }
        state.lineUntold = false
        signal(pin, eventFD, irqmux_monotonic_ns(), state)
    }

    /// The unmasking eventfd behind `descriptor` became readable; takes its count and unmasks if it is still installed.
    func takeUnmask(_ descriptor: Int32) {
        state.withLock { state in
            guard let eventFD = state.interrupts.unmaskEventFD, ForeignEventFD(eventFD).descriptor == descriptor else {
                return
            }
            var count: UInt64 = 0
            // SAFETY: count is a local that outlives the call, which writes 8 bytes at most.
            guard unsafe irqmux_eventfd_take(descriptor, &count) == 0, count > 0 else { return }
            if let told = state.interrupts.unmaskEventFDSignalled() { tellLine(told, &state) }
        }
    }

    /// The descriptor of the unmasking eventfd, -1 while none is installed.
    var unmaskDescriptor: Int32 {
        state.withLock { $0.interrupts.unmaskEventFD.map { ForeignEventFD($0).descriptor } ?? -1 }
    }

    func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        try state.withLock { (state) throws(DeviceError) -> UInt32 in
            var shortage: Int32 = 0
            let outcome = Self.apply(request, &state.interrupts, state.probe, &shortage)
            carryOut(outcome, &state)
            switch outcome.verdict {
            case .done: return 0
            case .available(let count): return count
            case .refused where shortage != 0:
                throw DeviceError("SET_IRQS", errno: shortage, remedy: "raise RLIMIT_NOFILE (ulimit -n)")
            case .refused(let errno):
                let remedy = outcome.reason.remedy
                let hasRemedy = remedy.utf8CodeUnitCount > 0
                throw DeviceError("SET_IRQS", errno: errno, remedy: hasRemedy ? remedy : outcome.reason.explanation)
            }
        }
    }

    /// See `InterruptDevice.swapEventFD`.
    func swap(_ vector: Vector, for eventfd: Int32) -> Bool {
        let lent = ForeignEventFD.lent(eventfd)
        return state.withLock { state in
            guard let (released, fires) = state.interrupts.swap(vector, for: lent) else { return false }
            // A pending bit fires; its raise was counted when it pended.
            if fires { signal(vector, lent, irqmux_monotonic_ns(), state) }
            ForeignEventFD(released).close()
            return true
        }
    }

    private static func apply(
        _ request: IRQRequest, _ interrupts: inout DeviceInterrupts, _ probe: borrowing EventFDProbe,
        _ shortage: inout Int32
    ) -> Outcome {
        interrupts.apply(request) { ForeignEventFD.lookUp($0, probe, shortage: &shortage) }
    }

    /// Does with real eventfds what the model says was done, signals first: nothing released is ever signalled later.
    private func carryOut(_ outcome: Outcome, _ state: inout State) {
        var listenerChanged = false
        for change in outcome.changes {
            switch change {
            case .signalled(let vector, let eventFD): carryOut(vector, eventFD, outcome.reason, &state)
            case .pendingDropped(let vector): table.with(vector) { $0.count(.disabled) }
            case .unmaskInstalled, .unmaskRemoved: listenerChanged = true
            default: break
            }
        }
        Self.release(outcome.changes)
        // The listener's descriptor cannot be full or closed: it is ours and read at every wake-up.
        if listenerChanged { try? control.signal() }
    }

    private func carryOut(_ vector: Vector, _ eventFD: AssignedEventFD, _ reason: Reason, _ state: inout State) {
        if reason == .looped {
            table.with(vector) { VectorRecord.count($0.raised) }
            signal(vector, eventFD, irqmux_monotonic_ns(), state)
        } else if vector.index == .intx {
            tellLine(eventFD, &state)
        } else {
            // A pending bit fires; its raise was counted when it pended.
            signal(vector, eventFD, irqmux_monotonic_ns(), state)
        }
    }

    /// The function is reset: pending interrupts are gone, assignments stay.
    func reset() {
        state.withLock { state in
            for index in [IRQIndex.msi, .msix] where state.interrupts.activeType == index {
                for number in 0..<(state.interrupts.info(index)?.count ?? 0) {
                    let vector = Vector(index, number)
                    if state.interrupts.isPending(vector) { table.with(vector) { $0.count(.deviceGone) } }
                }
            }
            _ = state.interrupts.reset()
            withdraw(.deviceGone, &state)
            state.registers = RegisterFile()
            stamps.reset()
        }
    }

    func ledger(_ vector: Vector) -> Ledger {
        state.withLock { state in
            let pending = vector.index == .intx ? state.lineUntold : state.interrupts.isPending(vector)
            return table.with(vector) { $0.ledger(pending: pending) }
        }
    }
}
