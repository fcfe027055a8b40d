internal import CEngines

/// What one engine gave in one round of one case, in the case's unit.
struct Sample: Sendable {
    var value: Double
    /// Only of the cases that tell one.
    var p99: Double?
}

/// Measures one engine in one case, once.
struct Measurement {
    var sources: Sources
    /// The processor that the reader runs on.
    var readerCPU: Int32
    /// The processor that the writer of the wake-up cases, or the guest, runs on.
    var writerCPU: Int32
    var nanosecondsPerCycle: Double
    /// Changes which sources are signalled and how long the writer waits; the same for all engines of a round.
    var seed: UInt32

    func run(_ measured: Case, _ kind: EngineKind) throws -> Sample {
        if measured.method.isOfMux { return try MuxMeasurement(self).run(measured, kind) }
        sources.reset(count: measured.sources)
        let engine = try kind.make(sources, measured.needs)
        if case .arm = measured.method { return try arm(measured, engine) }
        try engine.arm()
        let sample =
            switch measured.method {
            case .wake(let waiting): try wake(measured, waiting, engine)
            case .drain(let ready): try drain(measured, ready: ready, engine)
            case .guestLoop: try guestLoop(measured, engine)
            case .arm, .maskGuest, .routeSwitch, .starvation, .routing, .maskTable, .tableAccess, .enableTable,
                .callback:
                preconditionFailure("answered above")
            }
        try engine.disarm()
        return sample
    }

    private func drain(_ measured: Case, ready: Int, _ engine: any Engine) throws -> Sample {
        var random = Xorshift(seed: seed)
        sources.choose(random.choose(ready, of: measured.sources))
        var costs: [Double] = []
        costs.reserveCapacity(measured.repetitions)
        // A ring holds four completions a source, so only the fifth pass meets memory that was touched before.
        for repetition in -5..<measured.repetitions {
            try sources.signalChosen(ready)
            let until = sources.total + UInt64(ready)
            let start = bench_cycles()
            try engine.drain(until: until)
            let cycles = bench_cycles() - start
            if repetition >= 0 { costs.append(nanoseconds(cycles) / Double(ready)) }
        }
        return Sample(value: costs.percentile(50))
    }

    private func wake(_ measured: Case, _ waiting: Case.Waiting, _ engine: any Engine) throws -> Sample {
        let warmUp = 10
        // SAFETY: the descriptors outlive the writer, which is joined below.
        var plan = unsafe bench_plan(
            fds: sources.descriptors, n: UInt32(measured.sources), samples: UInt32(warmUp + measured.repetitions),
            seed: seed, cpu: writerCPU, shortest: cycles(20_000), longest: cycles(60_000),
            storm: -1)
        // SAFETY: the plan is copied.
        guard let writer = unsafe bench_writer_start(&plan) else {
            throw EngineError(engine: "harness", operation: "pthread_create", errno: 0)
        }
        let samples = warmUp + measured.repetitions
        let outcome = Result {
            // SAFETY: joined only below.
            try unsafe latencies(of: engine, waiting, writer, samples: samples, skipping: warmUp)
        }
        if case .failure = outcome {
            // SAFETY: joined only below. The writer ends only when it has all its acknowledgements.
            for _ in 0..<samples { unsafe bench_writer_acknowledge(writer) }
        }
        // SAFETY: started above, joined once.
        let result = unsafe bench_writer_join(writer)
        guard result == 0 else { throw EngineError(engine: "harness", operation: "write", errno: -result) }
        let values = try outcome.get()
        return Sample(value: values.percentile(50), p99: values.percentile(99))
    }

    private func latencies(
        of engine: any Engine, _ waiting: Case.Waiting, _ writer: OpaquePointer, samples: Int, skipping warmUp: Int
    ) throws -> [Double] {
        var latencies: [Double] = []
        latencies.reserveCapacity(samples)
        for index in 0..<samples {
            let until = sources.total + 1
            // SAFETY: the caller joins the writer only after this.
            unsafe bench_writer_acknowledge(writer)
            switch waiting {
            case .spin: try engine.spin(until: until)
            case .block: try engine.block(until: until)
            }
            // SAFETY: as above.
            let stamp = unsafe bench_writer_stamp(writer)
            // A stamp later than the callback's can only come from clocks that differ; it counts as 0.
            if index >= warmUp { latencies.append(nanoseconds(sources.time > stamp ? sources.time - stamp : 0)) }
        }
        return latencies
    }

    /// Interrupt in, doorbell out: the same write for every engine, then its way of sleeping until the doorbell.
    private func guestLoop(_ measured: Case, _ engine: any Engine) throws -> Sample {
        let guest = try GuestLoop(ringing: sources, guestCPU: writerCPU, ownCPU: readerCPU)
        let warmUp = 10
        var loops: [Double] = []
        loops.reserveCapacity(measured.repetitions)
        for index in 0..<warmUp + measured.repetitions {
            let until = sources.total + 1
            let start = bench_cycles()
            try guest.interrupt()
            try engine.block(until: until)
            if index >= warmUp { loops.append(nanoseconds(sources.time - start)) }
        }
        return Sample(value: loops.percentile(50), p99: loops.percentile(99))
    }

    private func arm(_ measured: Case, _ engine: any Engine) throws -> Sample {
        var costs: [Double] = []
        for repetition in 0...measured.repetitions {
            let start = bench_cycles()
            try engine.arm()
            try engine.disarm()
            let cycles = bench_cycles() - start
            if repetition > 0 { costs.append(nanoseconds(cycles) / Double(measured.sources)) }
        }
        return Sample(value: costs.percentile(50))
    }

    func nanoseconds(_ cycles: UInt64) -> Double { Double(cycles) * nanosecondsPerCycle }
    func cycles(_ nanoseconds: Double) -> UInt64 { UInt64(nanoseconds / nanosecondsPerCycle) }
}

/// A small generator, so that a round can be repeated exactly.
struct Xorshift: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt32) { state = UInt64(seed) | 1 << 32 }

    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }

    /// `k` different numbers below `n`, in random order.
    mutating func choose(_ k: Int, of n: Int) -> [Int] { Array((0..<n).shuffled(using: &self).prefix(k)) }
}

extension [Double] {
    /// The smallest element that `percent` of the elements do not exceed; of an empty array, not a number.
    func percentile(_ percent: Double) -> Double {
        guard !isEmpty else { return .nan }
        let rank = Int((Double(count) * percent / 100).rounded(.up))
        return sorted()[Swift.min(Swift.max(rank, 1), count) - 1]
    }
}
