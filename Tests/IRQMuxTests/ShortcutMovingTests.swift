import CKernel
import EventRing
import Exerciser
import Foundation
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import TestSupport
import Testing

private let bell = ShortcutBench.bell

@Suite(
    "Registers that a real guest keeps writing while vectors of the device move",
    .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized, .timeLimit(.minutes(5)))
struct ShortcutMovingTests {
    @Test(
        "every write and every interrupt comes once, from loop to loop and back, and nothing is left behind",
        arguments: [RingTier.deferred, .epoll])
    func movesAmidWrites(tier: RingTier) throws {
        let (rounds, burst, movesARound) = (10, 400, 30 as UInt64)
        let device = try WrittenDevice()
        let tally = DeliveryCounts(2)
        let group = try MuxGroup(smallOptions(tier), cpus: [nil, nil]) { _ in CountingHandler(tally: tally) }
        let remote = group.remote
        let bench = try ShortcutBench(
            device, group: remote,
            program: {
                for _ in 0..<rounds {
                    $0.write(UInt32(burst))
                    $0.call(1)
                }
            },
            hook: { _, _ in
                // The loop has much of the burst to write yet.
                let before = remote.moves
                eventually { remote.moves >= before + movesARound }
            })
        let attached = try #require(bench.grouped)
        let mover = VectorMover(device, remote, try remote.connect(attached, .msix, 0..<2), tally)
        let descriptors = openDescriptors()
        let thread = Thread { mover.run() }
        thread.start()
        defer { mover.isDone.isOn = true }
        try bench.run()
        mover.isDone.isOn = true
        eventually { thread.isFinished }
        #expect(remote.moves >= UInt64(rounds) * movesARound)

        try bench.withFunction { (function, mux) throws(MuxError) in
            // A reading sees all that was written before.
            _ = try function.read(RegionAccess(region: 0, offset: 0, width: 4), on: &mux)
        }
        let total = rounds * burst
        #expect(device.values(bell) == [UInt64](repeating: 7, count: total))
        let report = try bench.report
        #expect(report.loopWritten == 1 && report.writes == UInt64(total - 10) && report.refusals == 0)
        #expect(bench.traps == 10 && report.failedWrites == 0)
        for number in 0..<2 as Range<UInt32> { #expect(tally.take(number) == 0, "\(number) came twice") }
        // A descriptor that each move left would show, whatever tests beside this one have.
        eventually { openDescriptors() < descriptors + rounds * Int(movesARound) / 2 }

        try bench.withFunction { (function, mux) throws(MuxError) in try function.end(on: &mux) }
        #expect(try bench.report.installed == 0 && device.values(bell).count == total)
        try bench.expectFree()
        expectSettled(try remote.detach(attached), raised: mover.raised)
    }

    @Test(
        "a device that goes, or a group, while the vectors are away has all that was written", arguments: [true, false])
    func ends(byDevice: Bool) throws {
        let device = try WrittenDevice()
        let tally = DeliveryCounts(2)
        let group = try MuxGroup(smallOptions(), cpus: [nil, nil]) { _ in CountingHandler(tally: tally) }
        let remote = group.remote
        let bench = try ShortcutBench(device, group: remote, program: { $0.write(500) })
        let attached = try #require(bench.grouped)
        for id in try remote.connect(attached, .msix, 0..<2) { try remote.move(id, to: 1) }
        try bench.run()
        #expect(bench.traps == 10)
        if byDevice {
            expectSettled(try remote.detach(attached), raised: 0)
            #expect(try bench.report.installed == 0)
        }
        group.stop { _, _ in }
        #expect(device.values(bell) == [UInt64](repeating: 7, count: 500))
        try bench.expectFree()
    }
}

/// Moves vectors from loop to loop, each with a signal that was raised before the move, or is after it.
private final class VectorMover: @unchecked Sendable {
    let isDone = Switch()
    /// How many signals there were; to be read when it has ended.
    private(set) var raised: UInt64 = 0
    private let device: WrittenDevice
    private let group: MuxGroupRemote
    private let ids: [GroupVectorID]
    private let tally: DeliveryCounts

    init(_ device: WrittenDevice, _ group: MuxGroupRemote, _ ids: [GroupVectorID], _ tally: DeliveryCounts) {
        (self.device, self.group, self.ids, self.tally) = (device, group, ids, tally)
    }

    func run() {
        var step = 0
        while !isDone.isOn {
            let number = UInt32(step % 2)
            let isBefore = step % 3 == 0
            if isBefore { device.device.raise(msix(number)) }
            do throws(MuxError) { try group.move(ids[Int(number)], to: 1 - step / 2 % 2) } catch {
                Issue.record("step \(step): \(error)")
                return
            }
            if !isBefore { device.device.raise(msix(number)) }
            raised += 1
            var came: UInt64 = 0
            eventually {
                came += tally.take(number)
                return came > 0
            }
            if came != 1 { Issue.record("step \(step): came \(came) times") }
            step += 1
        }
    }
}
