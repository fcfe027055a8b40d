import CKernel
import EventRing
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import TestSupport
import Testing

private typealias Act = WrittenDevice.Act
private let bell = ShortcutBench.bell
private let ring = ShortcutBench.ring

@Suite(
    "Registers that a real guest keeps writing", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"),
    .serialized, .timeLimit(.minutes(5)))
struct RegisterShortcutTests {
    private func sevens(_ count: Int) -> [UInt64] { [UInt64](repeating: 7, count: count) }

    @Test("are KVM's and the device's driver's after ten writes: no exits, none lost, and other values still trap")
    func installs() throws {
        let device = try WrittenDevice(refusing: 0)
        let bench = try ShortcutBench(
            device,
            program: {
                $0.write(50)
                $0.write(1, 9)
            })
        try bench.run()
        #expect(bench.traps == 11 && device.values(bell) == sevens(10) + [9])
        let report = try bench.report
        #expect(report.kernelWritten == 1 && report.loopWritten == 0 && report.refusals == 0 && report.writes == 0)
        try bench.withFunction { (function, mux) throws(MuxError) in
            #expect(function.traps.repeated.state(ring) == .installed)
            try function.reset(on: &mux)
            #expect(function.traps.repeated.state(ring) == nil)
        }
        #expect(try bench.report.installed == 0)
        // The device's half came after the tenth write, and went before the reset with all that had been signalled.
        let ended = [Act.write(bell, 9), .ended(ring, signals: 40), .reset]
        #expect(device.acts.suffix(3) == ended && device.acts[10] == .doorbell(ring))
        try bench.expectFree()
    }

    @Test("end with the serving of their function: what was written has reached the device, and the place is free")
    func functionEnds() throws {
        let device = try WrittenDevice(refusing: 0)
        let bench = try ShortcutBench(device, program: { $0.write(50) })
        try bench.run()
        try bench.withFunction { (function, mux) throws(MuxError) in
            #expect(function.shortcutReport.installed == 1)
            try function.end(on: &mux)
            #expect(function.shortcutReport.installed == 0)
        }
        #expect(device.acts.last == .ended(ring, signals: 40))
        try bench.expectFree()
    }

    @Test(
        "are written by the loop for a device that has nobody: every write, and before whatever comes after it",
        arguments: [WaitMode.block, .spin])
    func loopWrites(waiting: WaitMode) throws {
        for errno in [ENOTTY, ENOSPC, EINVAL] {
            let device = try WrittenDevice(refusing: errno)
            let bench = try ShortcutBench(
                device, waiting: waiting,
                program: {
                    for _ in 0..<5 {
                        $0.write(50)
                        $0.write(1, 1, 0x20)
                    }
                    $0.write(30)
                    $0.call(1)
                },
                hook: { bench, _ in
                    // A reading, of a register or of configuration space, sees what was written before.
                    try bench.withFunction { (function, mux) throws(MuxError) in
                        _ = try function.read(RegionAccess(region: 0, offset: 0, width: 4), on: &mux)
                    }
                    #expect(bench.device.values(bell).count == 280)
                })
            try bench.run()
            #expect(bench.traps == 15)
            let block = [Act](repeating: .write(bell, 7), count: 50) + [.write(0x20, 1)]
            #expect(device.acts.prefix(5 * 51) == ArraySlice([block, block, block, block, block].flatMap { $0 }))
            let report = try bench.report
            #expect(report.loopWritten == 1 && report.writes == 270 && report.failedWrites == 0)
            bench.stop()
            #expect(device.values(bell).count == 280)
        }
    }

    @Test("that the loop may not write, or KVM not take, stay traps, are told of, and wait until they are asked again")
    func refused() throws {
        let device = try WrittenDevice()
        var options = RegisterShortcutOptions()
        options.threshold = 3
        options.loopRegisters = 0
        let bench = try ShortcutBench(
            device, options,
            program: {
                $0.write(20)
                $0.call(1)
                $0.write(20)
            },
            hook: { bench, _ in
                try bench.withFunction { (function, mux) throws(MuxError) in
                    #expect(function.traps.repeated.state(ring) == .refused)
                    #expect(function.shortcutReport.refusals == 1, "asked for once")
                    #expect(function.shortcutReport.lastError?.errno == ENOTTY)
                    function.retry(on: &mux)
                }
            })
        try bench.run()
        #expect(bench.traps == 40 && device.values(bell) == sevens(40))
        #expect(try bench.report.refusals == 2 && bench.report.installed == 0)
    }

