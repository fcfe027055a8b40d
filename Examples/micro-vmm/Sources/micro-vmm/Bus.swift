// The guest's bus: which address is what, and the VMM's answer to every access that KVM leaves to it.
import EventRing
import Exerciser
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
    private let wires: Wires
    private let exitCount = Atomic<UInt64>(0)
    /// How long a round takes the guest, by the device's stamps.
    let messageRounds = Rounds()
    let lineRounds = Rounds()

    init(_ device: Exerciser, _ wires: Wires) {
        self.device = device
        self.wires = wires
    }

    var exits: UInt64 { exitCount.load(ordering: .relaxed) }

    func answer(_ access: GuestAccess) -> GuestAnswer {
        exitCount.add(1, ordering: .relaxed)
        guard let pci = wires.pci.withLock({ $0 }) else { return .unclaimed }
        do {
            switch access.place {
            case .port(Map.powerButton): return .powerOff
            case .port(let port):
                guard let read = try pci.port(port, width: access.width, written: access.written) else {
                    return .unclaimed
                }
                return access.written == nil ? .value(read) : .done
            case .memory(let address):
                guard let part = try pci.decode(address, width: access.width) else { return .unclaimed }
                guard let value = access.written else { return .value(try pci.read(part)) }
                try pci.write(part, value)
                note(part)
                return .done
            }
        } catch {
            wires.refusal.withLock { $0 = error }
            return .unclaimed
        }
    }

    private func note(_ part: RegionAccess) {
        guard part.region == 0 else { return }
        switch UInt16(truncatingIfNeeded: part.offset) {
        case Register.raise: messageRounds.raised(device.lastRaise(Vector(.msix, 0)).intendedNs)
        case Register.assertLine: lineRounds.raised(device.lastRaise(Vector(.intx, 0)).intendedNs)
        default: break
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
