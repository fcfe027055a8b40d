import CKernel
import EventRing
import Foundation
import HostDevices
import InterruptModel
import Testing
import VFIO

/// Counts what a device is asked.
private final class CountedDevice: InterruptDevice {
    private let device: VFIODevice
    private(set) var requests: [IRQRequest] = []

    init(_ device: consuming VFIODevice) { self.device = device }

    func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo { try device.interruptInfo(index) }
    func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        requests.append(request)
        return try device.setInterrupts(request)
    }
    func reset() throws(DeviceError) { try device.reset() }
    func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 {
        try device.readRegion(region, offset: offset, count: count)
    }
    func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {
        try device.writeRegion(region, offset: offset, count: count, value: value)
    }
    func raisedCount(_ vector: Vector) -> UInt64? { nil }

    /// How many requests there were since it was last asked.
    func takeRequests() -> Int {
        defer { requests = [] }
        return requests.count
    }
}

@Suite(
    "2048 vectors, on a host that has room for some 200", .enabled(if: Machine.isHere, Machine.reason), .serialized,
    .timeLimit(.minutes(4)))
struct ManyVectorsTests {
    private static let all = 2048

    /// A device, an eventfd for each of its vectors, and what is assigned.
    private struct Bench {
        let device: CountedDevice
        let eventFDs: [SharedEventFD]
        let rules: IRQPlanRules
        var assigned = IRQAssignments()

        init() throws {
            device = CountedDevice(try VFIODevice.open(.pci(Machine.manyVectors), by: Machine.way))
            try #require(try device.interruptInfo(.msix).count == UInt32(ManyVectorsTests.all))
            eventFDs = try (0..<ManyVectorsTests.all).map { _ in try SharedEventFD() }
            rules = IRQPlanRules(of: device)
        }

        /// Assigns the first `count` vectors their eventfds, shifted by `shift` places.
        mutating func assign(_ count: Int, shift: Int = 0) throws(IRQChangeError) {
            var wanted = assigned
            wanted.assign(.msix, (0..<count).map { eventFDs[($0 + shift) % ManyVectorsTests.all].number })
            try assigned.change(to: wanted, on: device, rules: rules)
        }

        /// Signals every vector below `count` through the kernel; exactly those that are assigned must arrive, once.
        func expectSignals(
            _ count: Int, of all: Int, shift: Int = 0, _ place: SourceLocation = #_sourceLocation
        ) throws {
            _ = try device.setInterrupts(IRQRequest(.msix, .trigger, .none(count: UInt32(all))))
            var wrong: [Int] = []
            for (number, eventFD) in eventFDs.enumerated() {
                let isMeant = (number + ManyVectorsTests.all - shift) % ManyVectorsTests.all < count
                if try eventFD.take() != (isMeant ? 1 : 0) { wrong.append(number) }
            }
            #expect(wrong.isEmpty, "\(count) assigned", sourceLocation: place)
        }
    }

    @Test("128 are one request, moving them all is one more, and each signals its eventfd")
    func fewest() throws {
        var bench = try Bench()
        try bench.assign(128)
        #expect(bench.device.takeRequests() == 1)
        try bench.expectSignals(128, of: 128)
        _ = bench.device.takeRequests()
        try bench.assign(128, shift: 1000)
        #expect(bench.device.takeRequests() == 1)
        try bench.expectSignals(128, of: 128, shift: 1000)
    }

    @Test("the host runs out of vectors: the error says so, and what was assigned before still signals")
    func exhausted() throws {
        var bench = try Bench()
        try bench.assign(64)
        #expect(bench.device.takeRequests() == 1)
        let before = bench.assigned
        do throws(IRQChangeError) {
            try bench.assign(Self.all)
            #expect(Bool(false), "one processor has room for 2048 vectors")
        } catch {
            #expect(error.isRolledBack)
            #expect(error.cause.errno == ENOSPC)
            #expect("\(error.cause)".contains("vectors"), "\(error.cause)")
        }
        #expect(bench.assigned == before || bench.assigned.allocated > before.allocated)
        #expect(bench.assigned.assignedCount == 64)
        // Where vectors can be added, those that worked were not touched; elsewhere the type is disabled, refused with
        // all, and enabled anew.
        #expect(bench.device.takeRequests() == (bench.rules.growsMSIX ? 1 : 3))
        try bench.expectSignals(64, of: 64)
    }

    @Test("a first enabling of all 2048 leaves nothing enabled, and a smaller one succeeds at once")
    func refusedAtOnce() throws {
        var bench = try Bench()
        do throws(IRQChangeError) {
            try bench.assign(Self.all)
            #expect(Bool(false), "one processor has room for 2048 vectors")
        } catch {
            #expect(error.isRolledBack && error.cause.errno == ENOSPC)
        }
        #expect(bench.device.takeRequests() == 1)
        #expect(bench.assigned == IRQAssignments())
        try bench.assign(100)
        #expect(bench.device.takeRequests() == 1)
        try bench.expectSignals(100, of: 100)
    }

    @Test("the list of devices says beforehand that the processors have no room for so many")
    func named() throws {
        let device = try HostTree.real.device(Machine.manyVectors)
        let trouble = try #require(device.troubles.first { $0.name == "more-vectors-than-room" })
        #expect(!trouble.isObstacle)
        guard case .moreVectorsThanRoom(let vectors, let room, let processors) = trouble else { return }
        #expect(vectors == 2048 && processors == 1)
        // What it says is what the kernel has, within the vectors that come and go.
        var bench = try Bench()
        var most = 0
        for count in stride(from: 16, through: 256, by: 8) {
            do throws(IRQChangeError) { try bench.assign(count) } catch { break }
            most = count
        }
        #expect(abs(most - room) <= 24, "\(most) can be had, \(room) are told")
    }
}