    @Test("end where KVM refuses them after a move: the device's half is gone, and every write came once")
    func refusedAtNewPlace() throws {
        let device = try WrittenDevice(refusing: 0)
        let bench = try ShortcutBench(
            device,
            program: {
                $0.write(30)
                $0.call(1)
                $0.write(30, 7, 0x1000 + bell)
            }, hook: { bench, _ in try bench.move(to: ShortcutBench.base + 0x1000) })
        let other = try EventFD()
        let theirs = try bench.guest!.virtualMachine.assignIOEventFD(
            other.number,
            at: DoorbellAddress(.memory(ShortcutBench.base + 0x1000 + bell), width: .four, match: 7))
        try bench.run()
        #expect(device.acts.last == .ended(ring, signals: 20) && device.values(bell).count == 10)
        let report = try bench.report
        #expect(report.installed == 0 && report.refusals == 1 && report.lastError?.errno == EEXIST)
        #expect(try other.take() == 30)
        try theirs.deassign()
    }

    @Test(
        "follow their BAR, and leave it while it is nowhere or the guest lets the device decode nothing",
        arguments: [0, ENOTTY])
    func moves(errno: Int32) throws {
        let device = try WrittenDevice(refusing: errno)
        let there = ShortcutBench.base + 0x1000
        let bench = try ShortcutBench(
            device,
            program: {
                $0.write(20)
                $0.call(1)
                $0.write(20, 7, 0x1000 + bell)
                $0.write(5)
                for step in 2...5 as ClosedRange<UInt16> {
                    $0.call(step)
                    $0.write(5, 7, 0x1000 + bell)
                }
            },
            hook: { bench, step in
                switch step {
                case 1: try bench.move(to: there)
                case 2: try bench.configure(4, 2, 4)
                case 3: try bench.configure(4, 4, 6)
                case 4: try bench.move(to: nil)
                default: try bench.move(to: there)
                }
            })
        try bench.run()
        // Ten until it was learnt; five at the old place, and five while it was nowhere, are nobody's; five while
        // nothing is decoded come to the VMM, which does as it likes with them.
        #expect(bench.traps == 15 && bench.strays == 10)
        try bench.withFunction { (function, mux) throws(MuxError) in try function.reset(on: &mux) }
        if errno == 0 {
            #expect(device.values(bell) == sevens(15) && device.acts.contains(.ended(ring, signals: 40)))
        } else {
            #expect(device.values(bell) == sevens(55))
        }
    }

    @Test(
        "are forgotten by every reset, with nothing of before written after it, and are counted anew",
        arguments: 1...3 as ClosedRange<UInt16>)
    func resets(way: UInt16) throws {
        let device = try WrittenDevice()
        let bench = try ShortcutBench(
            device,
            program: {
                $0.write(40)
                $0.call(way)
                $0.write(40)
            },
            hook: { bench, way in
                try bench.withFunction { (function, mux) throws(MuxError) in
                    switch way {
                    case 1: try function.reset(on: &mux)
                    case 2:
                        let device = bench.device
                        try function.reset(on: &mux) { (_) throws(MuxError) in
                            do throws(DeviceError) { try device.reset() } catch { throw MuxError(error) }
                        }
                    default:
                        let express = UInt64(function.capabilities.express?.offset ?? 0)
                        try function.writeConfiguration(express + 8, width: 2, 0x8000, on: &mux)
                    }
                    #expect(function.shortcutReport.installed == 0)
                    #expect(function.traps.repeated.state(ring) == nil)
                }
            })
        try bench.run()
        bench.stop()
        #expect(bench.traps == 20)
        let forty = [Act](repeating: .write(bell, 7), count: 40)
        #expect(device.acts == forty + [.reset] + forty)
    }

