// swift-format-ignore-file: AlwaysUseLowerCamelCase, AllPublicDeclarationsHaveDocumentation

public import CIRQMuxHeader
internal import CKernel
internal import EventRing
internal import IRQMux
internal import InterruptModel

@c @implementation
public func irqmux_ledger_read_vector(
    _ mux: irqmux_mux, _ vector: irqmux_vector, _ ledger: UnsafeMutablePointer<irqmux_ledger>?
) -> Int32 {
    let operation: StaticString = "irqmux_ledger_read_vector"
    return onMux(mux, operation, about: vector.bits) { (mux, _) throws(MuxError) in
        // SAFETY: the caller's to be written, by its size.
        try unsafe tell(try mux.ledger(try vector.id(of: mux, operation)), ledger, operation)
        return 0
    }
}

@c @implementation
public func irqmux_ledger_read_device(
    _ mux: irqmux_mux, _ device: irqmux_device, _ ledger: UnsafeMutablePointer<irqmux_ledger>?
) -> Int32 {
    let operation: StaticString = "irqmux_ledger_read_device"
    return onMux(mux, operation, about: device.bits) { (mux, _) throws(MuxError) in
        // SAFETY: the caller's to be written, by its size.
        try unsafe tell(try mux.ledger(try device.id(of: mux, operation)), ledger, operation)
        return 0
    }
}

func tell(
    _ account: Ledger, _ ledger: UnsafeMutablePointer<irqmux_ledger>?, _ operation: StaticString
) throws(MuxError) {
    var told = irqmux_ledger()
    told.raised = account.raised
    told.delivered = account.delivered
    told.coalesced = account.coalesced
    told.pending = account.pending
    told.dropped = account.dropped
    told.unexplained = Int64(account.unexplained)
    // SAFETY: the caller's to be written, by its size.
    try unsafe give(ledger, MemoryLayout<irqmux_ledger>.size, &told, operation)
}

@c @implementation
public func irqmux_statistics_read(
    _ mux: irqmux_mux, _ statistics: UnsafeMutablePointer<irqmux_statistics>?
) -> Int32 {
    let operation: StaticString = "irqmux_statistics_read"
    return answer { () throws(MuxError) in
        let found = try find(mux, operation)
        defer { leave(mux, found) }
        // SAFETY: found, so it stays; `remote` never changes and may be used by any thread.
        let now = unsafe found.instance.at.pointee.remote.statistics
        var told = irqmux_statistics()
        told.notifications = now.notifications
        told.batches = now.batches
        told.system_calls = now.systemCalls
        told.sleeps = now.sleeps
        told.spin_hits = now.spinHits
        told.spin_misses = now.spinMisses
        told.rearms = now.rearms
        told.overflows = now.overflows
        told.stale = now.stale
        told.commands = now.commands
        told.signal_batches = now.signalBatches
        told.timers = now.timers
        told.kernel_ns = now.kernelNanoseconds
        told.handler_ns = now.handlerNanoseconds
        told.idle_ns = now.idleNanoseconds
        // SAFETY: the caller's to be written, by its size.
        try unsafe give(statistics, MemoryLayout<irqmux_statistics>.size, &told, operation)
        return 0
    }
}

@c @implementation
public func irqmux_vector_measure(_ mux: irqmux_mux, _ vector: irqmux_vector, _ acknowledged: Int32) -> Int32 {
    let operation: StaticString = "irqmux_vector_measure"
    return onMux(mux, operation, about: vector.bits) { (mux, _) throws(MuxError) in
        let id = try vector.id(of: mux, operation)
        _ = try mux.measure(id, acknowledgedBy: acknowledged >= 0 ? acknowledged : nil)
        return 0
    }
}

@c @implementation
public func irqmux_histogram_read(_ mux: irqmux_mux, _ histogram: UnsafeMutablePointer<irqmux_histogram>?) -> Int32 {
    let operation: StaticString = "irqmux_histogram_read"
    // SAFETY: one of this version, filled from the caller's by its size, and given back so.
    var asked = unsafe irqmux_histogram()
    let size = unsafe MemoryLayout<irqmux_histogram>.size
    let checked = answer { () throws(MuxError) in
        try unsafe take(&asked, size, histogram, operation)
        return 0
    }
    guard checked == 0 else { return checked }
    // SAFETY: plain numbers of the struct above.
    let (which, vector, ofPair) = unsafe (asked.which, asked.vector, asked.pair)
    if which == UInt32(IRQMUX_HISTOGRAM_DISPATCH) {
        return answer { () throws(MuxError) in
            let found = try find(mux, operation)
            defer { leave(mux, found) }
            // SAFETY: found, so it stays; `remote` never changes and may be used by any thread.
            try unsafe tell(found.instance.at.pointee.remote.dispatchDelays, histogram, operation)
            return 0
        }
    }
    return onMux(mux, operation) { (mux, instance) throws(MuxError) in
        guard let asked = stage(which) else { throw Refusal.value(operation, "which is an IRQMUX_HISTOGRAM_*") }
        // SAFETY: on the mux's thread, while the caller waits.
        let stages =
            ofPair.bits != 0
            ? try pair(ofPair, of: instance, operation).stages
            : mux.stages(of: try vector.id(of: mux, operation))
        guard let stages else {
            throw MuxError(operation, errno: ENODATA, remedy: "it is not measured: irqmux_vector_measure first")
        }
        // SAFETY: the caller's to be written, by its size.
        try unsafe tell(stages.snapshot(asked), histogram, operation)
        return 0
    }
}

private func stage(_ which: UInt32) -> Stage? {
    switch which {
    case UInt32(IRQMUX_HISTOGRAM_WAKE): .wake
    case UInt32(IRQMUX_HISTOGRAM_TURN): .dispatch
    case UInt32(IRQMUX_HISTOGRAM_FORWARD): .forward
    case UInt32(IRQMUX_HISTOGRAM_ACKNOWLEDGED): .acknowledged
    default: nil
    }
}

private func tell(
    _ snapshot: HistogramSnapshot, _ histogram: UnsafeMutablePointer<irqmux_histogram>?, _ operation: StaticString
) throws(MuxError) {
    // SAFETY: one of this version, filled from the caller's by its size, and given back so.
    var told = unsafe irqmux_histogram()
    let size = unsafe MemoryLayout<irqmux_histogram>.size
    try unsafe take(&told, size, histogram, operation)
    unsafe told.count = snapshot.total
    unsafe told.min = snapshot.minimum
    unsafe told.max = snapshot.maximum
    unsafe told.mean = UInt64(snapshot.mean)
    // SAFETY: as above.
    unsafe told.p50 = snapshot.percentile(50)
    unsafe told.p90 = snapshot.percentile(90)
    unsafe told.p99 = snapshot.percentile(99)
    unsafe told.p99_9 = snapshot.percentile(99.9)
    if let buckets = unsafe told.buckets {
        // SAFETY: the caller has room for IRQMUX_HISTOGRAM_BUCKETS, which is how many there are: Tests/c/vectors.c sees
        // the last one written, and the one behind it not.
        for bucket in 0..<snapshot.counts.count { unsafe buckets[bucket] = snapshot.counts[bucket] }
    }
    // SAFETY: the caller's to be written, by its size.
    try unsafe give(histogram, size, &told, operation)
}
