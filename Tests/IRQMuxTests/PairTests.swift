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

@Suite(
    "Pairs and stages", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized,
    .timeLimit(.minutes(5)))
struct PairTests {
    /// A port that the small guest does not use.
    private static let port: UInt16 = 0x600

    /// A guest that rings the port once at its start and once more in each completion's handler.
    private func ringingGuest() throws -> (MicroGuest, GSIRoute) {
        var image = GuestImage()
        var code = RealModeAssembler(origin: GuestImage.codeOrigin)
        code.sti()
        code.writeWord(1, port: Self.port)
        code.haltForEver()
        image.setVector(0x40, to: code.here)
        code.writeWord(2, port: Self.port)
        code.endOfInterruptX2APIC()
        code.iret()
        image.place(code)
        return (try MicroGuest(image: image), .message(address: 0xfee0_0000, data: 0x40))
    }

    @Test(
        "the guest rings, the mux tells, the completion interrupts the guest, which rings again",
        arguments: [true, false])
    func closedLoop(isMeasured: Bool) throws {
        let (guest, route) = try ringingGuest()
        var mux = try Mux(smallOptions())
        try mux.attach(guest: guest.virtualMachine, routes: .irqChipDefaults())
        let gsi = try mux.allocateGSI(route)
        let pair = try mux.addPair(
            doorbell: DoorbellAddress(.port(Self.port), width: .two), completion: gsi, tag: 42, isMeasured: isMeasured)
        #expect(mux.routingCommits == 1, "the completion's route is there before its irqfd")
        try guest.start()
        var rings = 0
        while rings < 200 {
            try mux.wait(timeout: 5_000_000_000)
            let next = mux.next()
            let event = try #require(next, "the guest did not ring")
            #expect(event.kind == .doorbell && event.tag == 42)
            rings += 1
            try pair.complete()
        }
        if isMeasured {
            let stages = try #require(pair.stages)
            #expect(stages.snapshot(.dispatch).total == 200 && stages.snapshot(.forward).total == 200)
            #expect(stages.snapshot(.wake).total == 0, "nobody stamps a guest's write")
        }
        try mux.removePair(pair)
        #expect(errno { () throws(MuxError) in try pair.complete() } == ENOENT)
        #expect(errno { () throws(MuxError) in try mux.removePair(pair) } == ENOENT)
        try mux.freeGSI(gsi)
        // The last completion's handler rings once more, before or after the removal: nobody tells of it.
        #expect(try mux.settle().isEmpty)
        guest.stop()
    }

    @Test("a pair that cannot be made leaves nothing behind, and says why")
    func refusals() throws {
        let guest = try MicroGuest(messageVectors: 2)
        var options = smallOptions()
        options.pairs = 2
        var mux = try Mux(options)
        let address = DoorbellAddress(.port(Self.port), width: .two)
        func refusal(
            _ address: DoorbellAddress, _ gsi: GSI, tag: UInt64 = 0, by eventfd: Int32? = nil
        ) -> Int32 {
            do throws(MuxError) {
                _ = try mux.addPair(doorbell: address, completion: gsi, tag: tag, signalledBy: eventfd)
                return 0
            } catch { return error.errno }
        }
        let gsi = guest.gsi(forMessage: 0)
        #expect(refusal(address, gsi) == ENODEV)
        try mux.attach(guest: guest.virtualMachine, routes: guest.withRouting { $0.live })
        #expect(refusal(address, 2000) == ENXIO)
        #expect(refusal(address, 4096) == EINVAL)
        #expect(refusal(address, gsi, tag: 1 << 63) == EINVAL)
        #expect(refusal(address, gsi, by: 1 << 30) == EBADF)
        let file = try #require(FileHandle(forUpdatingAtPath: "/dev/null"))
        #expect(refusal(address, gsi, by: file.fileDescriptor) == EINVAL, "no eventfd")
        try file.close()
        let bound = try EventFD()
        let irqfd = try guest.virtualMachine.assignIRQFD(bound, gsi: guest.gsi(forMessage: 1))
        #expect(refusal(address, gsi, by: bound.number) == EBUSY, "an irqfd already")
        try irqfd.deassign()
        #expect(refusal(DoorbellAddress(.port(Self.port), width: .any, match: 1), gsi) == EINVAL)
        let pair = try mux.addPair(doorbell: address, completion: gsi, tag: 1)
        #expect(refusal(address, gsi) == EEXIST, "the GSI twice")
        #expect(refusal(address, guest.gsi(forMessage: 1)) == EEXIST, "the doorbell twice")
        #expect(errno { () throws(MuxError) in try mux.detachGuest() } == EBUSY)
        let other = try mux.addPair(
            doorbell: DoorbellAddress(.port(Self.port + 2), width: .two), completion: guest.gsi(forMessage: 1), tag: 2,
            signalledBy: bound.number)
        #expect(refusal(DoorbellAddress(.port(Self.port + 4), width: .two), gsi) == ENOSPC)
        try guest.start()
        try bound.signal()
        #expect(try guest.awaitDoorbell(guest.doorbell(1)) == 1, "a back-end completes by itself")
        try mux.removePair(pair)
        try mux.removePair(other)
    }

