import CKernel
import EventRing
import Exerciser
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import TestSupport
import Testing

@Suite(
    "INTx into a real guest", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized,
    .timeLimit(.minutes(5)))
struct INTxGuestTests {
    static let pastTheMux: [INTxWay] = [.kernelResample, .ioapicBroadcast]

    @Test(
        "cycle after cycle: every interrupt is one run of the handler, and this process is not woken",
        arguments: pastTheMux)
    func cycles(way: INTxWay) throws {
        let one = try INTxGuest(way)
        for _ in 0..<200 {
            one.device.assertINTx()
            try one.awaitRun()
            one.device.acknowledgeINTx()
            try one.settle()
        }
        let ledger = try one.ledgers()
        #expect(ledger.raised >= 200 && ledger.delivered == ledger.raised)
        expectSettled(ledger, raised: one.device.raisedCount(pin))
        if way == .kernelResample {
            #expect(one.runs == ledger.raised, "one run an interrupt")
            #expect(try one.mux.lineStatus(one.ids[0])?.acknowledged == 0, "nobody here was told")
        } else {
            #expect(one.runs >= 200 && one.runs <= ledger.raised)
            #expect(try one.mux.lineStatus(one.ids[0])?.acknowledged == one.runs)
        }
        #expect(one.guest.exit == nil)
    }

    @Test("in the kernel, both eventfds stay empty for whoever reads them, and the mux gets no event")
    func invisible() throws {
        let one = try INTxGuest(.kernelResample)
        let trigger = one.eventFD(.trigger)
        let before = one.mux.remote.statistics
        var read: UInt64 = 0
        for _ in 0..<50 {
            one.device.assertINTx()
            // SAFETY: the pointer is valid for the call.
            #expect(unsafe irqmux_eventfd_take(trigger, &read) == -EAGAIN, "it holds \(read)")
            try one.awaitRun()
            one.device.acknowledgeINTx()
            eventually { !one.device.isINTxMasked }
            // Not before the line is open: a software device reads it as anybody does, and would miss what is taken.
            // SAFETY: the pointer is valid for the call.
            #expect(unsafe irqmux_eventfd_take(one.eventFD(.unmask), &read) == -EAGAIN, "it holds \(read)")
        }
        #expect(trigger >= 0 && one.eventFD(.unmask) >= 0 && trigger != one.eventFD(.unmask))
        #expect(try one.mux.settle().isEmpty)
        #expect(one.mux.remote.statistics.notifications == before.notifications)
    }

    @Test("a device that still asserts at the end of interrupt fires again, until it is quieted", arguments: pastTheMux)
    func stillAsserted(way: INTxWay) throws {
        let one = try INTxGuest(way)
        one.device.assertINTx()
        while one.runs < 20 { try one.awaitRun() }
        one.device.acknowledgeINTx()
        try one.settle()
        let runs = one.runs
        try one.mux.settle()
        try one.countRuns()
        #expect(one.runs == runs, "quiet is quiet")
        expectSettled(try one.ledgers(), raised: one.device.raisedCount(pin))
    }

    @Test("two devices share a pin: both are served, whoever fires", arguments: pastTheMux)
    func shared(way: INTxWay) throws {
        let one = try INTxGuest(way, devices: 2)
        let both = one.devices.map(\.device)
        for round in 0..<60 {
            let firing = round % 3 == 2 ? both : [both[round % 3]]
            for device in firing { device.assertINTx() }
            try one.awaitRun()
            // As a driver does: each device on the pin is asked, until none asserts.
            for device in both { device.acknowledgeINTx() }
            try one.settle()
        }
        #expect(both.allSatisfy { $0.raisedCount(pin)! >= 40 })
        expectSettled(try one.ledgers(), raised: both.reduce(0) { $0 + $1.raisedCount(pin)! })
    }

    @Test("user EOI with a pin driven from user space: high until acknowledged, again while asserted")
    func userEOI() throws {
        let one = try INTxGuest(.userEOI)
        for round in 0..<100 {
            one.device.assertINTx()
            try one.mux.settle()
            try one.awaitRun()
            #expect(one.device.isINTxMasked, "round \(round)")
            if round % 4 == 0 {
                try one.mux.endOfInterrupt(gsi: pinGSI)
                #expect(try one.mux.settle().count == 1, "still asserted")
                try one.awaitRun()
            }
            one.device.acknowledgeINTx()
            try one.mux.acknowledge(one.ids[0])
            try one.settle()
        }
        #expect(one.runs >= 125)
        expectSettled(try one.ledgers(), raised: 125)
    }

