import EventRing
import Exerciser
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import Testing

/// A real guest, a software device, and the guest's MSI served on a mux. Batches of routes end when the test says so.
struct MSIBench: ~Copyable {
    let bench: GuestBench
    let device: Interposer
    var mux: Mux
    let attached: DeviceID
    var msi: GuestMSI

    init(
        _ count: UInt32, hostVectors: UInt32 = 2048, isMaskable: Bool = true,
        _ answer: @escaping Interposer.Answer = { (request, device) throws(DeviceError) in
            try device.setInterrupts(request)
        }
    ) throws {
        // The guest's message 16 + n is vector n's: MSI wants the low bits of the data to be the vector's number.
        let bench = try GuestBench(48)
        var configuration = ExerciserConfiguration(intx: 0, msi: 32, msix: 0)
        configuration.hostVectors = hostVectors
        let device = Interposer(try Exerciser(configuration), answer)
        var options = smallOptions(capacity: 256)
        options.routeBatchDelay = .max
        var mux = try Mux(options)
        try bench.attach(to: &mux)
        let attached = try mux.attach(device)
        let msi = try GuestMSI(
            attached, MSIRegisters.Layout(vectors: count, isMaskable: isMaskable), next: 0x50, on: mux)
        self.bench = bench
        self.device = device
        self.attached = attached
        self.msi = msi
        self.mux = mux
    }

    /// Message, then the number of vectors and enable.
    mutating func enable(_ count: UInt32) throws {
        guard case .message(let address, let data, _) = bench.guest.route(forMessage: 16) else { return }
        try #require(data & 31 == 0, "the guest's message 16 is the first of a block")
        msi.write(offset: 4, width: 4, UInt32(truncatingIfNeeded: address), on: &mux)
        msi.write(offset: 8, width: 4, UInt32(truncatingIfNeeded: address >> 32), on: &mux)
        msi.write(offset: 12, width: 2, data, on: &mux)
        msi.write(offset: 2, width: 2, UInt32(count.trailingZeroBitCount) << 4 | 1, on: &mux)
    }

    func raise(_ number: UInt32) { device.device.raise(Vector(.msi, number)) }

    mutating func taken(_ number: UInt32) throws -> UInt64 {
        try mux.settle()
        try bench.fence()
        return try bench.guest.doorbell(16 + Int(number)).eventFD.take()
    }
}
