/// A fixed number of timers as a binary heap by deadline.
struct TimerHeap: ~Copyable {
    /// A timer that fired.
    struct Fired {
        let tag: UInt64
        let intervals: UInt64
    }

    // Not private: the 6.3.1 compiler fails on a private element type of a field that another file destroys.
    struct Timer: BitwiseCopyable {
        var tag: UInt64 = 0
        var deadline: UInt64 = 0
        var interval: UInt64 = 0
        var generation: UInt32 = 0
        /// Where in the heap the timer is; for a free place, the next free one.
        var place: UInt32 = .max
    }

    private let timers: Slab<Timer>
    private let heap: Slab<UInt32>
    private(set) var count: UInt32 = 0
    private var firstFree: UInt32
    /// The moment up to which `takeDue` takes timers, in nanoseconds of CLOCK_MONOTONIC.
    var now: UInt64 = 0

    init(capacity: Int) {
        timers = Slab(count: capacity, initial: Timer())
        heap = Slab(count: capacity, initial: 0)
        firstFree = capacity > 0 ? 0 : .max
        for index in 0..<UInt32(capacity) { timers[index].place = index + 1 < UInt32(capacity) ? index + 1 : .max }
    }

    /// The earliest deadline, or `UInt64.max`.
    @inline(__always) var earliest: UInt64 { count == 0 ? .max : timers[heap[0]].deadline }

    /// `nil` when the table is full.
    mutating func add(tag: UInt64, deadline: UInt64, interval: UInt64) -> TimerID? {
        guard firstFree != .max else { return nil }
        let index = firstFree
        firstFree = timers[index].place
        let generation = timers[index].generation
        timers[index] = Timer(tag: tag, deadline: deadline, interval: interval, generation: generation, place: count)
        heap[count] = index
        count += 1
        rise(count - 1)
        return TimerID(index: index, generation: generation)
    }

    /// False when it has fired for the last time or was removed.
    mutating func remove(_ id: TimerID) -> Bool {
        guard id.index < UInt32(timers.count), timers[id.index].generation == id.generation, isActive(id.index) else {
            return false
        }
        drop(id.index)
        return true
    }

    /// The next timer whose deadline is not after `now`. A periodic one stays, its next deadline on the same grid.
    mutating func takeDue() -> Fired? {
        guard count > 0, timers[heap[0]].deadline <= now else { return nil }
        let index = heap[0]
        let timer = timers[index]
        guard timer.interval > 0 else {
            drop(index)
            return Fired(tag: timer.tag, intervals: 1)
        }
        let intervals = (now - timer.deadline) / timer.interval + 1
        let (span, tooLong) = intervals.multipliedReportingOverflow(by: timer.interval)
        let (deadline, tooLate) = timer.deadline.addingReportingOverflow(span)
        timers[index].deadline = tooLong || tooLate ? .max : deadline
        sink(0)
        return Fired(tag: timer.tag, intervals: intervals)
    }

    private func isActive(_ index: UInt32) -> Bool {
        timers[index].place < count && heap[timers[index].place] == index
    }

    private mutating func drop(_ index: UInt32) {
        let place = timers[index].place
        count -= 1
        if place != count {
            put(heap[count], at: place)
            sink(place)
            rise(place)
        }
        timers[index].generation &+= 1
        timers[index].place = firstFree
        firstFree = index
    }

    private func put(_ index: UInt32, at place: UInt32) {
        heap[place] = index
        timers[index].place = place
    }

    private func rise(_ start: UInt32) {
        var place = start
        let index = heap[place]
        while place > 0, timers[heap[(place - 1) / 2]].deadline > timers[index].deadline {
            put(heap[(place - 1) / 2], at: place)
            place = (place - 1) / 2
        }
        put(index, at: place)
    }

    private func sink(_ start: UInt32) {
        var place = start
        let index = heap[place]
        while true {
            var child = 2 * place + 1
            guard child < count else { break }
            if child + 1 < count, timers[heap[child + 1]].deadline < timers[heap[child]].deadline { child += 1 }
            guard timers[heap[child]].deadline < timers[index].deadline else { break }
            put(heap[child], at: place)
            place = child
        }
        put(index, at: place)
    }
}