    @Test("end with their device, with the mux, and with the guest, and leave nothing behind", arguments: [0, ENOTTY])
    func ends(errno: Int32) throws {
        for end in 0..<3 {
            let device = try WrittenDevice(refusing: errno)
            let bench = try ShortcutBench(device, program: { $0.write(50) })
            try bench.run()
            #expect(bench.traps == 10)
            switch end {
            case 0: try bench.perform { (bench, mux) throws(MuxError) in _ = try mux.detach(bench.attached!) }
            case 1: bench.stop()
            default:
                try bench.perform { (_, mux) throws(MuxError) in try mux.detachGuest() }
                #expect(try bench.report.installed == 0)
                try bench.withFunction { (function, mux) throws(MuxError) in
                    // Trapped again, and counted anew; as long as there is no guest, nothing comes of it.
                    for _ in 0..<30 { _ = try function.write(ring.access, 7, on: &mux) }
                    #expect(function.shortcutReport.refusals == 0)
                }
            }
            let carried = errno == 0 ? 10 : 50
            #expect(device.values(bell).count == carried + (end == 2 ? 30 : 0))
            #expect(device.acts.contains(.ended(ring, signals: 40)) == (errno == 0))
            try bench.expectFree()
        }
    }

    @Test("go back to being traps where the device is slower than its guest, and not one write is lost by it")
    func slowDevice() throws {
        let gate = Switch()
        let device = try WrittenDevice(gate: gate)
        let bench = try ShortcutBench(
            device,
            program: {
                $0.write(5010)
                $0.call(1)
            }, hook: { _, _ in gate.isOn = true })
        try bench.run()
        try eventually { try bench.report.refusals > 0 }
        let report = try bench.report
        #expect(report.installed == 0 && report.lastError?.errno == EBUSY && bench.traps == 10)
        #expect(device.values(bell) == sevens(5010))
        try bench.withFunction { (function, mux) throws(MuxError) in
            _ = try function.write(ring.access, 7, on: &mux)
            #expect(function.traps.repeated.state(ring) == .refused)
        }
    }

    @Test("are written in turns with other events, until all of what the guest wrote is")
    func turns() throws {
        let gate = Switch()
        let device = try WrittenDevice(gate: gate)
        let bench = try ShortcutBench(
            device,
            program: {
                $0.write(1010)
                $0.call(1)
            }, hook: { _, _ in gate.isOn = true })
        try bench.run()
        // Nothing else is done with the function, which would have to wait for them.
        eventually { device.values(bell).count == 1010 }
        #expect(try bench.report.loopWritten == 1 && bench.report.writes == 1000)
    }

    @Test("are another machine's than the mux's guest where the VMM says so, and nobody's where it wants none")
    func machines() throws {
        let device = try WrittenDevice()
        let bench = try ShortcutBench(device, attaching: false, program: { $0.write(30) })
        try bench.run()
        #expect(bench.traps == 30, "there is no machine to take writes from")
        #expect(try bench.report.refusals == 0)
        let off = try ShortcutBench(try WrittenDevice(refusing: 0), .off, program: { $0.write(30) })
        try off.run()
        #expect(off.traps == 30)

        // The owner's: told once.
        var options = RegisterShortcutOptions()
        options.installs = false
        options.machine = bench.guest?.virtualMachine.number
        let owned = try ShortcutBench(try WrittenDevice(refusing: 0), options, program: { $0.write(3) })
        let told = try owned.withFunction { (function, mux) throws(MuxError) in
            var told: [DoorbellRegister] = []
            for _ in 0..<30 {
                if let register = try function.write(ring.access, 7, on: &mux) { told.append(register) }
            }
            return told
        }
        #expect(told == [ring])
        options.installs = true
        let given = try ShortcutBench(
            try WrittenDevice(refusing: 0), options, attaching: false, program: { $0.write(3) })
        try given.withFunction { (function, mux) throws(MuxError) in
            for _ in 0..<10 { _ = try function.write(ring.access, 7, on: &mux) }
            #expect(function.shortcutReport.kernelWritten == 1)
        }
        #expect(throws: KVMError.self) { try bench.expectFree() }
        given.stop()
        try bench.expectFree()
    }
}
