internal import CKernel
public import InterruptModel
internal import Synchronization

extension Exerciser {
    /// Raises `vector` once, at once, on the caller's thread. Allocates nothing and takes well under a microsecond
    /// beyond the write(2).
    ///
    /// - Parameter intendedNs: When the raise was due, CLOCK_MONOTONIC in nanoseconds; now, unless given. A latency
    ///   measured from the due time does not hide the delay of whoever raises.
    /// - Returns: What became of it. `.signal` means that the eventfd has been written.
    @discardableResult
    public func raise(_ vector: Vector, intendedNs: UInt64? = nil) -> RaiseResult {
        guard core.table.has(vector) else { return .dropped(.disabled) }
        return core.raise(vector, intendedNs: intendedNs ?? irqmux_monotonic_ns())
    }

    /// Asserts the INTx line, as a raise of INTx does. It stays asserted until `acknowledgeINTx`.
    @discardableResult
    public func assertINTx() -> RaiseResult { raise(Vector(.intx, 0)) }

    /// Lets the INTx line go, as a driver's acknowledgement does. INTx stays masked until somebody unmasks it.
    ///
    /// An assertion that nobody had been told of by then is dropped as `withdrawn`.
    public func acknowledgeINTx() { core.deassertLine() }

    /// Writes DisINTx, which a PCI device has in its command register: set masks INTx, clear unmasks it.
    public func writeDisINTx(_ set: Bool) { core.writeDisINTx(set) }

    /// Whether the INTx line is asserted.
    public var isINTxAsserted: Bool { core.state.withLock { $0.interrupts.isLineAsserted } }

    /// Whether INTx is enabled and masked.
    public var isINTxMasked: Bool { core.state.withLock { $0.interrupts.isINTxMasked } }

    /// Begins `plan` on a thread of the device and returns.
    ///
    /// - Throws: `EINVAL` for vectors the device does not have or a plan that ends after 292 years; `EBUSY` while
    ///   another plan runs; `EAGAIN` when the system has no thread left.
    public func start(_ plan: RaisePlan) throws(DeviceError) { try runner.start(plan) }

    /// Ends the plan in progress at its next tick and waits for that. Does nothing when none runs.
    public func stop() { runner.stop() }

    /// Waits until the plan in progress has ended. Does nothing when none runs.
    public func waitUntilIdle() { runner.wait() }

    /// Whether a plan is in progress.
    public var isBusy: Bool { runner.isBusy }

    /// Ticks of the current or last plan that have been raised.
    public var ticksDone: UInt64 { runner.done }

    /// Ticks of the current or last plan that were raised more than one interval after they were due.
    public var ticksLate: UInt64 { runner.late }

    /// Sequence number and due time of the last signal of `vector`, both of the same one.
    ///
    /// The device stores them before it writes the eventfd, so whoever is woken finds those of the signal that woke
    /// him, or of a later one. The sequence number equals `raisedCount` at that signal. (0, 0) before the first.
    public func lastRaise(_ vector: Vector) -> (sequence: UInt64, intendedNs: UInt64) {
        guard core.table.has(vector) else { return (0, 0) }
        return core.table.with(vector) { $0.last() }
    }

    /// The device's own account of `vector`, taken at one moment: what it raised, signalled, holds pending and dropped.
    ///
    /// `delivered` is the number of signals; `coalesced` counts raises that found the vector's pending bit set.
    public func ledger(_ vector: Vector) -> Ledger {
        guard core.table.has(vector) else { return Ledger() }
        return core.ledger(vector)
    }

    /// How many raises of `vector` set its pending bit, whether or not it has fired since.
    public func pendedCount(_ vector: Vector) -> UInt64 {
        guard core.table.has(vector) else { return 0 }
        return core.table.with(vector) { $0.pended.load(ordering: .relaxed) }
    }
}