    @Test("a detour's stages: signal, wake, dispatch, forward, and the guest's acknowledgement")
    func stages() throws {
        let bench = try GuestBench(2)
        var mux = try Mux(smallOptions())
        try bench.attach(to: &mux)
        let attached = try mux.attach(bench.device)
        let ids = try mux.connect(attached, .msix, 0..<2) { .detour(bench.gsi($0)) }
        let stages = try mux.measure(ids[0], acknowledgedBy: bench.doorbell(0).number)
        #expect(errno { () throws(MuxError) in _ = try mux.measure(ids[0]) } == EBUSY)
        try mux.settle()
        #expect(stages.unacknowledgedSince == nil)
        for round in 1...50 as ClosedRange<UInt64> {
            bench.device.raise(msix(0))
            let deadline = irqmux_monotonic_ns() + 10_000_000_000
            while stages.snapshot(.acknowledged).total < round {
                try #require(irqmux_monotonic_ns() < deadline, "the guest did not acknowledge")
                try mux.wait(timeout: 1_000_000)
                while mux.next() != nil {}
            }
        }
        for stage in Stage.allCases { #expect(stages.snapshot(stage).total == 50, "\(stage)") }
        #expect(stages.unacknowledgedSince == nil)
        #expect(stages.snapshot(.acknowledged).minimum > 0)
        let resident = allocations {
            bench.device.raise(msix(1))
            bench.device.raise(msix(0))
        }
        try mux.wait(timeout: 0)
        let measured = allocations { while mux.next() != nil {} }
        #expect(!allocationsAreCounted || measured == 0 && resident == 0)
        try mux.settle()
        try mux.disconnect(ids[0])
        #expect(stages.snapshot(.forward).total >= 50, "readable afterwards")
        expectSettled(try mux.ledger(attached), raised: 52)
    }

    @Test("a guest that never acknowledges is a named state")
    func neverAcknowledges() throws {
        // It takes messages, and nobody has started it.
        let bench = try GuestBench(1, isStarted: false)
        var mux = try Mux(smallOptions())
        try bench.attach(to: &mux)
        let id = try mux.connect(mux.attach(bench.device), .msix, 0..<1) { .detour(bench.gsi($0)) }[0]
        let stages = try mux.measure(id, acknowledgedBy: bench.doorbell(0).number)
        let before = irqmux_monotonic_ns()
        bench.device.raise(msix(0))
        try mux.settle()
        let since = try #require(stages.unacknowledgedSince)
        #expect(since + 1_000_000 > before && since <= irqmux_monotonic_ns() + 1_000_000)
        bench.device.raise(msix(0))
        try mux.settle()
        #expect(stages.unacknowledgedSince == since, "measured from the first that is owed")
        expectSettled(try mux.ledger(id), raised: 2)
    }
}
