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
    "A guest's table, its device and the loop at the same time",
    .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized, .timeLimit(.minutes(5)))
struct GuestConcurrencyTests {
    /// What the mux's thread keeps for the guest.
    private final class Owned: @unchecked Sendable {
        var msix: GuestMSIX
        init(_ msix: consuming GuestMSIX) { self.msix = msix }
    }

    private struct Nobody: VectorHandler {
        mutating func handle(_ event: VectorEvent, on mux: inout Mux) {}
    }

    @Test(
        "a guest writes its table, the device fires from another thread, the loop runs: the ledger balances",
        arguments: [1, 2] as [UInt64])
    func everythingAtOnce(seed: UInt64) throws {
        let bench = try GuestBench(4)
        var options = smallOptions(capacity: 64)
        // Soon, so that batches end between a mask and its unmask.
        options.routeBatchDelay = 200_000
        let running = try MuxThread(options, handler: Nobody())
        let remote = running.remote
        let (attached, owned) = try remote.perform { (mux) throws(MuxError) in
            try bench.attach(to: &mux)
            let attached = try mux.attach(bench.device)
            return (attached, Owned(try GuestMSIX(attached, on: mux)))
        }
        let isDone = Switch()
        let write: @Sendable (UInt64, UInt64) throws -> Void = { offset, value in
            try remote.perform { (mux) throws(MuxError) in
                owned.msix.writeTable(offset: offset, width: 4, value, on: &mux)
            }
        }
        let control: @Sendable (UInt16) throws -> Void = { value in
            try remote.perform { (mux) throws(MuxError) in owned.msix.writeMessageControl(value, on: &mux) }
        }
        try control(0x8000)
        for number in bench.numbers {
            guard case .message(let address, let data, _) = bench.guest.route(forMessage: Int(number) + 1) else {
                throw Unexpected()
            }
            try write(UInt64(number) * 16, address & 0xffff_ffff)
            try write(UInt64(number) * 16 + 8, UInt64(data))
            try write(UInt64(number) * 16 + 12, 0)
        }
        // The device: as fast as it can, each vector in its turn.
        let firing = Thread {
            var random = SplitMix(seed: ~seed)
            while !isDone.isOn {
                bench.device.raise(msix(UInt32(random.below(4))))
                if random.below(16) == 0 { usleep(50) }
            }
        }
        firing.start()
        // The guest: masks, function masks, and looks at its pending bits.
        var random = SplitMix(seed: seed)
        for _ in 0..<600 {
            let entry = UInt64(random.below(4)) * 16
            switch random.below(6) {
            case 0, 1: try write(entry + 12, 1)
            case 2, 3: try write(entry + 12, 0)
            case 4: try control(0xc000)
            default: try control(0x8000)
            }
            _ = try remote.perform { (mux) throws(MuxError) in
                owned.msix.readPending(offset: 0, width: 8, on: &mux)
            }
        }
        isDone.isOn = true
        while !firing.isFinished { usleep(100) }
        try control(0x8000)
        for number in bench.numbers { try write(UInt64(number) * 16 + 12, 0) }
        try expectBalanced(bench, remote, attached)
        let refusals = try remote.perform { _ in owned.msix.report.refusals }
        #expect(refusals == 0)
        _ = running.stop()
    }

    /// Everything is open: nothing is held, what was raised was told, and each vector is alive.
    private func expectBalanced(_ bench: GuestBench, _ remote: MuxRemote, _ attached: DeviceID) throws {
        try eventually {
            let ledger = try remote.ledger(attached)
            return ledger.pending == 0 && ledger.unexplained == 0
        }
        let ledger = try remote.ledger(attached)
        #expect(ledger.raised == (0..<4).reduce(0) { $0 + (bench.device.raisedCount(msix($1)) ?? 0) }, "\(ledger)")
        #expect(ledger.delivered > 0 && ledger.drops.total == 0, "\(ledger)")
        try bench.fence()
        for number in bench.numbers {
            _ = try bench.taken(number)
            bench.device.raise(msix(number))
            #expect(try bench.await(number) == 1, "\(number)")
        }
    }
}
