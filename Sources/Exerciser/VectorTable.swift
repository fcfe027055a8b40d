internal import InterruptModel
internal import Synchronization

/// What the device counts for one vector. One writer (whoever holds the device's lock), any number of readers.
struct VectorRecord: ~Copyable {
    /// Every interrupt that came into being: by a raise, by loopback, by an unmask that found the line still asserted.
    let raised = Atomic<UInt64>(0)
    /// Writes to the vector's eventfd.
    let signalled = Atomic<UInt64>(0)
    /// Raises that set the pending bit.
    let pended = Atomic<UInt64>(0)
    /// Raises that found the pending bit set.
    let merged = Atomic<UInt64>(0)
    let droppedUnassigned = Atomic<UInt64>(0)
    let droppedDisabled = Atomic<UInt64>(0)
    let droppedGone = Atomic<UInt64>(0)
    let droppedWithdrawn = Atomic<UInt64>(0)
    /// Twice the sequence number of the last signal; odd while `intended` is being written.
    let mark = Atomic<UInt64>(0)
    /// When the last signal was due, CLOCK_MONOTONIC in nanoseconds.
    let intended = Atomic<UInt64>(0)
}

/// The records of all vectors at fixed addresses, allocated once.
@safe struct VectorTable: ~Copyable, @unchecked Sendable {
    private let records: UnsafeMutablePointer<VectorRecord>
    private let offsets: (msi: Int, msix: Int, err: Int, req: Int)
    private let profile: DeviceProfile
    private let dialect: Dialect
    private let count: Int

    init(_ profile: DeviceProfile, _ dialect: Dialect) {
        let msix = 1 + Int(profile.msiVectors)
        let err = msix + Int(profile.msixVectors)
        self.profile = profile
        self.dialect = dialect
        offsets = (1, msix, err, err + 1)
        count = err + 2
        // SAFETY: freshly allocated for count records and initialised before anyone sees the address.
        unsafe records = .allocate(capacity: count)
        for slot in 0..<count { unsafe (records + slot).initialize(to: VectorRecord()) }
    }

    deinit {
        // SAFETY: allocated in init with this count; atomics need no deinitialisation.
        unsafe records.deallocate()
    }

    /// Whether the device has `vector`.
    func has(_ vector: Vector) -> Bool { vector.number < profile.count(vector.index, dialect) }

    private func slot(_ vector: Vector) -> Int {
        precondition(has(vector), "the caller has checked that the device has the vector")
        switch vector.index {
        case .intx: return 0
        case .msi: return offsets.msi + Int(vector.number)
        case .msix: return offsets.msix + Int(vector.number)
        case .err: return offsets.err
        case .req: return offsets.req
        }
    }

    /// Lets `body` use the record of `vector`.
    func with<Result>(_ vector: Vector, _ body: (borrowing VectorRecord) -> Result) -> Result {
        // SAFETY: slot is within the allocation by its precondition.
        unsafe body(records[slot(vector)])
    }
}

extension VectorRecord {
    /// Counts one. Only under the device's lock: one writer, so load and store need not be one atomic step.
    static func count(_ counter: borrowing Atomic<UInt64>) { add(1, to: counter) }

    /// Counts several. Only under the device's lock.
    static func add(_ count: UInt64, to counter: borrowing Atomic<UInt64>) {
        counter.store(counter.load(ordering: .relaxed) &+ count, ordering: .relaxed)
    }

    /// Notes a signal that is about to be written and was due at `intendedNs`; returns its sequence number. Only under
    /// the device's lock.
    func stamp(_ intendedNs: UInt64) -> UInt64 {
        let sequence = signalled.load(ordering: .relaxed) &+ 1
        mark.store(sequence &* 2 &- 1, ordering: .relaxed)
        atomicMemoryFence(ordering: .releasing)
        intended.store(intendedNs, ordering: .relaxed)
        mark.store(sequence &* 2, ordering: .releasing)
        signalled.store(sequence, ordering: .releasing)
        return sequence
    }

    /// Sequence number and due time of the last signal, both of the same one.
    func last() -> (sequence: UInt64, intendedNs: UInt64) {
        while true {
            let before = mark.load(ordering: .acquiring)
            let time = intended.load(ordering: .relaxed)
            atomicMemoryFence(ordering: .acquiring)
            if before & 1 == 0, mark.load(ordering: .relaxed) == before { return (before / 2, time) }
        }
    }

    func count(_ reason: DropReason) {
        switch reason {
        case .unassigned: Self.count(droppedUnassigned)
        case .withdrawn: Self.count(droppedWithdrawn)
        case .deviceGone: Self.count(droppedGone)
        case .disabled, .routeRemoved, .noGuestRoute: Self.count(droppedDisabled)
        }
    }

    /// The account as it stands. Exact while the device's lock is held; otherwise each counter by itself is.
    func ledger(pending: Bool) -> Ledger {
        var drops = Drops()
        drops[.unassigned] = droppedUnassigned.load(ordering: .relaxed)
        drops[.disabled] = droppedDisabled.load(ordering: .relaxed)
        drops[.deviceGone] = droppedGone.load(ordering: .relaxed)
        drops[.withdrawn] = droppedWithdrawn.load(ordering: .relaxed)
        return Ledger(
            raised: raised.load(ordering: .relaxed), delivered: signalled.load(ordering: .relaxed),
            coalesced: merged.load(ordering: .relaxed), pending: pending ? 1 : 0, drops: drops)
    }
}
