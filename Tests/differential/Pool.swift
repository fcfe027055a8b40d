import CKernel
import Foundation
import InterruptModel

/// The eventfds of a test: some to be triggered, some to unmask by, since the kernel drains the latter itself; and a
/// file that is no eventfd.
final class Pool {
    let triggers: [Int32]
    let unmaskers: [Int32]
    let notAnEventFD: Int32
    /// A number that nothing is open under.
    let closed: Int32 = 900
    /// What the model says of each counter.
    private var expected: [Int32: UInt64] = [:]

    init(triggers: Int = 10, unmaskers: Int = 2) throws {
        func make(_ count: Int) throws -> [Int32] {
            try (0..<count).map { _ in
                let number = irqmux_eventfd_create(0)
                guard number >= 0 else { throw DeviceError("eventfd", errno: -number, remedy: "") }
                return number
            }
        }
        self.triggers = try make(triggers)
        self.unmaskers = try make(unmaskers)
        // SAFETY: the path is a literal.
        notAnEventFD = unsafe open("/dev/null", O_RDWR | O_CLOEXEC)
    }

    deinit { for number in triggers + unmaskers + [notAnEventFD] { close(number) } }

    /// What the kernel finds under a number.
    func lookUp(_ number: Int32) -> EventFDLookup {
        let identity = UInt64(UInt32(bitPattern: number))
        if triggers.contains(number) || unmaskers.contains(number) { return .eventFD(identity: identity) }
        return irqmux_fd_is_open(number) == 0 ? .otherFile(identity: identity) : .notOpen
    }

    func expect(_ signals: [AssignedEventFD]) { for eventFD in signals { expected[eventFD.number, default: 0] += 1 } }

    func signal(_ number: Int32) { _ = irqmux_eventfd_signal(number, 1) }

    /// Takes every counter and compares. A signal that is on its way is waited for, since some go through a kernel
    /// worker; one too many shows at the next look.
    func difference() -> String? {
        defer { expected.removeAll(keepingCapacity: true) }
        var findings: [String] = []
        for number in triggers + unmaskers {
            let wanted = expected[number] ?? 0
            var found = take(number)
            let limit = irqmux_monotonic_ns() + 2_000_000_000
            while found < wanted, irqmux_monotonic_ns() < limit {
                usleep(200)
                found += take(number)
            }
            if found != wanted {
                findings.append("eventfd \(number): the kernel signalled \(found), the model \(wanted)")
            }
        }
        return findings.isEmpty ? nil : findings.joined(separator: "; ")
    }

    /// Forgets whatever the counters hold.
    func drain() {
        for number in triggers + unmaskers { _ = take(number) }
        expected.removeAll(keepingCapacity: true)
    }

    private func take(_ number: Int32) -> UInt64 {
        var count: UInt64 = 0
        // SAFETY: the count lives through the call.
        let result = unsafe irqmux_eventfd_take(number, &count)
        return result == 0 ? count : 0
    }
}
