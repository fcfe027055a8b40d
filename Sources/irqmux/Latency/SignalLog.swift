internal import EventRing
internal import Synchronization

/// When each signal was due and sent: written by the sender before it signals, read by the receiver when it is woken.
///
/// One lane a vector, one writer and one reader, without locks. A receiver that finds three signals in its lane was
/// woken once for three: each is measured, and two of them were coalesced.
@safe final class SignalLog: @unchecked Sendable {
    struct Stamp: BitwiseCopyable {
        /// When it should have been sent, in ticks.
        var due: UInt64 = 0
        /// When it was sent, in ticks.
        var sent: UInt64 = 0
        /// Whether it counts, or belongs to the warm-up.
        var isMeasured = false
    }

    /// Two counters a lane, each on a cache line of its own: what the sender writes must not slow the receiver's line.
    private static let wordsPerLane = 16

    let lanes: Int
    private let depth: UInt64
    private let stamps: Slab<Stamp>
    private let counters: UnsafeMutablePointer<Atomic<UInt64>>
    /// All signals that have been handled, for the sender that waits for them.
    let handledTotal = Atomic<UInt64>(0)

    /// Makes a log for `lanes` vectors; few of them get deep lanes, many shallow ones.
    init(lanes: Int) {
        self.lanes = lanes
        var depth: UInt64 = 16
        while depth < 4096, depth * UInt64(lanes) < 1 << 16 { depth *= 2 }
        self.depth = depth
        stamps = Slab(count: lanes * Int(depth), initial: Stamp())
        // SAFETY: freshly allocated for this many words, all of them initialised on the next line.
        unsafe counters = .allocate(capacity: lanes * Self.wordsPerLane)
        for word in 0..<lanes * Self.wordsPerLane { unsafe (counters + word).initialize(to: Atomic(0)) }
    }

    deinit {
        // SAFETY: allocated in init; Atomic<UInt64> needs no deinitialisation.
        unsafe counters.deallocate()
    }

    /// How many signals of `lane` have been sent.
    func published(_ lane: Int) -> UInt64 {
        precondition(lane >= 0 && lane < lanes, "no such lane")
        // SAFETY: the lane was checked on the line above.
        return unsafe counters[lane * Self.wordsPerLane].load(ordering: .acquiring)
    }

    /// How many signals of `lane` have been handled.
    func handled(_ lane: Int) -> UInt64 {
        precondition(lane >= 0 && lane < lanes, "no such lane")
        // SAFETY: the lane was checked on the line above.
        return unsafe counters[lane * Self.wordsPerLane + 8].load(ordering: .acquiring)
    }

    /// Whether another signal of `lane` can be sent with at most `most` of them under way.
    func hasRoom(_ lane: Int, most: UInt64) -> Bool {
        published(lane) - handled(lane) < min(most, depth)
    }

    /// Writes a signal down. Only by the sender, with room, and before it signals.
    func publish(_ lane: Int, _ stamp: Stamp) {
        let number = published(lane)
        stamps[UInt32(lane) * UInt32(depth) + UInt32(number & (depth - 1))] = stamp
        // SAFETY: published has checked the lane.
        unsafe counters[lane * Self.wordsPerLane].store(number + 1, ordering: .releasing)
    }

    /// The stamp of signal `number` of `lane`, which must be published and not yet handled.
    func stamp(_ lane: Int, _ number: UInt64) -> Stamp {
        stamps[UInt32(lane) * UInt32(depth) + UInt32(number & (depth - 1))]
    }

    /// Says that all signals of `lane` below `number` have been handled. Only by the receiver.
    func settle(_ lane: Int, upTo number: UInt64) {
        let before = handled(lane)
        // SAFETY: handled has checked the lane.
        unsafe counters[lane * Self.wordsPerLane + 8].store(number, ordering: .releasing)
        let total = handledTotal.load(ordering: .relaxed)
        handledTotal.store(total + number - before, ordering: .releasing)
    }
}
