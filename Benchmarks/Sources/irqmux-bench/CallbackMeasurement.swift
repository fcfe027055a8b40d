internal import CEngines
internal import CIRQMux
internal import EventRing
internal import IRQMux
internal import InterruptModel

/// Measures what an interrupt costs by the C library's callback, and by a Swift handler in the loop that `Mux.run` is,
/// once.
struct CallbackMeasurement {
    /// The other way to handle the same vectors.
    static let swiftHandler = EngineKind(
        name: "swift-handler", about: "a Swift handler in the loop of Mux.run; c-callback only",
        abilities: .callback, largest: 32768, missing: nil
    ) { _, _ in throw EngineError(engine: "swift-handler", operation: "create", errno: 0) }

    private let measurement: Measurement
    private let vectors: Int
    private let repetitions: Int

    init(_ measurement: Measurement, _ measured: Case) {
        self.measurement = measurement
        vectors = measured.sources
        repetitions = measured.repetitions
    }

    func inC() throws -> Sample {
        var eventFDs = [Int32](repeating: -1, count: vectors)
        // SAFETY: the array is there while the closure runs.
        return try unsafe eventFDs.withUnsafeMutableBufferPointer { eventFDs in
            var error: Int32 = 0
            // SAFETY: the sink and the numbers stay in place until the callback's owner was freed.
            let made = unsafe bench_callback_make(
                UInt32(vectors), measurement.sources.sink, eventFDs.baseAddress, &error)
            guard let made = unsafe made else { throw failure("create", error) }
            // SAFETY: made above, freed once.
            defer { unsafe bench_callback_free(made) }
            return try unsafe costs(UnsafePointer(eventFDs.baseAddress!)) { until in
                // SAFETY: made above.
                let result = unsafe bench_callback_drain(made, until)
                if result < 0 { throw failure("dispatch", result) }
            }
        }
    }

    func inSwift() throws -> Sample {
        // SAFETY: the harness keeps the sink in place.
        let sink = unsafe measurement.sources.sink
        var options = MuxOptions()
        options.loop.capacity = vectors
        var mux = try Mux(options)
        let device = WiredDevice(vectors: UInt32(vectors))
        try mux.connect(mux.attach(device), .msix, 0..<UInt32(vectors))
        // SAFETY: the array is there while the closure runs.
        return try unsafe device.eventFDs.withUnsafeBufferPointer { eventFDs in
            // SAFETY: as above; the numbers are the device's.
            try unsafe costs(eventFDs.baseAddress!) { until in
                while unsafe sink.pointee.total < until {
                    try mux.wait(timeout: 0)
                    // SAFETY: as above; the tag is the vector's number.
                    while !mux.isStopping, let event = mux.next() {
                        unsafe bench_note(sink, UInt32(truncatingIfNeeded: event.tag))
                    }
                }
            }
        }
    }

    /// All vectors are signalled, which is not timed; then they are dispatched.
    private func costs(_ eventFDs: UnsafePointer<Int32>, _ drain: (UInt64) throws -> Void) throws -> Sample {
        let order = (0..<UInt32(vectors)).map { $0 }
        var costs: [Double] = []
        costs.reserveCapacity(repetitions)
        for repetition in -5..<repetitions {
            // SAFETY: as many numbers as vectors, each of an open eventfd.
            let result = unsafe bench_signal(eventFDs, order, UInt32(vectors))
            guard result == 0 else { throw failure("write", result) }
            let until = measurement.sources.total + UInt64(vectors)
            let start = bench_cycles()
            try drain(until)
            let cycles = bench_cycles() - start
            if repetition >= 0 { costs.append(measurement.nanoseconds(cycles) / Double(vectors)) }
        }
        return Sample(value: costs.percentile(50))
    }

    private func failure(_ operation: String, _ result: Int32) -> EngineError {
        EngineError(engine: "c-callback", operation: operation, errno: -result)
    }
}
