internal import CEngines
internal import EventRing
internal import Exerciser
internal import IRQMux
internal import InterruptModel
internal import KVM

/// Measures what a guest's accesses to its MSI-X table cost, once.
struct TableMeasurement {
    private let measurement: Measurement

    init(_ measurement: Measurement) { self.measurement = measurement }

    /// Mask and unmask of a vector that is bypassed, by two writes of vector control.
    func mask(_ repetitions: Int) throws -> Sample {
        let machine = try VirtualMachine()
        try machine.createIRQChip(.split(pins: 24))
        var mux = try Mux(Self.options(capacity: 16))
        try mux.attach(guest: machine, routes: GSIRoutes())
        let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: 1))
        var msix = try GuestMSIX(mux.attach(device), on: mux)
        Self.enable(1, &msix, &mux)
        var costs: [Double] = []
        costs.reserveCapacity(repetitions)
        for repetition in -3..<repetitions {
            let start = bench_cycles()
            msix.writeTable(offset: 12, width: 4, 1, on: &mux)
            msix.writeTable(offset: 12, width: 4, 0, on: &mux)
            if repetition >= 0 { costs.append(measurement.nanoseconds(bench_cycles() - start)) }
        }
        return Sample(value: costs.percentile(50), p99: costs.percentile(99))
    }

    /// A write that changes nothing, of a vector that is in use; 64 at a time, because one is shorter than the clock.
    func access(_ repetitions: Int) -> Sample {
        var table = MSIXTable(count: 64)
        table.writeMessageControl(0x8000)
        for vector in 0..<64 as Range<UInt64> {
            table.writeTable(offset: vector * 16, width: 4, 0xfee0_0000)
            table.writeTable(offset: vector * 16 + 12, width: 4, 0)
        }
        table.synchronise { _ in true }
        var costs: [Double] = []
        costs.reserveCapacity(repetitions)
        for _ in 0..<repetitions {
            let start = bench_cycles()
            for vector in 0..<64 as Range<UInt64> { table.writeTable(offset: vector * 16, width: 4, 0xfee0_0000) }
            costs.append(measurement.nanoseconds(bench_cycles() - start) / 64)
        }
        precondition(!table.hasWork, "the writes changed nothing")
        return Sample(value: costs.percentile(50))
    }

    /// A guest enables its vectors as Linux does: all masked, then each programmed and unmasked.
    func enable(_ vectors: Int, counting: Case.TableCount) throws -> Sample {
        let machine = try VirtualMachine()
        try machine.createIRQChip(.split(pins: 24))
        var mux = try Mux(Self.options(capacity: 2 * vectors + 64))
        try mux.attach(guest: machine, routes: GSIRoutes())
        let device = CountingDevice(try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: UInt32(vectors))))
        var msix = try GuestMSIX(mux.attach(device), on: mux)
        Self.enable(vectors, &msix, &mux)
        try mux.wait(timeout: 0)
        return Sample(value: counting == .requests ? Double(device.requests) : Double(mux.routingCommits))
    }

    private static func enable(_ vectors: Int, _ msix: inout GuestMSIX, _ mux: inout Mux) {
        msix.writeMessageControl(0xc000, on: &mux)
        for vector in 0..<UInt64(vectors) { msix.writeTable(offset: vector * 16 + 12, width: 4, 1, on: &mux) }
        msix.writeMessageControl(0x8000, on: &mux)
        for vector in 0..<UInt64(vectors) {
            msix.writeTable(offset: vector * 16, width: 4, 0xfee0_0000, on: &mux)
            msix.writeTable(offset: vector * 16 + 8, width: 4, 0x30 + vector % 0xc0, on: &mux)
            msix.writeTable(offset: vector * 16 + 12, width: 4, 0, on: &mux)
        }
    }

    private static func options(capacity: Int) -> MuxOptions {
        var options = MuxOptions()
        options.loop.capacity = capacity
        return options
    }
}

/// Counts the requests that a software device gets.
private final class CountingDevice: InterruptDevice {
    private let device: Exerciser
    private(set) var requests = 0

    init(_ device: Exerciser) { self.device = device }

    func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo { try device.interruptInfo(index) }

    func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        requests += 1
        return try device.setInterrupts(request)
    }

    func reset() throws(DeviceError) { try device.reset() }

    func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 {
        try device.readRegion(region, offset: offset, count: count)
    }

    func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {
        try device.writeRegion(region, offset: offset, count: count, value: value)
    }

    func raisedCount(_ vector: Vector) -> UInt64? { device.raisedCount(vector) }
}
