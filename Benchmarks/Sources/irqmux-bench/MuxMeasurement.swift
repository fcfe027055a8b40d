internal import CEngines
internal import EventRing
internal import Exerciser
internal import IRQMux
internal import InterruptModel
internal import KVM
internal import MicroGuest

/// Measures what the mux does, and what it is compared with, once.
struct MuxMeasurement {
    /// The other way to stop a vector that is routed into a guest.
    static let irqfdCycle = EngineKind(
        name: "irqfd-cycle", about: "KVM_IRQFD: deassign and assign; mask-guest and mask-msix only",
        abilities: [.mask, .maskTable], largest: 1, missing: nil
    ) { _, _ in throw EngineError(engine: "irqfd-cycle", operation: "create", errno: 0) }

    /// The mux with a device that can only be asked by SET_IRQS, as the kernel's and those behind a socket are.
    static let setIRQs = EngineKind(
        name: "set-irqs", about: "Mux, the software device asked by SET_IRQS; mask-guest only", abilities: .mask,
        largest: 1, missing: nil
    ) { _, _ in throw EngineError(engine: "set-irqs", operation: "create", errno: 0) }

    private let measurement: Measurement

    init(_ measurement: Measurement) { self.measurement = measurement }

    func run(_ measured: Case, _ kind: EngineKind) throws -> Sample {
        do {
            switch measured.method {
            case .maskGuest(let fire) where kind.name == Self.irqfdCycle.name:
                return try cycleIRQFD(measured.repetitions, fire)
            case .maskGuest(let fire):
                return try mask(measured.repetitions, fire, byRequest: kind.name == Self.setIRQs.name)
            case .maskTable where kind.name == Self.irqfdCycle.name:
                return try cycleIRQFD(measured.repetitions, false)
            case .maskTable: return try TableMeasurement(measurement).mask(measured.repetitions)
            case .tableAccess: return TableMeasurement(measurement).access(measured.repetitions)
            case .enableTable(let vectors, let count):
                return try TableMeasurement(measurement).enable(vectors, counting: count)
            case .routeSwitch(let there, let back): return try change(to: there, from: back, measured.repetitions)
            case .starvation(let waiting, let storm): return try starve(waiting, storm, measured.repetitions)
            case .routing(let vectors): return try bringUp(vectors)
            case .callback where kind.name == CallbackMeasurement.swiftHandler.name:
                return try CallbackMeasurement(measurement, measured).inSwift()
            case .callback: return try CallbackMeasurement(measurement, measured).inC()
            case .drain, .wake, .guestLoop, .arm: preconditionFailure("a loop's case; see Case.Method.isOfMux")
            }
        } catch let error as MicroGuestError {
            throw EngineError(engine: "the guest (\(error))", operation: "create", errno: 0)
        } catch let error as KVMError where error.operation == .open {
            throw EngineError(engine: "the guest (\(error))", operation: "create", errno: error.errno)
        }
    }

    // MARK: A vector that is routed into a guest

    private func mask(_ repetitions: Int, _ underFire: Bool, byRequest: Bool) throws -> Sample {
        let bench = try GuestVector(measurement)
        var mux = try Mux(Self.options())
        let (id, gsi) = try bench.connect(to: &mux, byRequest: byRequest)
        try mux.route(id, to: .guest(gsi))
        if underFire { try bench.open(fire: measurement) }
        defer { bench.device.stop() }
        return try times(repetitions) {
            try mux.mask(id)
            try mux.unmask(id)
        }
    }

    private func cycleIRQFD(_ repetitions: Int, _ underFire: Bool) throws -> Sample {
        let bench = try GuestVector(measurement)
        let eventFD = try EventFD()
        let gsi = bench.guest.gsi(forMessage: 0)
        var irqfd: IRQFD? = try bench.guest.virtualMachine.assignIRQFD(eventFD, gsi: gsi)
        _ = try bench.device.setInterrupts(IRQRequest(.msix, .trigger, .eventfd([eventFD.number])))
        if underFire { try bench.open(fire: measurement) }
        defer { bench.device.stop() }
        return try times(repetitions) {
            try irqfd.take()?.deassign()
            irqfd = try bench.guest.virtualMachine.assignIRQFD(eventFD, gsi: gsi)
        }
    }

    private func change(
        to there: Case.BenchRoute, from back: Case.BenchRoute, _ repetitions: Int
    ) throws -> Sample {
        let bench = try GuestVector(measurement)
        var mux = try Mux(Self.options())
        let (id, gsi) = try bench.connect(to: &mux)
        let (first, second) = (route(there, gsi), route(back, gsi))
        // Once around, so that the irqfd is there.
        try mux.route(id, to: first)
        var costs: [Double] = []
        costs.reserveCapacity(repetitions)
        for _ in 0..<repetitions {
            try mux.route(id, to: second)
            let start = bench_cycles()
            try mux.route(id, to: first)
            costs.append(measurement.nanoseconds(bench_cycles() - start))
        }
        return Sample(value: costs.percentile(50), p99: costs.percentile(99))
    }

    private func route(_ route: Case.BenchRoute, _ gsi: GSI) -> Route {
        switch route {
        case .handler: .handler
        case .guest: .guest(gsi)
        case .detour: .detour(gsi)
        }
    }

    private func times(_ repetitions: Int, _ body: () throws -> Void) throws -> Sample {
        var costs: [Double] = []
        costs.reserveCapacity(repetitions)
        for repetition in -3..<repetitions {
            let start = bench_cycles()
            try body()
            if repetition >= 0 { costs.append(measurement.nanoseconds(bench_cycles() - start)) }
        }
        return Sample(value: costs.percentile(50), p99: costs.percentile(99))
    }

