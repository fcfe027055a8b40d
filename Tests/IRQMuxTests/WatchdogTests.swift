import CKernel
import EventRing
import Exerciser
import Glibc
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import TestSupport
import Testing

@Suite("watchdog", .timeLimit(.minutes(5)))
struct WatchdogTests {
    static func options(stormRate: UInt64 = .max / 2) -> WatchdogOptions {
        var options = WatchdogOptions()
        options.acknowledgeWithin = 20_000_000
        options.stormRate = stormRate
        options.interval = 4_000_000
        return options
    }

    /// Runs the mux until the watchdog says this of the vector; the test's time limit ends it.
    static func waitFor(
        _ verdict: WatchdogVerdict, of id: VectorID, _ mux: inout Mux, meanwhile: () throws -> Void = {}
    ) throws {
        while true {
            try meanwhile()
            try mux.wait(timeout: 2_000_000)
            while let event = mux.next() {
                if event.kind == .watchdog(verdict), event.id == id { return }
            }
        }
    }

    /// Runs the mux through so many ticks, and returns what the watchdog said.
    static func verdicts(_ mux: inout Mux, ticks: UInt64) throws -> [WatchdogVerdict] {
        var said: [WatchdogVerdict] = []
        let end = mux.watchdogReport().ticks + ticks
        while mux.watchdogReport().ticks < end {
            try mux.wait(timeout: 2_000_000)
            while let event = mux.next() {
                if case .watchdog(let verdict) = event.kind { said.append(verdict) }
            }
        }
        return said
    }

    @Test("a line that nobody acknowledges is named once, and cleared when somebody does")
    func neverAcknowledged() throws {
        let device = try Exerciser()
        var one = try INTxTests.make(device, explicit: true)
        try one.mux.startWatchdog(Self.options())
        #expect(errno { () throws(MuxError) in try one.mux.startWatchdog() } == EBUSY)
        #expect(try Self.verdicts(&one.mux, ticks: 8).isEmpty, "nothing has fired")
        device.assertINTx()
        try Self.waitFor(.neverAcknowledged, of: one.id, &one.mux)
        #expect(try Self.verdicts(&one.mux, ticks: 8).isEmpty, "named once")
        let report = one.mux.watchdogReport()
        let finding = try #require(report.findings.first)
        #expect(report.neverAcknowledged == 1 && report.findings.count == 1 && finding.id == one.id)
        #expect(finding.cause == .unknown && finding.unacknowledged >= 20_000_000 && finding.vector == pin)
        #expect("\(report)".contains("armed and not acknowledged"))
        device.acknowledgeINTx()
        try one.mux.acknowledge(one.id)
        try Self.waitFor(.acknowledgedAfterAll, of: one.id, &one.mux)
        #expect(one.mux.watchdogReport().findings.first?.cause == nil)
        #expect(one.mux.watchdogReport().findings.first?.timesNamed == 1)
        one.mux.stopWatchdog()
        #expect(!one.mux.watchdogReport().isRunning)
        try one.mux.startWatchdog(Self.options())
    }

    @Test("a storm is named for its own vector, masked or not, and its end too", arguments: RingTier.allCases)
    func storm(tier: RingTier) throws {
        let device = try Exerciser()
        var mux = try Mux(smallOptions(tier))
        let ids = try mux.connect(mux.attach(device), .msix, 0..<4)
        try mux.mask(ids[3])
        try mux.startWatchdog(Self.options(stormRate: 50_000))
        for number in [1, 3] as [UInt32] {
            var others = 0
            try Self.waitFor(.storm, of: ids[Int(number)], &mux) {
                for _ in 0..<2000 { device.raise(msix(number)) }
                if others < 2 { device.raise(msix(2)) }
                others += 1
            }
            try Self.waitFor(.stormOver, of: ids[Int(number)], &mux)
        }
        let report = mux.watchdogReport()
        #expect(report.storms == 2 && report.findings.map(\.id) == [ids[1], ids[3]])
        #expect(report.findings.allSatisfy { !$0.isStorm && $0.peakRate > 50_000 && $0.storms == 1 })
        #expect(report.neverAcknowledged == 0)
    }

