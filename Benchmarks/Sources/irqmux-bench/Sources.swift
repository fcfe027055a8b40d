internal import CEngines

/// The eventfds that all engines listen to in turn, and the sink that their callbacks note events in.
@safe final class Sources {
    /// How many of the eventfds the present case uses.
    private(set) var count: Int
    let descriptors: UnsafeMutablePointer<Int32>
    let sink: UnsafeMutablePointer<bench_sink>
    private let capacity: Int
    private let chosen: UnsafeMutablePointer<UInt32>

    init(capacity: Int) throws {
        self.capacity = capacity
        count = capacity
        // SAFETY: all are allocated for `capacity` elements (the sink for one) and filled before anybody reads them.
        unsafe descriptors = .allocate(capacity: capacity)
        // SAFETY: as above.
        unsafe chosen = .allocate(capacity: capacity)
        // SAFETY: as above.
        unsafe sink = .allocate(capacity: 1)
        // SAFETY: as above.
        unsafe sink.initialize(to: bench_sink(counts: .allocate(capacity: capacity), total: 0, time: 0))
        // SAFETY: descriptors has room for `capacity` numbers.
        let result = unsafe bench_eventfds_create(descriptors, UInt32(capacity))
        guard result == 0 else { throw EngineError(engine: "harness", operation: "eventfd", errno: -result) }
    }

    deinit {
        // SAFETY: created in init, and every engine is gone by now.
        unsafe bench_eventfds_close(descriptors, UInt32(capacity))
        // SAFETY: allocated in init.
        unsafe sink.pointee.counts.deallocate()
        // SAFETY: allocated in init.
        unsafe descriptors.deallocate()
        // SAFETY: allocated in init.
        unsafe chosen.deallocate()
        // SAFETY: allocated in init.
        unsafe sink.deallocate()
    }

    /// Makes the first `count` eventfds the present ones, with their counters and the sink at zero.
    func reset(count: Int) {
        precondition(count <= capacity)
        self.count = count
        // SAFETY: count is within the capacity.
        unsafe bench_clear(descriptors, UInt32(count))
        // SAFETY: as above.
        unsafe sink.pointee.counts.update(repeating: 0, count: count)
        // SAFETY: allocated in init; no engine is dispatching.
        unsafe sink.pointee.total = 0
        // SAFETY: as above.
        unsafe sink.pointee.time = 0
    }

    /// Zeroes the counters of the present eventfds, and leaves the sink.
    // SAFETY: count is within the capacity.
    func clear() { unsafe bench_clear(descriptors, UInt32(count)) }

    /// The number of the first eventfd, for somebody else to signal.
    // SAFETY: there is one at least, and it stays open as long as this owner lives.
    var first: Int32 { unsafe descriptors[0] }

    /// Events dispatched since `reset`.
    // SAFETY: allocated in init; no engine is dispatching when the harness asks.
    var total: UInt64 { unsafe sink.pointee.total }

    /// The cycle counter in the latest callback.
    // SAFETY: as for total.
    var time: UInt64 { unsafe sink.pointee.time }

    /// Events dispatched for one source since `reset`.
    func events(of source: Int) -> UInt64 {
        precondition(source < count)
        // SAFETY: source is within the capacity; no engine is dispatching.
        return unsafe sink.pointee.counts[source]
    }

    /// Chooses which eventfds `signalChosen` signals.
    func choose(_ sources: [Int]) {
        precondition(sources.count <= capacity && sources.allSatisfy { $0 < count })
        // SAFETY: index is below the capacity.
        for (index, source) in sources.enumerated() { unsafe chosen[index] = UInt32(source) }
    }

    /// Signals the first `k` of the chosen eventfds once each.
    func signalChosen(_ k: Int) throws {
        // SAFETY: k sources were chosen, all below count.
        let result = unsafe bench_signal(descriptors, chosen, UInt32(k))
        guard result == 0 else { throw EngineError(engine: "harness", operation: "write", errno: -result) }
    }
}