    private static func options(capacity: Int = 8) -> MuxOptions {
        var options = MuxOptions()
        options.loop.capacity = capacity
        return options
    }

    // MARK: Many vectors

    private func bringUp(_ vectors: Int) throws -> Sample {
        let machine = try VirtualMachine()
        try machine.createIRQChip(.full)
        let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: UInt32(vectors)))
        var mux = try Mux(Self.options(capacity: vectors + 8))
        try mux.attach(guest: machine, routes: .irqChipDefaults())
        var gsis: [GSI] = []
        for vector in 0..<vectors {
            gsis.append(try mux.allocateGSI(message: 0xfee0_0000, data: 0x30 + UInt32(vector % 0xc0)))
        }
        try mux.connect(mux.attach(device), .msix, 0..<UInt32(vectors)) { .guest(gsis[Int($0)]) }
        return Sample(value: Double(mux.routingCommits))
    }

    // MARK: Starvation

    /// From just before the write to the handler, of the quiet vector. The storm is the writer's own pastime, so it is
    /// at its fullest while the quiet signal is under way. The value is the 99th percentile.
    private func starve(_ waiting: Case.Waiting, _ storm: Bool, _ repetitions: Int) throws -> Sample {
        let warmUp = 50
        var options = Self.options()
        options.schedule = .weighted
        options.loop.waiting = waiting == .spin ? .spin : .block
        var mux = try Mux(options)
        let device = WiredDevice(vectors: 2)
        let ids = try mux.connect(mux.attach(device), .msix, 0..<2)
        let quiet = UnsafeMutablePointer<Int32>.allocate(capacity: 1)
        // SAFETY: allocated for one number above; freed when the writer that reads it has been joined.
        unsafe quiet.initialize(to: device.eventFDs[0])
        // SAFETY: as above.
        defer { unsafe quiet.deallocate() }
        // SAFETY: the number outlives the writer.
        var plan = unsafe bench_plan(
            fds: quiet, n: 1, samples: UInt32(warmUp + repetitions), seed: measurement.seed,
            cpu: measurement.writerCPU, shortest: measurement.cycles(20_000), longest: measurement.cycles(60_000),
            storm: storm ? device.eventFDs[1] : -1)
        // SAFETY: the plan is copied.
        guard let writer = unsafe bench_writer_start(&plan) else {
            throw EngineError(engine: "harness", operation: "pthread_create", errno: 0)
        }
        var latencies: [Double] = []
        latencies.reserveCapacity(repetitions)
        for sample in 0..<warmUp + repetitions {
            // SAFETY: joined only below.
            unsafe bench_writer_acknowledge(writer)
            let time = try arrival(of: ids[0], on: &mux)
            // SAFETY: as above.
            let stamp = unsafe bench_writer_stamp(writer)
            if sample >= warmUp { latencies.append(measurement.nanoseconds(time > stamp ? time - stamp : 0)) }
        }
        // SAFETY: started above, joined once.
        let result = unsafe bench_writer_join(writer)
        guard result == 0 else { throw EngineError(engine: "harness", operation: "write", errno: -result) }
        return Sample(value: latencies.percentile(99), p99: latencies.percentile(99))
    }

    /// When the vector's event came, in cycles; all others are dealt with as they come.
    private func arrival(of id: VectorID, on mux: inout Mux) throws -> UInt64 {
        while true {
            while let event = mux.next() {
                if event.id == id { return bench_cycles() }
            }
            try mux.wait()
        }
    }
}

/// A guest that runs, and a software device with one vector for its message.
private struct GuestVector {
    let guest: MicroGuest
    let device: Exerciser

    /// The guest runs on the writer's processor.
    init(_ measurement: Measurement) throws {
        guest = try MicroGuest(messageVectors: 1)
        device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: 1))
        _ = bench_pin(measurement.writerCPU)
        defer { _ = bench_pin(measurement.readerCPU) }
        try guest.start()
    }

    /// The device raises its vector 100,000 times a second from now on, on the writer's processor, and ends only
    /// when it is stopped.
    func open(fire measurement: Measurement) throws {
        _ = bench_pin(measurement.writerCPU)
        defer { _ = bench_pin(measurement.readerCPU) }
        try device.start(RaisePlan(Vector(.msix, 0), count: 1_000_000_000, intervalNs: 10_000))
    }

    func connect(to mux: inout Mux, byRequest: Bool = false) throws -> (id: VectorID, gsi: GSI) {
        try mux.attach(guest: guest.virtualMachine, routes: guest.withRouting { $0.live })
        let attached = byRequest ? try mux.attach(AskedDevice(device: device)) : try mux.attach(device)
        return (try mux.connect(attached, .msix, 0..<1)[0], guest.gsi(forMessage: 0))
    }
}

/// The software device without its short way.
private struct AskedDevice: InterruptDevice {
    let device: Exerciser

    func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo { try device.interruptInfo(index) }
    func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 { try device.setInterrupts(request) }
    func reset() throws(DeviceError) { try device.reset() }
    func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 { 0 }
    func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {}
    func raisedCount(_ vector: Vector) -> UInt64? { device.raisedCount(vector) }
}

/// A device that takes eventfds, for the harness's writer to signal.
final class WiredDevice: InterruptDevice {
    private(set) var eventFDs: [Int32] = []
    private let vectors: UInt32

    init(vectors: UInt32) { self.vectors = vectors }

    func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo { IRQInfo(count: vectors, eventfd: true) }

    func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        if case .eventfd(let numbers) = request.data { eventFDs = numbers }
        return 0
    }

    func reset() throws(DeviceError) {}
    func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 { 0 }
    func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {}
    func raisedCount(_ vector: Vector) -> UInt64? { nil }
}