    @Test("a vector connected later is watched, and one that goes is forgotten")
    func comingAndGoing() throws {
        let device = try Exerciser()
        var mux = try Mux(smallOptions())
        let attached = try mux.attach(device)
        try mux.startWatchdog(Self.options())
        let first = try mux.connect(attached, .intx, 0..<1)[0]
        try mux.serve(first, by: .userEOI())
        device.assertINTx()
        try Self.waitFor(.neverAcknowledged, of: first, &mux)
        try mux.disconnect(first)
        #expect(mux.watchdogReport().findings.isEmpty)
        let second = try mux.connect(attached, .intx, 0..<1)[0]
        try mux.serve(second, by: .userEOI())
        try Self.waitFor(.neverAcknowledged, of: second, &mux)
        #expect(mux.watchdogReport().findings.map(\.id) == [second])
    }

    @Test("options that cannot be met are refused")
    func refusals() throws {
        var mux = try Mux(smallOptions())
        var options = WatchdogOptions()
        options.acknowledgeWithin = 0
        #expect(errno { () throws(MuxError) in try mux.startWatchdog(options) } == EINVAL)
        #expect(!mux.watchdogReport().isRunning)
    }

    @Test("a tick allocates nothing", .enabled(if: allocationsAreCounted, "a sanitizer stands in for malloc"))
    func ticksAllocateNothing() throws {
        let device = try Exerciser()
        var mux = try Mux(smallOptions())
        try mux.connect(mux.attach(device), .msix, 0..<8)
        try mux.startWatchdog(Self.options())
        _ = try Self.verdicts(&mux, ticks: 3)
        let count = try allocations { () throws(MuxError) in
            var rounds = 0
            while rounds < 20 {
                try mux.wait(timeout: 4_000_000)
                while mux.next() != nil {}
                rounds += 1
            }
        }
        #expect(count == 0)
    }

    @Test("the cause is read off the pin")
    func causes() {
        func state(
            _ ioAPIC: (masked: Bool, level: Bool, inService: Bool), pic: (masked: Bool, inService: Bool)? = nil
        ) -> WatchdogCause {
            WatchdogCause(
                PinState(
                    isHigh: true,
                    ioAPIC: .init(isMasked: ioAPIC.masked, isLevel: ioAPIC.level, isInService: ioAPIC.inService),
                    pic: pic.map { .init(isMasked: $0.masked, isLevel: true, isInService: $0.inService) }))
        }
        #expect(state((false, false, false)) == .edgeTriggered)
        #expect(state((false, true, false)) == .notTaken)
        #expect(state((false, true, true)) == .notEnded)
        #expect(state((true, false, false)) == .masked)
        #expect(state((true, false, false), pic: (false, false)) == .notTaken)
        #expect(state((true, false, false), pic: (true, false)) == .masked)
        #expect(state((true, false, false), pic: (false, true)) == .notEnded)
    }
}

@Suite(
    "watchdog of a real guest", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized,
    .timeLimit(.minutes(5)))
struct GuestWatchdogTests {
    /// A guest whose handler sleeps for ever instead of ending the interrupt.
    private func silentGuest(_ way: INTxWay, _ sink: EndOfInterruptSink) throws -> MicroGuest {
        var image = GuestImage()
        var code = RealModeAssembler(origin: GuestImage.codeOrigin)
        code.cli()
        if way == .kernelResample {
            for (value, port) in [(0x11, 0x20), (0x20, 0x21), (0x04, 0x21), (0x01, 0x21), (0xdf, 0x21), (0x20, 0x4d0)] {
                code.writeByte(UInt8(value), port: UInt16(port))
            }
        }
        code.writeWord(1, port: Self.readyPort)
        code.sti()
        code.haltForEver()
        image.setVector(way == .kernelResample ? 0x25 : pinVector, to: code.here)
        code.haltForEver()
        // The PIC's spurious interrupt: the level was gone before the processor asked for its vector.
        image.setVector(0x27, to: code.here)
        code.iret()
        image.place(code)
        let guest = try MicroGuest(
            image: image, irqChip: way == .kernelResample ? .full : .split(pins: 24),
            endOfInterrupt: { _ = sink.end(vector: $0) })
        if way == .ioapicBroadcast {
            try guest.withRouting { (routing: inout GSIRouting) throws(KVMError) in
                try routing.set(levelMessage, for: pinGSI)
                try routing.commit(to: guest.virtualMachine)
            }
        }
        return guest
    }

