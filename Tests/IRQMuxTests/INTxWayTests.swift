import CKernel
import EventRing
import Exerciser
import IRQMux
import InterruptModel
import KVM
import TestSupport
import Testing

@Suite("ways of INTx", .timeLimit(.minutes(5)))
struct INTxWayTests {
    private func capabilities(_ irqChip: IRQChip, _ change: (inout INTxCapabilities) -> Void) -> INTxCapabilities {
        var all = INTxCapabilities()
        all.irqChip = irqChip
        all.irqfd = true
        all.resample = true
        all.endOfInterruptExits = true
        all.endOfInterruptCallback = true
        all.mappings = true
        change(&all)
        return all
    }

    @Test("the best way is the one with the fewest wake-ups, and the reason names the obstacle")
    func choosing() throws {
        func choose(_ irqChip: IRQChip, _ change: (inout INTxCapabilities) -> Void = { _ in }) throws -> INTxChoice {
            try INTxWay.best(for: capabilities(irqChip, change))
        }
        func expect(
            _ choice: INTxChoice, _ way: INTxWay, _ reason: INTxChoice.Reason,
            _ place: SourceLocation = #_sourceLocation
        ) {
            #expect(choice.way == way && choice.reason == reason, "\(choice)", sourceLocation: place)
        }
        let split = IRQChip.split(pins: 24)
        expect(try choose(.full), .kernelResample, .everythingInKernel)
        expect(try choose(.full) { $0.resample = false }, .userEOI, .noResample)
        expect(try choose(.full) { $0.irqfd = false }, .userEOI, .noIRQFD)
        expect(try choose(.full) { $0.unmaskEventFD = false }, .userEOI, .noUnmaskEventFD)
        expect(try choose(split), .ioapicBroadcast, .splitIRQChip)
        expect(try choose(split) { $0.endOfInterruptExits = false }, .userEOI, .noExits)
        expect(try choose(.none), .userEOI, .noIRQChip)
        expect(try choose(.none) { $0.endOfInterruptCallback = false }, .mappingToggle, .notTold)
        #expect(
            errno { () throws(MuxError) in
                _ = try INTxWay.best(for: INTxCapabilities())
            } == ENOTSUP)
        let told = "\(try choose(.full))"
        #expect(told.hasPrefix("INTx by in-kernel resample: ") && told.contains(", because the full irqchip"))
    }

    @Test(
        "what a real machine has is found out", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"),
        arguments: [IRQChip.full, .split(pins: 24), .none])
    func probing(irqChip: IRQChip) throws {
        let machine = try VirtualMachine()
        try machine.createIRQChip(irqChip)
        var found = try INTxCapabilities(of: machine)
        found.endOfInterruptExits = true
        found.endOfInterruptCallback = true
        let wanted: INTxWay =
            switch irqChip {
            case .full: .kernelResample
            case .split: .ioapicBroadcast
            case .none: .userEOI
            }
        #expect(found.irqChip == irqChip && found.irqfd && found.resample)
        #expect(try INTxWay.best(for: found).way == wanted)
        #expect((machine.pinState(gsi: 5) != nil) == (irqChip == .full))
        #expect(machine.pinState(gsi: 24) == nil)
    }

    @Test("serving says no to what is no INTx, to a line that is served, and to a way that does not fit")
    func refusals() throws {
        let device = try Exerciser()
        var one = try INTxTests.make(device)
        let id = one.id
        func refused(_ mux: inout Mux, _ id: VectorID, _ service: INTxService, _ choice: INTxChoice? = nil) -> Int32 {
            errno { () throws(MuxError) in try mux.serve(id, by: service, because: choice) }
        }
        let callback = try INTxWay.best(for: capabilities(.none) { _ in })
        #expect(refused(&one.mux, id, .mappingToggle(quiet: 0) { _ in }) == EINVAL)
        #expect(refused(&one.mux, id, .mappingToggle { _ in }, callback) == EINVAL, "another way was chosen")
        #expect(refused(&one.mux, id, .kernelResample(machine: 1 << 30, gsi: 5)) == EBADF)
        #expect(try one.mux.lineStatus(id) == nil)
        try one.mux.serve(id, by: .userEOI(), because: callback)
        #expect(try one.mux.lineStatus(id)?.choice == callback)
        #expect(refused(&one.mux, id, .userEOI()) == EBUSY)
        try one.mux.stopServing(id)
        #expect(try one.mux.lineStatus(id) == nil)
        try one.mux.disconnect(id)
        #expect(refused(&one.mux, id, .userEOI()) == ENOENT)
        let message = try one.mux.connect(one.attached, .msix, 0..<1)[0]
        #expect(refused(&one.mux, message, .userEOI()) == EINVAL)
    }

    @Test(
        "a device that takes no unmasking eventfd is left as it was",
        .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"))
    func noUnmaskEventFD() throws {
        let machine = try VirtualMachine()
        try machine.createIRQChip(.full)
        let device = Interposer(try Exerciser()) { (request, device) throws(DeviceError) in
            if request.action == .unmask, case .eventfd = request.data { throw DeviceError("SET_IRQS", errno: ENOTTY) }
            return try device.setInterrupts(request)
        }
        var one = try INTxTests.make(device)
        let service = INTxService.kernelResample(machine: machine.number, gsi: 5)
        #expect(errno { () throws(MuxError) in try one.mux.serve(one.id, by: service) } == ENOTTY)
        #expect(try one.mux.lineStatus(one.id) == nil && one.mux.route(of: one.id) == .handler)
        device.device.assertINTx()
        #expect(try one.mux.settle { _, _ in device.device.acknowledgeINTx() }.count == 1)
        #expect(!device.device.isINTxMasked)
        expectSettled(try one.mux.ledger(one.attached), raised: 1)
    }

    /// Drives of a pin, in order.
    final class Drives {
        var levels: [Bool] = []
        func pin(_ gsi: UInt32) -> INTxPin { INTxPin(gsi: gsi) { [self] _, isHigh in levels.append(isHigh) } }
    }

    @Test(
        "two devices on one pin: high while either asserts, an end of interrupt resamples both",
        arguments: allListening)
    func sharedPin(tier: RingTier, waiting: WaitMode) throws {
        let devices = [try Exerciser(), try Exerciser()]
        let drives = Drives()
        var mux = try Mux(smallOptions(tier, waiting: waiting))
        var ids: [VectorID] = []
        for device in devices {
            ids += try mux.connect(mux.attach(device), .intx, 0..<1)
            try mux.serve(ids[ids.count - 1], by: .userEOI(pin: drives.pin(9)))
        }
        try mux.settle()
        for device in devices { device.assertINTx() }
        try mux.settle()
        #expect(drives.levels == [true])
        // One device is quieted: at the end of interrupt the other one fires again, and only that one.
        devices[0].acknowledgeINTx()
        try mux.endOfInterrupt(gsi: 9)
        #expect(drives.levels == [true, false] && !devices[0].isINTxMasked && devices[1].isINTxMasked)
        try mux.settle()
        #expect(drives.levels == [true, false, true])
        #expect(devices.map { $0.raisedCount(pin) } == [1, 2])
        // Acknowledged by name, a line gives up its own part of the level.
        devices[0].assertINTx()
        try mux.settle()
        for device in devices { device.acknowledgeINTx() }
        try mux.acknowledge(ids[1])
        #expect(drives.levels == [true, false, true], "the other line still asserts")
        try mux.acknowledge(ids[0])
        #expect(drives.levels == [true, false, true, false])
        // A device that goes lets the pin go.
        devices[1].assertINTx()
        try mux.settle()
        try mux.disconnect(ids[1])
        #expect(drives.levels == [true, false, true, false, true, false])
    }

    @Test("user EOI replaces acknowledgement after the handler, and gives it back", arguments: allListening)
    func userEOI(tier: RingTier, waiting: WaitMode) throws {
        let device = try Exerciser()
        var one = try INTxTests.make(device, tier, waiting: waiting)
        try one.mux.serve(one.id, by: .userEOI())
        try one.mux.settle()
        for round in 0..<20 {
            device.assertINTx()
            #expect(try one.mux.settle().count == 1 && device.isINTxMasked, "round \(round)")
            #expect(try one.mux.lineStatus(one.id)?.isInService == true)
            if round % 3 == 0 {
                try one.mux.acknowledge(one.id)
                #expect(try one.mux.settle().count == 1, "still asserted")
            }
            device.acknowledgeINTx()
            try one.mux.acknowledge(one.id)
            #expect(try one.mux.settle().isEmpty && !device.isINTxMasked)
        }
        device.assertINTx()
        try one.mux.settle()
        try one.mux.stopServing(one.id)
        #expect(try one.mux.settle { _, _ in device.acknowledgeINTx() }.count == 1, "comes again, the old way")
        #expect(!device.isINTxMasked)
        expectSettled(try one.mux.ledger(one.attached), raised: device.raisedCount(pin))
    }

    @Test("DisINTx takes the pin down, and clearing it brings back what still asserts", arguments: allListening)
    func disINTx(tier: RingTier, waiting: WaitMode) throws {
        let device = try Exerciser()
        let drives = Drives()
        var one = try INTxTests.make(device, tier, waiting: waiting)
        try one.mux.serve(one.id, by: .userEOI(pin: drives.pin(5)))
        for round in 0..<10 {
            drives.levels = []
            // In service, then disabled; or disabled before anything came; or with the signal still on its way.
            if round % 3 != 1 { device.assertINTx() }
            if round % 3 == 0 { try one.mux.settle() }
            try one.mux.passDisINTx(one.id, true) { device.writeDisINTx(true) }
            device.assertINTx()
            try one.mux.settle()
            #expect(drives.levels == (round % 3 == 0 ? [true, false] : []), "round \(round)")
            try one.mux.acknowledge(one.id)
            try one.mux.settle()
            #expect(drives.levels.last != true)
            #expect(try one.mux.lineStatus(one.id)?.isInService == false)
            try one.mux.passDisINTx(one.id, false) { device.writeDisINTx(false) }
            try one.mux.settle()
            #expect(drives.levels.last == true, "round \(round): it still asserts")
            device.acknowledgeINTx()
            try one.mux.acknowledge(one.id)
            try one.mux.settle()
            #expect(drives.levels.last == false && !device.isINTxMasked)
        }
        expectSettled(try one.mux.ledger(one.attached), raised: device.raisedCount(pin))
    }

    @Test(
        "mapping toggle: off while in service, the first access lowers the pin, quiet opens the line",
        arguments: allListening)
    func mappingToggle(tier: RingTier, waiting: WaitMode) throws {
        let device = try Exerciser()
        let drives = Drives()
        let mappings = Drives()
        var one = try INTxTests.make(device, tier, waiting: waiting)
        let service = INTxService.mappingToggle(pin: drives.pin(5), quiet: 2_000_000) { mappings.levels.append($0) }
        try one.mux.serve(one.id, by: service)
        try one.mux.noteAccess(one.id)  // nothing in service: no effect
        for round in 0..<10 {
            (drives.levels, mappings.levels) = ([], [])
            device.assertINTx()
            try one.mux.settle()
            #expect(mappings.levels == [false] && drives.levels == [true] && device.isINTxMasked, "round \(round)")
            try one.mux.noteAccess(one.id)
            #expect(drives.levels == [true, false] && device.isINTxMasked, "the guest is at work, and not done")
            let asserted = round % 2 == 0
            if !asserted { device.acknowledgeINTx() }
            while mappings.levels.count < 2 {
                try one.mux.wait(timeout: 1_000_000)
                while one.mux.next() != nil {}
            }
            #expect(mappings.levels.prefix(2) == [false, true])
            guard asserted else {
                #expect(!device.isINTxMasked && drives.levels == [true, false])
                continue
            }
            try one.mux.settle()
            #expect(mappings.levels == [false, true, false] && drives.levels == [true, false, true], "re-fired")
            device.acknowledgeINTx()
            try one.mux.acknowledge(one.id)
            #expect(mappings.levels.last == true && !device.isINTxMasked)
        }
        device.assertINTx()
        try one.mux.settle()
        try one.mux.disconnect(one.id)
        #expect(mappings.levels.last == true && drives.levels.last == false, "a line that goes leaves nothing behind")
    }
}
