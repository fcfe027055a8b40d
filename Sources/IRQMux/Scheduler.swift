internal import EventRing

/// The vectors that are ready, in the order of a schedule: lists through a table by slot, all memory fixed; no table
/// where things are handed out as they come.
struct Scheduler: ~Copyable {
    struct Place: BitwiseCopyable {
        /// When the first signal came that its turn will stand for, in ticks of the loop's clock.
        var arrived: UInt64 = 0
        /// The vector that weight and priority were set for; another one in the same slot has the defaults.
        var generation: UInt32 = 0
        var next: UInt32 = .max
        /// Turns left before the others have theirs; `weighted` only.
        var deficit: UInt16 = 0
        var weight: UInt16 = 1
        var priority: UInt8 = Scheduler.usualPriority
        var isQueued = false
    }

    struct List: BitwiseCopyable {
        var first: UInt32 = .max
        var last: UInt32 = .max
    }

    static var priorities: Int { 8 }
    static var usualPriority: UInt8 { 4 }
    private static var usualTurn: UInt32 { 8 }

    /// Whether there is anything to schedule by.
    let isActive: Bool
    private let isStrict: Bool
    private let isWeighted: Bool
    private let turn: UInt32
    private let places: Slab<Place>
    private let lists: Slab<List>
    private let delays: DelayTable
    private var queued: UInt32 = 0
    /// Events until the next look.
    private var left: UInt32
    /// The vector whose last turn left it a deficit, until a look has shown whether it is ready again.
    private var current = UInt32.max
    private var hasLooked = false
    /// Notifications that found their vector ready already.
    var merged: UInt64 = 0
    /// Times that a turn ended before everything ready was handed out.
    private(set) var turnsEnded: UInt64 = 0

    init(_ schedule: Schedule, _ capacity: Int, measured: Bool) {
        var turn = Self.usualTurn
        if case .roundRobin(let budget) = schedule { turn = UInt32(clamping: max(budget, 1)) }
        let histograms = measured && schedule != .arrival ? Self.priorities : 0
        isActive = schedule != .arrival
        isStrict = schedule == .strict
        isWeighted = schedule == .weighted
        self.turn = turn
        left = turn
        places = Slab(count: isActive ? capacity : 0, initial: Place())
        lists = Slab(count: Self.priorities, initial: List())
        delays = DelayTable(histograms)
    }

    /// Whether nothing is queued.
    var isIdle: Bool { queued == 0 }

    // MARK: The hot path

    /// A vector became ready; `merged` counts it when it was.
    @inline(__always)
    mutating func enqueue(_ slot: UInt32, _ ticks: UInt64) {
        guard !places[slot].isQueued else { return }
        places[slot].isQueued = true
        places[slot].arrived = ticks
        queued &+= 1
        let list: UInt32 = isStrict ? UInt32(places[slot].priority) : 0
        if slot == current {
            // Ready again with turns left: it goes on where it was.
            current = .max
            places[slot].next = lists[list].first
            lists[list].first = slot
            if lists[list].last == .max { lists[list].last = slot }
            return
        }
        places[slot].deficit = 0
        places[slot].next = .max
        if lists[list].last == .max { lists[list].first = slot } else { places[lists[list].last].next = slot }
        lists[list].last = slot
    }

    /// Whose turn it is; `nil` when nobody is ready, or when it is time to look who is.
    mutating func take(_ entries: borrowing Slab<VectorEntry>) -> UInt32? {
        if current != .max, shouldLook() { return nil }
        while queued > 0 {
            let list = firstList()
            let slot = lists[list].first
            // Masked or parked since it came: it is held, and comes again.
            guard entries[slot].ready else {
                dequeue(list)
                continue
            }
            guard left > 0 else {
                left = turn
                turnsEnded &+= 1
                return nil
            }
            left &-= 1
            dequeue(list)
            if isWeighted { charge(slot) }
            return slot
        }
        left = turn
        return nil
    }