    private static let readyPort: UInt16 = 0x522

    /// The same, running, and past what it does to its interrupt controller: a PIC that is initialised forgets the
    /// level that came before, and then nothing is high that anybody could name.
    private func readySilentGuest(_ way: INTxWay, _ sink: EndOfInterruptSink) throws -> MicroGuest {
        let guest = try silentGuest(way, sink)
        let ready = try EventFD()
        let bell = try guest.virtualMachine.assignIOEventFD(
            ready, at: DoorbellAddress(.port(Self.readyPort), width: .two))
        try guest.start()
        while try ready.take() == 0 { usleep(1000) }
        try bell.deassign()
        return guest
    }

    @Test("a guest that takes the interrupt and never ends it is named", arguments: INTxGuestTests.pastTheMux)
    func neverEnded(way: INTxWay) throws {
        let device = try Exerciser()
        var one = try INTxTests.make(device)
        let guest = try readySilentGuest(way, one.mux.endOfInterrupts)
        let machine = guest.virtualMachine.number
        try one.mux.serve(
            one.id,
            by: way == .kernelResample
                ? .kernelResample(machine: machine, gsi: pinGSI)
                : .ioapicBroadcast(machine: machine, gsi: pinGSI, vector: pinVector))
        try one.mux.startWatchdog(WatchdogTests.options())
        #expect(try WatchdogTests.verdicts(&one.mux, ticks: 8).isEmpty, "nothing has fired")
        device.assertINTx()
        try WatchdogTests.waitFor(.neverAcknowledged, of: one.id, &one.mux)
        let finding = try #require(one.mux.watchdogReport().findings.first)
        #expect(finding.gsi == pinGSI && finding.unacknowledged >= 20_000_000)
        if way == .kernelResample {
            // The guest may have been slow to take it.
            eventually { one.mux.watchdogReport().findings.first?.cause == .notEnded }
        } else {
            #expect(finding.cause == .unknown, "a split irqchip's pins are not in the kernel")
        }
        // The device can be had back from a guest that is dead.
        try one.mux.stopServing(one.id)
        #expect(try one.mux.settle { _, _ in device.acknowledgeINTx() }.contains { $0.kind == .interrupt })
        #expect(!device.isINTxMasked)
    }

    @Test(
        "of two lines on one pin, the one that fired is named; a healthy guest's lines are not",
        arguments: INTxGuestTests.pastTheMux)
    func sharedPin(way: INTxWay) throws {
        let healthy = try INTxGuest(way, devices: 2)
        var options = WatchdogTests.options()
        options.acknowledgeWithin = 3_000_000_000
        try healthy.mux.startWatchdog(options)
        for _ in 0..<50 {
            healthy.device.assertINTx()
            try healthy.awaitRun()
            healthy.device.acknowledgeINTx()
            try healthy.settle()
        }
        #expect(try WatchdogTests.verdicts(&healthy.mux, ticks: 5).isEmpty)

        // The same pin with a guest that does not run: nobody takes the interrupt.
        let devices = [try Exerciser(), try Exerciser()]
        var mux = try Mux(smallOptions())
        let guest = try silentGuest(way, mux.endOfInterrupts)
        var ids: [VectorID] = []
        for device in devices {
            ids += try mux.connect(mux.attach(device), .intx, 0..<1)
            let machine = guest.virtualMachine.number
            try mux.serve(
                ids[ids.count - 1],
                by: way == .kernelResample
                    ? .kernelResample(machine: machine, gsi: pinGSI)
                    : .ioapicBroadcast(machine: machine, gsi: pinGSI, vector: pinVector))
        }
        try mux.startWatchdog(WatchdogTests.options())
        devices[1].assertINTx()
        try WatchdogTests.waitFor(.neverAcknowledged, of: ids[1], &mux)
        _ = try WatchdogTests.verdicts(&mux, ticks: 8)
        #expect(mux.watchdogReport().findings.map(\.id) == [ids[1]])
    }
}