    @Test("mapping toggle in a guest: its access opens the line after a while, with nobody telling of the end")
    func mappingToggle() throws {
        let one = try INTxGuest(.mappingToggle, serving: false)
        var mapped = true
        let pinOfGuest = try INTxPin(gsi: pinGSI, of: one.guest.virtualMachine)
        try one.mux.serve(one.ids[0], by: .mappingToggle(pin: pinOfGuest, quiet: 1_000_000) { mapped = $0 })
        for round in 0..<30 {
            one.device.assertINTx()
            try one.mux.settle()
            // The handler's doorbell stands for its access to the device, which would not have been trapped before.
            try one.awaitRun()
            #expect(!mapped && one.device.isINTxMasked, "round \(round)")
            one.device.acknowledgeINTx()
            try one.mux.noteAccess(one.ids[0])
            while !mapped {
                try one.mux.wait(timeout: 1_000_000)
                while one.mux.next() != nil {}
            }
            #expect(!one.device.isINTxMasked)
        }
        expectSettled(try one.ledgers(), raised: 30)
    }

    @Test(
        "masked, a line past the mux keeps what comes, ends of interrupt included, until it is unmasked",
        arguments: pastTheMux)
    func masked(way: INTxWay) throws {
        let one = try INTxGuest(way)
        for _ in 0..<20 {
            one.device.assertINTx()
            try one.awaitRun()
            try one.mux.mask(one.ids[0])
            // It may have fired again before the mask. A line that is not masked would go on firing: it still asserts.
            var runs: UInt64
            repeat {
                runs = one.runs
                usleep(2000)
                try one.nudge()
                #expect(try one.mux.settle().isEmpty)
                try one.countRuns()
            } while one.runs != runs
            try one.mux.unmask(one.ids[0])
            while one.runs == runs {
                try one.mux.settle()
                try one.nudge()
                try one.countRuns()
            }
            one.device.acknowledgeINTx()
            try one.settle()
        }
        #expect(try one.ledgers().unexplained == 0)
    }

    @Test("from handler to guest and back while the device asserts: somebody always has it", arguments: pastTheMux)
    func switching(way: INTxWay) throws {
        let one = try INTxGuest(way, serving: false)
        let id = one.ids[0]
        for round in 0..<40 {
            // In service with the handler's owner, or not yet dispatched, or not fired at all.
            one.device.assertINTx()
            if round % 3 == 0 { try one.mux.wait(timeout: 0) }
            try one.mux.serve(id, by: one.service(way))
            try one.mux.settle()
            try one.awaitRun()
            #expect(errno { () throws(MuxError) in try one.mux.route(id, to: .handler) } == EBUSY)
            // Still asserted: whether the guest ends it before or after, the handler gets it.
            try one.mux.stopServing(id)
            var handled = 0
            while handled == 0 {
                handled += try one.mux.settle { _, _ in one.device.acknowledgeINTx() }.count
            }
            #expect(!one.device.isINTxMasked, "round \(round)")
            try one.countRuns()
        }
        #expect(try one.ledgers().unexplained == 0)
        #expect(try one.mux.lineStatus(id) == nil)
    }

    @Test("a line that cannot be given the route it is to have goes on being served", arguments: pastTheMux)
    func refusedEnd(way: INTxWay) throws {
        let one = try INTxGuest(way)
        let id = one.ids[0]
        for round in 0..<20 {
            one.device.assertINTx()
            if round % 2 == 0 { try one.awaitRun() }
            #expect(errno { () throws(MuxError) in try one.mux.stopServing(id, route: .fanOut([1 << 30])) } == EBADF)
            #expect(errno { () throws(MuxError) in try one.mux.stopServing(id, route: .guest(5)) } == EINVAL)
            #expect(try one.mux.lineStatus(id)?.choice.way == way)
            try one.mux.settle()
            try one.awaitRun()
            one.device.acknowledgeINTx()
            try one.settle()
        }
        #expect(try one.ledgers().unexplained == 0)
    }

    @Test("a machine closed under a served line does no harm: the line keeps a descriptor of its own")
    func machineGone() throws {
        let device = try Exerciser()
        var one = try INTxTests.make(device)
        do {
            let machine = try VirtualMachine()
            try machine.createIRQChip(.full)
            try one.mux.serve(one.id, by: .kernelResample(machine: machine.number, gsi: 5))
        }
        device.assertINTx()
        #expect(try one.mux.settle().isEmpty)
        try one.mux.stopServing(one.id)
        #expect(try one.mux.settle { _, _ in device.acknowledgeINTx() }.count == 1, "the device still asserts")
        #expect(!device.isINTxMasked)
    }

    @Test("resampling with a split irqchip is refused, with the other way as the remedy")
    func resampleOnSplit() throws {
        let machine = try VirtualMachine()
        try machine.createIRQChip(.split(pins: 24))
        let device = try Exerciser()
        var one = try INTxTests.make(device)
        do throws(MuxError) {
            try one.mux.serve(one.id, by: .kernelResample(machine: machine.number, gsi: 5))
            Issue.record("KVM refuses it")
        } catch {
            #expect(error.errno == EINVAL && "\(error)".contains("split one resample on the IOAPIC's end"))
        }
        device.assertINTx()
        #expect(try one.mux.settle { _, _ in device.acknowledgeINTx() }.count == 1)
    }
}