    /// Records how long the vector's first signal has waited for this turn, in nanoseconds.
    mutating func record(_ slot: UInt32, _ clock: CycleClock, _ now: UInt64) {
        guard delays.isMeasured else { return }
        delays.record(Int(places[slot].priority), clock.nanoseconds(now &- places[slot].arrived))
    }

    var isMeasured: Bool { delays.isMeasured }

    private mutating func firstList() -> UInt32 {
        guard isStrict else { return 0 }
        var list: UInt32 = 0
        while lists[list].first == .max { list &+= 1 }
        return list
    }

    private mutating func dequeue(_ list: UInt32) {
        let slot = lists[list].first
        lists[list].first = places[slot].next
        if lists[list].first == .max { lists[list].last = .max }
        places[slot].isQueued = false
        queued &-= 1
    }

    private mutating func charge(_ slot: UInt32) {
        if places[slot].deficit == 0 { places[slot].deficit = places[slot].weight }
        places[slot].deficit &-= 1
        guard places[slot].deficit > 0 else { return }
        current = slot
        hasLooked = false
    }

    /// The vector before has turns left and is not ready: true when only a look can tell whether it is again.
    private mutating func shouldLook() -> Bool {
        if !hasLooked {
            hasLooked = true
            left = turn
            turnsEnded &+= queued > 0 ? 1 : 0
            return true
        }
        places[current].deficit = 0
        current = .max
        return false
    }

    // MARK: Settings

    /// Takes a vector out of the lists, because it is gone or its priority changes. True when it was in one.
    @discardableResult
    mutating func remove(_ slot: UInt32) -> Bool {
        if current == slot { current = .max }
        guard isActive, places[slot].isQueued else { return false }
        let list: UInt32 = isStrict ? UInt32(places[slot].priority) : 0
        var before = UInt32.max
        var place = lists[list].first
        while place != slot {
            before = place
            place = places[place].next
        }
        let after = places[slot].next
        if before == .max { lists[list].first = after } else { places[before].next = after }
        if after == .max { lists[list].last = before }
        places[slot].isQueued = false
        queued &-= 1
        return true
    }

    /// The settings of a vector, as it has them or by default.
    func settings(_ slot: UInt32, _ generation: UInt32) -> (priority: UInt8, weight: UInt16) {
        guard isActive, places[slot].generation == generation else { return (Self.usualPriority, 1) }
        return (places[slot].priority, places[slot].weight)
    }

    /// No effect where nothing is scheduled.
    mutating func set(_ slot: UInt32, _ generation: UInt32, priority: UInt8, weight: UInt16) {
        guard isActive else { return }
        let (arrived, wasQueued) = (places[slot].arrived, remove(slot))
        places[slot].generation = generation
        places[slot].priority = priority
        places[slot].weight = weight
        places[slot].deficit = 0
        if wasQueued { enqueue(slot, arrived) }
    }

    /// A place is somebody else's from now on.
    mutating func forget(_ slot: UInt32) {
        guard isActive else { return }
        remove(slot)
        places[slot] = Place()
    }

    /// What was recorded for a priority.
    func snapshot(_ priority: Int) -> HistogramSnapshot { delays.snapshot(priority) }
}

/// The counters of some histograms in one piece of memory, which the hot path finds without counting references.
struct DelayTable: ~Copyable {
    private let counts: Slab<UInt64>

    init(_ histograms: Int) { counts = Slab(count: histograms * Histogram.bucketCount, initial: 0) }

    var isMeasured: Bool { counts.count > 0 }

    func record(_ histogram: Int, _ value: UInt64) {
        counts[UInt32(histogram &* Histogram.bucketCount &+ Histogram.bucket(of: value))] &+= 1
    }

    func snapshot(_ histogram: Int) -> HistogramSnapshot {
        let first = histogram * Histogram.bucketCount
        guard histogram >= 0, first + Histogram.bucketCount <= counts.count else { return HistogramSnapshot() }
        return HistogramSnapshot(counts: (first..<first + Histogram.bucketCount).map { counts[UInt32($0)] })
    }
}
