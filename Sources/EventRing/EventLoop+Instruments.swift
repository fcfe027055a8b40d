internal import Synchronization

// Measuring without being felt. A stamp costs 10 ns on a virtual machine, a quick event 55: so in a batch of quick
// events every eighth is stamped, and its neighbours share the stamp. As soon as events take longer than 100 ns each,
// every one is stamped, so a stamp is never staler than about a microsecond of quick work.
extension EventLoop {
    private static var longestGroup: UInt32 { 8 }
    private static var quick: UInt64 { 100 }

    /// When the batch at hand began (the wake-up that brought it), in ticks; 0 where the loop is not instrumented.
    public var batchTicks: UInt64 { options.instrumented ? batchStart : 0 }

    /// Called once an event.
    @inline(__always)
    mutating func takeStamp() {
        if eventsToStamp == 0 { renewStamp() }
        eventsToStamp &-= 1
        eventsUnderStamp &+= 1
    }

    mutating func beginBatch() {
        statistics.batches &+= 1
        if inBatch { recordGroup() }
        eventsUnderStamp = 0
        // A small batch is somebody waiting for an answer: each of its events gets a stamp of its own.
        eventsToStamp = options.instrumented ? 1 : .max
        guard options.instrumented else {
            inBatch = true
            return
        }
        let now = arrival != 0 ? arrival : clock.now
        arrival = 0
        if inBatch { statistics.handlerNanoseconds &+= clock.nanoseconds(now &- batchStart) }
        inBatch = true
        batchStart = now
        stamp = now
    }

    mutating func endBatch() {
        inBatch = false
        guard options.instrumented else { return }
        recordGroup()
        statistics.handlerNanoseconds &+= clock.nanoseconds(clock.now &- batchStart)
    }

    /// Counts and publishes what was handed out of a batch that is not at its end.
    mutating func publishSoFar() {
        recordGroup()
        eventsUnderStamp = 0
        eventsToStamp = options.instrumented ? 0 : .max
        board.publish(&statistics)
    }

    @inline(never)
    private mutating func renewStamp() {
        recordGroup()
        let now = clock.now
        let elapsed = clock.nanoseconds(now &- stamp)
        stamp = now
        let group = eventsUnderStamp
        eventsUnderStamp = 0
        let isQuick = elapsed <= UInt64(group) &* Self.quick && end &- position >= Self.longestGroup
        eventsToStamp = isQuick ? Self.longestGroup : 1
    }

    /// Counts the events that share the stamp: notifications, and their delay since the batch came.
    @inline(__always)
    private mutating func recordGroup() {
        statistics.notifications &+= UInt64(eventsUnderStamp)
        guard options.instrumented else { return }
        delays.record(clock.nanoseconds(stamp &- batchStart), times: UInt64(eventsUnderStamp))
    }
}

/// A histogram's writing end without its ownership.
@safe struct HistogramWriter {
    private let counts: UnsafeMutablePointer<Atomic<UInt64>>

    /// The caller keeps `histogram` alive and is its one writer.
    // SAFETY: that is the caller's to keep, and why the initialiser is @unsafe.
    @unsafe init(_ histogram: borrowing Histogram) { unsafe counts = histogram.counts }

    @inline(__always) func record(_ value: UInt64, times: UInt64) {
        // SAFETY: bucket(of:) is below bucketCount for every value; one writer, as the initialiser demands.
        let bucket = unsafe counts + Histogram.bucket(of: value)
        unsafe bucket.pointee.store(bucket.pointee.load(ordering: .relaxed) &+ times, ordering: .relaxed)
    }
}
