import EventRing
import Exerciser
import Foundation
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import Synchronization
import Testing

/// Interrupt vector 0x30 of the small guest, as a level-triggered message that a split irqchip's IOAPIC would send.
let pinVector: UInt8 = 0x30
let levelMessage = GSIRoute.message(address: 0xfee0_0000, data: 0x8000 | 0x4000 | UInt32(pinVector))
let pinGSI = MicroGuest.pinGSI

/// A guest with an INTx line of a software device, or several on the same pin, served past the mux.
final class INTxGuest {
    let guest: MicroGuest
    let doorbell: GuestDoorbell
    let devices: [Interposer]
    var mux: Mux
    var attached: [DeviceID] = []
    var ids: [VectorID] = []
    /// How often the guest's handler has run.
    var runs: UInt64 = 0
    /// Rings message 1 of a split guest.
    private let nudges: EventFD
    private var nudging: IRQFD?

    /// - Parameter way: `kernelResample` on the full irqchip, `ioapicBroadcast` on the split one; another one with the
    ///   pin driven from user space.
    init(_ way: INTxWay, devices count: Int = 1, tier: RingTier = .deferred, serving: Bool = true) throws {
        mux = try Mux(smallOptions(tier))
        nudges = try EventFD()
        devices = try (0..<count).map { _ in Interposer(try Exerciser()) }
        for device in devices {
            attached.append(try mux.attach(device))
            ids += try mux.connect(attached[attached.count - 1], .intx, 0..<1)
        }
        if way == .ioapicBroadcast {
            let sink = mux.endOfInterrupts
            let guest = try MicroGuest(messageVectors: 2, irqChip: .split(pins: 24)) { _ = sink.end(vector: $0) }
            try guest.withRouting { (routing: inout GSIRouting) throws(KVMError) in
                try routing.set(levelMessage, for: pinGSI)
                try routing.commit(to: guest.virtualMachine)
            }
            (self.guest, doorbell) = (guest, guest.doorbell(0))
            nudging = try guest.virtualMachine.assignIRQFD(nudges, gsi: guest.gsi(forMessage: 1))
        } else {
            guest = try MicroGuest(messageVectors: 1, pin: .level)
            doorbell = guest.pinDoorbell!
        }
        try guest.start()
        try mux.settle()
        if serving { for id in ids { try mux.serve(id, by: service(way)) } }
    }

    func service(_ way: INTxWay) throws -> INTxService {
        let machine = guest.virtualMachine.number
        switch way {
        case .kernelResample: return .kernelResample(machine: machine, gsi: pinGSI)
        case .ioapicBroadcast: return .ioapicBroadcast(machine: machine, gsi: pinGSI, vector: pinVector)
        case .userEOI, .mappingToggle: return .userEOI(pin: try INTxPin(gsi: pinGSI, of: guest.virtualMachine))
        }
    }

    var device: Exerciser { devices[0].device }

    /// Waits until the guest's handler has run again.
    func awaitRun() throws {
        runs += try guest.awaitDoorbell(doorbell)
        try nudge()
    }

    /// Wakes a split guest once more. Where KVM emulates real mode, a guest that halts right behind its end of
    /// interrupt gives the exit at its next wake-up only; elsewhere it came before, and this does no harm.
    func nudge() throws {
        guard nudging != nil else { return }
        try nudges.signal()
        _ = try guest.awaitDoorbell(guest.doorbell(1))
    }

    /// Counts the runs so far without waiting.
    func countRuns() throws { runs += try doorbell.eventFD.take() }

    /// Takes whatever comes until nothing has for a while and every line is open.
    func settle() throws {
        while !devices.allSatisfy({ !$0.device.isINTxMasked }) {
            try nudge()
            usleep(200)
        }
        try mux.settle()
        // The doorbell is rung before the acknowledgement that opened the line.
        try countRuns()
    }

    /// The eventfd that the device was told last to signal, or to be unmasked by.
    func eventFD(_ action: IRQRequest.Action) -> Int32 {
        for request in devices[0].requests.reversed() where request.action == action {
            if case .eventfd(let numbers) = request.data { return numbers[0] }
        }
        return -1
    }

    func ledgers() throws -> Ledger {
        var sum = Ledger()
        for id in attached { sum.merge(try mux.ledger(id)) }
        return sum
    }
}
