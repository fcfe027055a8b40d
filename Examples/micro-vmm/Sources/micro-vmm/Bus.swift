// The guest's bus: which address is what, and the VMM's answer to every access that KVM leaves to it.
import EventRing
import Exerciser
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import Synchronization

/// Where things are beside the device, whose place the guest decides. A segment of real mode reaches 64 KiB, so the
/// device's registers and the doorbells share one.
enum Map {
    static let segment: UInt16 = 0xd000
    static let base = UInt64(segment) << 4
    static let messageDoorbell: UInt16 = 0x1000
    static let lineDoorbell: UInt16 = 0x1004
    static let powerButton: UInt16 = 0x501

    static func doorbell(_ offset: UInt16) -> DoorbellAddress {
        DoorbellAddress(.memory(base + UInt64(offset)), width: .four)
    }
}

/// Answers exits, on the virtual CPU's thread, which waits meanwhile.
final class Bus: Sendable {
    private let device: Exerciser
    private let function: Mutex<PCIFunction>
    private let wires: Wires
    private let exitCount = Atomic<UInt64>(0)
    /// How long a round takes the guest, by the device's stamps.
    let messageRounds = Rounds()
    let lineRounds = Rounds()

    init(_ device: Exerciser, _ attached: DeviceID, _ mux: MuxRemote, _ wires: Wires) throws {
        self.device = device
        self.wires = wires
        function = Mutex(try PCIFunction(device, Interrupts(mux, attached, wires)))
    }

    var exits: UInt64 { exitCount.load(ordering: .relaxed) }

    func powerUp() { function.withLock { $0.powerUp() } }

    func answer(_ access: GuestAccess) -> GuestAnswer {
        exitCount.add(1, ordering: .relaxed)
        do throws(DeviceError) {
            switch access.place {
            case .port(Map.powerButton): return .powerOff
            case .port(let port):
                let read = try function.withLock { (function) throws(DeviceError) in
                    try function.port(port, width: access.width, written: access.written)
                }
                guard let read else { return .unclaimed }
                return access.written == nil ? .value(read) : .done
            case .memory(let address): return try answer(access, at: address)
            }
        } catch {
            wires.refusal.withLock { $0 = error }
            return .unclaimed
        }
    }

    private func answer(_ access: GuestAccess, at address: UInt64) throws(DeviceError) -> GuestAnswer {
        try function.withLock { (function) throws(DeviceError) in
            guard let (region, offset) = try function.decode(address) else { return .unclaimed }
            let part = RegionAccess(region: region, offset: offset, width: access.width)
            guard let value = access.written else { return .value(try function.read(part)) }
            try function.write(part, value)
            if region == 0, offset == UInt64(Register.raise) {
                messageRounds.raised(device.lastRaise(Vector(.msix, 0)).intendedNs)
            }
            if region == 0, offset == UInt64(Register.assertLine) {
                lineRounds.raised(device.lastRaise(Vector(.intx, 0)).intendedNs)
            }
            return .done
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
