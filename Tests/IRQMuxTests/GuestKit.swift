import CKernel
import EventRing
import Exerciser
import Foundation
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import Synchronization
import Testing

/// A real guest that rings a doorbell for each message that it takes, a software device with as many vectors, and
/// message `n` for vector `n`.
struct GuestBench: Sendable {
    let guest: MicroGuest
    let device: Exerciser
    let count: Int

    init(_ count: Int, isStarted: Bool = true) throws {
        self.count = count
        // Message 0 is the lowest in priority: it is nobody's but the fence's.
        guest = try MicroGuest(messageVectors: count + 1)
        device = try Exerciser(ExerciserConfiguration(intx: 1, msi: 0, msix: UInt32(count)))
        if isStarted { try guest.start() }
    }

    var numbers: Range<UInt32> { 0..<UInt32(count) }

    func gsi(_ number: UInt32) -> GSI { guest.gsi(forMessage: Int(number) + 1) }

    func doorbell(_ number: UInt32) -> GuestDoorbell { guest.doorbell(Int(number) + 1) }

    func attach(to mux: inout Mux) throws(MuxError) {
        let live: GSIRoutes
        do throws(KVMError) { live = try guest.withRouting { $0.live } } catch { throw MuxError(error) }
        try mux.attach(guest: guest.virtualMachine, routes: live)
    }

    /// How often the guest took vector `number` since it was last asked; waits for the first.
    func await(_ number: UInt32) throws -> UInt64 { try guest.awaitDoorbell(doorbell(number)) }

    /// What the guest has taken by now, without waiting.
    func taken(_ number: UInt32) throws -> UInt64 { try doorbell(number).eventFD.take() }

    /// Waits until everything that was injected before has been served.
    func fence() throws {
        let eventFD = try EventFD()
        let irqfd = try guest.virtualMachine.assignIRQFD(eventFD, gsi: guest.gsi(forMessage: 0))
        try eventFD.signal()
        _ = try guest.awaitDoorbell(guest.doorbell(0))
        try irqfd.deassign()
    }
}

/// Counts what a handler was told, by vector; read by other threads.
final class DeliveryCounts: Sendable {
    private let counts: [Box]
    private final class Box: Sendable { let value = Atomic<UInt64>(0) }

    init(_ count: Int) { counts = (0..<count).map { _ in Box() } }

    func add(_ number: UInt32) { counts[Int(number)].value.add(1, ordering: .sequentiallyConsistent) }

    func take(_ number: UInt32) -> UInt64 { counts[Int(number)].value.exchange(0, ordering: .sequentiallyConsistent) }
}

struct CountingHandler: VectorHandler {
    let tally: DeliveryCounts

    mutating func handle(_ event: VectorEvent, on mux: inout Mux) {
        if event.kind == .interrupt { tally.add(event.vector.number) }
    }
}

/// An eventfd that closures of other threads may hold.
final class SharedEventFD: Sendable {
    let eventFD: EventFD
    init() throws { eventFD = try EventFD() }
    var number: Int32 { eventFD.number }
    func take() throws -> UInt64 { try eventFD.take() }
}

/// Takes all descriptors that this process may have but some, and returns those that it took.
func hoardDescriptors(leaving count: Int) throws -> [Int32] {
    var limit = rlimit()
    // SAFETY: the structure outlives the calls.
    guard unsafe getrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit) == 0 else { throw Unexpected() }
    limit.rlim_cur = min(limit.rlim_cur, 1024)
    // SAFETY: as above.
    guard unsafe setrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit) == 0 else { throw Unexpected() }
    var taken: [Int32] = []
    while case let copy = dup(2), copy >= 0 { taken.append(copy) }
    for _ in 0..<count { close(taken.removeLast()) }
    return taken
}

/// Room for `count` descriptors; loud where the system has a lower limit.
func makeRoomForDescriptors(_ count: Int) throws {
    var limit = rlimit()
    // SAFETY: the structure outlives the calls.
    guard unsafe getrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit) == 0 else { throw Unexpected() }
    guard limit.rlim_cur < rlim_t(count) else { return }
    limit.rlim_cur = rlim_t(count)
    // SAFETY: as above.
    try #require(unsafe setrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit) == 0, "RLIMIT_NOFILE must exceed \(count)")
}
