import CKernel
import EventRing
import Exerciser
import Foundation
import IRQMux
import InterruptModel
import Synchronization
import Testing

/// A mux small enough to make hundreds of.
func smallOptions(_ tier: RingTier = .deferred, waiting: WaitMode = .block, capacity: Int = 64) -> MuxOptions {
    var options = MuxOptions()
    options.loop.capacity = capacity
    options.loop.bestTier = tier
    options.loop.waiting = waiting
    return options
}

extension Mux {
    /// Hands out events until there are none for several looks in a row, and returns them all.
    ///
    /// What was raised before is then delivered or held: a signal is in the completion queue a look or two after the
    /// write(2), a source that is being disarmed takes a few more.
    @discardableResult
    mutating func settle(_ react: (VectorEvent, inout Mux) throws -> Void = { _, _ in }) throws -> [VectorEvent] {
        var events: [VectorEvent] = []
        var quiet = 0
        // A spinning loop reads its sources while it waits, so it has to wait a little.
        let timeout: UInt64 = waitMode == .block ? 0 : 30_000
        while quiet < 5 {
            try wait(timeout: timeout)
            quiet += 1
            while let event = next() {
                quiet = 0
                events.append(event)
                // More than any test raises: a line that nobody quiets, or a notification that is told again and again.
                guard events.count < 100_000 else { throw Endless() }
                try react(event, &self)
            }
        }
        return events
    }
}

struct Endless: Error {}
struct Unexpected: Error {}

/// The last count of the device that a handler saw at a delivery, by vector. When it is not the final count at the end,
/// the last signal was lost: a stronger test than the ledger, which cannot tell a lost one from a coalesced one.
struct LossDetector {
    let device: Exerciser
    private var seen: [Vector: UInt64] = [:]

    init(_ device: Exerciser) { self.device = device }

    mutating func delivered(_ vector: Vector) { seen[vector] = device.raisedCount(vector) }

    func lost(_ vector: Vector) -> Bool { seen[vector, default: 0] != device.raisedCount(vector) }
}

/// A software device behind somebody who may answer in its place, for what cannot be made to happen otherwise.
final class Interposer: InterruptDevice, Sendable {
    typealias Answer = @Sendable (IRQRequest, Exerciser) throws(DeviceError) -> UInt32

    let device: Exerciser
    private let answer: Answer
    private let log = Mutex<[IRQRequest]>([])
    private let writeLog = Mutex<[RegionAccess]>([])

    init(
        _ device: Exerciser,
        _ answer: @escaping Answer = { (request, device) throws(DeviceError) in try device.setInterrupts(request) }
    ) {
        self.device = device
        self.answer = answer
    }

    /// Every write to a register so far.
    var writes: [RegionAccess] { writeLog.withLock { $0 } }

    /// Every request so far.
    var requests: [IRQRequest] { log.withLock { $0 } }

    /// The eventfds of the last request that assigned some.
    var eventFDs: [Int32] {
        for request in requests.reversed() {
            if case .eventfd(let numbers) = request.data, numbers.contains(where: { $0 >= 0 }) { return numbers }
        }
        return []
    }

    func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo { try device.interruptInfo(index) }

    func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        log.withLock { $0.append(request) }
        return try answer(request, device)
    }

    func reset() throws(DeviceError) { try device.reset() }

    func regionInfo(_ number: UInt32) throws(DeviceError) -> RegionInfo { try device.regionInfo(number) }

    func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 {
        try device.readRegion(region, offset: offset, count: count)
    }

    func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {
        writeLog.withLock { $0.append(RegionAccess(region: region, offset: offset, width: count)) }
        try device.writeRegion(region, offset: offset, count: count, value: value)
    }

    func raisedCount(_ vector: Vector) -> UInt64? { device.raisedCount(vector) }
}

/// A switch that a test throws and a closure of another thread, or of a device, looks at.
final class Switch: Sendable {
    private let state = Atomic<Bool>(false)
    var isOn: Bool {
        get { state.load(ordering: .sequentiallyConsistent) }
        set { state.store(newValue, ordering: .sequentiallyConsistent) }
    }
}

/// The errno of the mux's refusal; 0 when there was none.
func errno(_ body: () throws(MuxError) -> Void) -> Int32 {
    do {
        try body()
        return 0
    } catch {
        return error.errno
    }
}

/// The account closes, with nothing held.
func expectSettled(_ ledger: Ledger, raised: UInt64?, _ place: SourceLocation = #_sourceLocation) {
    #expect(ledger.unexplained == 0, "\(ledger)", sourceLocation: place)
    #expect(ledger.pending == 0, "\(ledger)", sourceLocation: place)
    #expect(ledger.raised == raised, "\(ledger)", sourceLocation: place)
}

/// Waits for something another thread is about to do. What has not come in half a minute never will: that is an issue,
/// and the test goes on, because a time limit of Swift Testing's cannot stop a test that does not await.
func eventually(_ place: SourceLocation = #_sourceLocation, _ condition: () throws -> Bool) rethrows {
    let deadline = irqmux_monotonic_ns() + 30_000_000_000
    while try !condition() {
        guard irqmux_monotonic_ns() < deadline else {
            Issue.record("waited half a minute for what never came", sourceLocation: place)
            return
        }
        usleep(200)
    }
}

/// How many descriptors this process has open.
func openDescriptors() -> Int {
    // One of them is the directory being read.
    ((try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd"))?.count ?? 0) - 1
}

func msix(_ number: UInt32) -> Vector { Vector(.msix, number) }
let pin = Vector(.intx, 0)
