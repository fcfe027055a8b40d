// The guest's bus: which address is what, and the VMM's answer to every access that KVM leaves to it.
import EventRing
import Exerciser
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import Synchronization

/// Where things are. A segment of real mode reaches 64 KiB, so device, doorbells and switch share one.
enum Map {
    static let segment: UInt16 = 0xd000
    static let base = UInt64(segment) << 4
    /// The registers (docs/exerciser.md) fill this much of BAR 0.
    static let registers: Range<UInt16> = 0x0000..<0x1000
    static let messageDoorbell: UInt16 = 0x1000
    static let lineDoorbell: UInt16 = 0x1004
    /// Which kind of interrupts the device uses, as VFIO numbers them: this machine's configuration space.
    static let interruptType: UInt16 = 0x2000
    static let powerButton: UInt16 = 0x501

    static func doorbell(_ offset: UInt16) -> DoorbellAddress {
        DoorbellAddress(.memory(base + UInt64(offset)), width: .four)
    }
}

/// Answers exits, on the virtual CPU's thread, which waits meanwhile.
final class Bus: Sendable {
    private let device: Exerciser
    private let attached: DeviceID
    private let mux: MuxRemote
    private let wires: Wires
    private let exitCount = Atomic<UInt64>(0)
    private let refusal = Mutex<(any Error)?>(nil)
    /// How long a round takes the guest, by the device's stamps.
    let messageRounds = Rounds()
    let lineRounds = Rounds()

    init(_ device: Exerciser, _ attached: DeviceID, _ mux: MuxRemote, _ wires: Wires) {
        self.device = device
        self.attached = attached
        self.mux = mux
        self.wires = wires
    }

    var exits: UInt64 { exitCount.load(ordering: .relaxed) }
    /// Why an access was not answered, where irqmux refused it.
    var failure: (any Error)? { refusal.withLock { $0 } }

    func answer(_ access: GuestAccess) -> GuestAnswer {
        exitCount.add(1, ordering: .relaxed)
        do {
            switch access.place {
            case .port(Map.powerButton): return .powerOff
            case .memory(let address) where address >= Map.base && address < Map.base + 0x1_0000:
                return try answer(access, at: UInt16(address - Map.base))
            default: return .unclaimed
            }
        } catch {
            refusal.withLock { $0 = error }
            return .unclaimed
        }
    }

    private func answer(_ access: GuestAccess, at offset: UInt16) throws -> GuestAnswer {
        switch (offset, access.written) {
        case (Map.registers, nil):
            return .value(try device.readRegion(0, offset: UInt64(offset), count: access.width))
        case (Map.registers, let value?):
            try device.writeRegion(0, offset: UInt64(offset), count: access.width, value: value)
            if offset == Register.raise { messageRounds.raised(device.lastRaise(Vector(.msix, 0)).intendedNs) }
            if offset == Register.assertLine { lineRounds.raised(device.lastRaise(Vector(.intx, 0)).intendedNs) }
            return .done
        case (Map.interruptType, let value?):
            try use(value)
            return .done
        default: return .unclaimed
        }
    }

    /// The guest chooses MSI-X or INTx; a PCI device uses one of them at a time. Routes are told in one call, with the
    /// vectors: from the first signal on, everything goes into the guest. The message goes past this process, as the
    /// device's eventfd is the irqfd; the line is served in the way that this machine is best at.
    private func use(_ type: UInt64) throws {
        let (attached, wires) = (attached, wires)
        try mux.perform { (mux) throws(MuxError) in
            try mux.disconnectAll(attached, .msix)
            try mux.disconnectAll(attached, .intx)
            if type == UInt64(IRQIndex.msix.rawValue) {
                let gsi = wires.messageGSI.load(ordering: .acquiring)
                try mux.connect(attached, .msix, 0..<1, route: .guest(gsi))
            } else {
                let line = try mux.connect(attached, .intx, 0..<1)[0]
                guard let way = wires.lineWay.withLock({ $0 }) else { return }
                try mux.serve(line, by: way.service(), because: way.choice)
                wires.connectedLine.withLock { $0 = line }
            }
        }
    }
}

/// From one raise to the next: the interrupt has been taken in between, or the guest would not ask for another.
final class Rounds: Sendable {
    let histogram = Histogram()
    private let last = Mutex<UInt64>(0)

    /// A raise was due at `now`, in nanoseconds. On the virtual CPU's thread: a histogram has one writer.
    func raised(_ now: UInt64) {
        last.withLock { last in
            if last != 0, now >= last { histogram.record(now - last) }
            last = now
        }
    }
}
