import EventRing
import Exerciser
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import Testing

/// A real guest, a software device, and the guest's MSI-X served on a mux. The guest's vector `n` sends the message
/// that rings doorbell `n`.
struct MSIXBench: ~Copyable {
    let bench: GuestBench
    let device: Interposer
    var mux: Mux
    let attached: DeviceID
    var msix: GuestMSIX

    /// - Parameter delay: When a batch of routes ends by itself; never by default, so that a test decides.
    init(
        _ count: Int, delay: UInt64 = .max, configuration: ExerciserConfiguration? = nil,
        _ answer: @escaping Interposer.Answer = { (request, device) throws(DeviceError) in
            try device.setInterrupts(request)
        }
    ) throws {
        let bench = try GuestBench(count)
        let exerciser = try Exerciser(
            configuration ?? ExerciserConfiguration(intx: 1, msi: 0, msix: UInt32(count)))
        let device = Interposer(exerciser, answer)
        var options = smallOptions(capacity: 4 * count + 16)
        options.routeBatchDelay = delay
        var mux = try Mux(options)
        try bench.attach(to: &mux)
        let attached = try mux.attach(device)
        let msix = try GuestMSIX(attached, on: mux)
        self.bench = bench
        self.device = device
        self.attached = attached
        self.msix = msix
        self.mux = mux
    }

    func message(_ number: UInt32) -> InterruptMessage {
        guard case .message(let address, let data, _) = bench.guest.route(forMessage: Int(number) + 1) else {
            return InterruptMessage(address: 0, data: 0)
        }
        return InterruptMessage(address: address, data: data)
    }

    mutating func write(_ number: UInt32, _ register: UInt64, _ value: UInt64) {
        msix.writeTable(offset: UInt64(number) * 16 + register, width: 4, value, on: &mux)
    }

    mutating func program(_ number: UInt32, _ message: InterruptMessage) {
        write(number, 0, message.address & 0xffff_ffff)
        write(number, 4, message.address >> 32)
        write(number, 8, UInt64(message.data))
    }

    mutating func mask(_ number: UInt32) { write(number, 12, 1) }
    mutating func unmask(_ number: UInt32) { write(number, 12, 0) }

    /// What Linux does: enable with everything masked, mask each entry, then let the function mask go.
    mutating func enable() {
        msix.writeMessageControl(0xc000, on: &mux)
        for number in 0..<msix.table.count { mask(number) }
        msix.writeMessageControl(0x8000, on: &mux)
    }

    /// What Linux does for one vector: program it, unmask it.
    mutating func request(_ number: UInt32) {
        program(number, message(number))
        unmask(number)
    }

    mutating func pending() -> UInt64 { msix.readPending(offset: 0, width: 8, on: &mux) }

    /// The mux's vector of a guest's that is in use.
    func id(_ number: UInt32) throws -> VectorID {
        guard let id = msix.vector(number) else { throw Unexpected() }
        return id
    }

    func raise(_ number: UInt32) { device.device.raise(Vector(.msix, number)) }

    /// Runs the loop until it has nothing more to do, then says how often the guest took the vector.
    mutating func taken(_ number: UInt32) throws -> UInt64 {
        try mux.settle()
        try bench.fence()
        return try bench.taken(number)
    }

    /// The whole account of the device closes.
    mutating func expectBalanced(raised: UInt64?, pending: UInt64 = 0, _ place: SourceLocation = #_sourceLocation)
        throws
    {
        let ledger = try mux.ledger(attached)
        #expect(ledger.unexplained == 0, "\(ledger)", sourceLocation: place)
        #expect(ledger.pending == pending, "\(ledger)", sourceLocation: place)
        if let raised { #expect(ledger.raised == raised, "\(ledger)", sourceLocation: place) }
    }

    /// Requests that the device got since the last call.
    var requests: [IRQRequest] { device.requests }
}

/// A device that takes every request and does nothing.
struct WillingDevice: InterruptDevice {
    var vectors: UInt32 = 2

    func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo { IRQInfo(count: vectors, eventfd: true) }
    func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 { 0 }
    func reset() throws(DeviceError) {}
    func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 { 0 }
    func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {}
    func raisedCount(_ vector: Vector) -> UInt64? { nil }
}
