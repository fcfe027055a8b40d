public import EventRing
internal import Synchronization

/// A stretch of a signal's way into the guest and back.
public enum Stage: UInt8, CaseIterable, Sendable {
    /// From the signal to the loop's wake-up. Only where the device says when it signalled; not for doorbells.
    case wake
    /// From the wake-up to the vector's, or doorbell's, turn.
    case dispatch
    /// From there until the irqfd was written: for a pair, the work of whoever serves it.
    case forward
    /// From there until the guest acknowledged. Only where it is told; see `Mux.measure`.
    case acknowledged

    /// The stage's name in reports.
    public var name: StaticString {
        switch self {
        case .wake: "wake"
        case .dispatch: "dispatch"
        case .forward: "forward"
        case .acknowledged: "acknowledged"
        }
    }
}

/// The stages of one vector or pair, in nanoseconds: a histogram each, with fixed memory of 70 KiB.
///
/// Recorded by the loop without allocating; read from any thread at any time. Stays readable when the mux has gone.
@safe public final class StageHistograms: @unchecked Sendable {
    struct Storage: ~Copyable {
        let wake = Histogram()
        let dispatch = Histogram()
        let forward = Histogram()
        let acknowledged = Histogram()
        /// When the guest was last given something that it has not acknowledged, CLOCK_MONOTONIC; 0 for nothing.
        let outstanding = Atomic<UInt64>(0)
        /// When a pair's doorbell was last dispatched, CLOCK_MONOTONIC.
        let dispatched = Atomic<UInt64>(0)
    }

    private let storage: UnsafeMutablePointer<Storage>

    init() {
        // SAFETY: freshly allocated for one element and initialised before anyone sees the address.
        unsafe storage = .allocate(capacity: 1)
        unsafe storage.initialize(to: Storage())
    }

    deinit {
        // SAFETY: allocated and initialised in init, and no writer is left: whoever writes keeps this object.
        unsafe storage.deinitialize(count: 1)
        unsafe storage.deallocate()
    }

    /// What was recorded of `stage` so far. Allocates.
    public func snapshot(_ stage: Stage) -> HistogramSnapshot {
        // SAFETY: the storage lives as long as this object.
        switch stage {
        case .wake: unsafe storage.pointee.wake.snapshot()
        // SAFETY: as above.
        case .dispatch: unsafe storage.pointee.dispatch.snapshot()
        // SAFETY: as above.
        case .forward: unsafe storage.pointee.forward.snapshot()
        // SAFETY: as above.
        case .acknowledged: unsafe storage.pointee.acknowledged.snapshot()
        }
    }

    /// Since when the guest owes an acknowledgement, CLOCK_MONOTONIC in nanoseconds; `nil` when it owes none, or nobody
    /// tells. How long is too long is its owner's to say.
    public var unacknowledgedSince: UInt64? {
        // SAFETY: the storage lives as long as this object.
        let since = unsafe storage.pointee.outstanding.load(ordering: .acquiring)
        return since == 0 ? nil : since
    }

    /// The writing end. The caller keeps this object as long as he writes.
    var writer: StageWriter {
        // SAFETY: the address stays the same for life.
        unsafe StageWriter(storage)
    }
}

/// A recorder's writing end without its ownership: what fits into a table of plain values.
@safe struct StageWriter: BitwiseCopyable, @unchecked Sendable {
    private let storage: UnsafeMutablePointer<StageHistograms.Storage>?

    /// Records nothing.
    init() {
        // SAFETY: nobody follows a nil.
        unsafe storage = nil
    }

    // SAFETY: the caller keeps the owner of `storage`, and is its one writer.
    @unsafe init(_ storage: UnsafeMutablePointer<StageHistograms.Storage>) { unsafe self.storage = storage }

    /// Whether anybody measures.
    @inline(__always) var isOn: Bool {
        // SAFETY: compared with nil, not followed.
        unsafe storage != nil
    }

    /// `wake` only where the time of the signal is known.
    func arrived(wake: UInt64?, dispatch: UInt64) {
        // SAFETY: the initialiser's caller keeps the storage.
        guard let storage = unsafe storage else { return }
        // SAFETY: as above.
        if let wake { unsafe storage.pointee.wake.record(wake) }
        // SAFETY: as above.
        unsafe storage.pointee.dispatch.record(dispatch)
    }

    /// `now` is CLOCK_MONOTONIC. An earlier one that the guest still owes stays the one it is measured by.
    func forwarded(after nanoseconds: UInt64, now: UInt64, isAcknowledged: Bool) {
        // SAFETY: the initialiser's caller keeps the storage.
        guard let storage = unsafe storage else { return }
        // SAFETY: as above.
        unsafe storage.pointee.forward.record(nanoseconds)
        // SAFETY: as above.
        guard isAcknowledged, unsafe storage.pointee.outstanding.load(ordering: .relaxed) == 0 else { return }
        // SAFETY: as above.
        unsafe storage.pointee.outstanding.store(now, ordering: .releasing)
    }

    /// The guest acknowledged at `now`. Nothing is recorded for one that was not owed.
    func acknowledged(now: UInt64) {
        // SAFETY: the initialiser's caller keeps the storage.
        guard let storage = unsafe storage else { return }
        // SAFETY: as above.
        let since = unsafe storage.pointee.outstanding.exchange(0, ordering: .acquiringAndReleasing)
        // SAFETY: as above.
        if since != 0 { unsafe storage.pointee.acknowledged.record(now &- min(since, now)) }
    }

    /// The guest owes nothing any more, and nothing is recorded: when it acknowledged is not known.
    func forgive() {
        // SAFETY: the initialiser's caller keeps the storage.
        guard let storage = unsafe storage else { return }
        // SAFETY: as above.
        unsafe storage.pointee.outstanding.store(0, ordering: .releasing)
    }

    /// A pair's doorbell was dispatched at `now`; the first one counts until somebody completes.
    func began(now: UInt64) {
        // SAFETY: the initialiser's caller keeps the storage.
        guard let storage = unsafe storage else { return }
        // SAFETY: as above.
        guard unsafe storage.pointee.dispatched.load(ordering: .relaxed) == 0 else { return }
        // SAFETY: as above.
        unsafe storage.pointee.dispatched.store(now, ordering: .releasing)
    }

    /// Takes what `began` left; 0 for nothing.
    func takeBegun() -> UInt64 {
        // SAFETY: the initialiser's caller keeps the storage.
        guard let storage = unsafe storage else { return 0 }
        // SAFETY: as above.
        return unsafe storage.pointee.dispatched.exchange(0, ordering: .acquiringAndReleasing)
    }
}
