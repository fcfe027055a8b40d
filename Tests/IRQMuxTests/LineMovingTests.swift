import CKernel
import EventRing
import Exerciser
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import Synchronization
import TestSupport
import Testing

@Suite(
    "A served INTx line moves from loop to loop", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"),
    .serialized, .timeLimit(.minutes(5)))
struct LineMovingTests {
    @Test("cycle after cycle on changing loops: every interrupt is served once", arguments: INTxWay.allCases)
    func cycles(way: INTxWay) throws {
        let rig = try LineGroup(way)
        let device = rig.devices[0]
        for step in 0..<60 {
            let move = { try rig.group.remote.move(rig.ids[0], to: step % 2) }
            switch step % 3 {
            case 0:
                rig.devices[0].assertINTx()
                try move()
            case 1: try withThreads(1, { device.assertINTx() }, while: move)
            default:
                try move()
                rig.devices[0].assertINTx()
            }
            try rig.awaitRun()
            if step % 4 == 0 { try rig.group.remote.move(rig.ids[0], to: (step + 1) % 2) }
            rig.devices[0].acknowledgeINTx()
            try rig.end(0)
        }
        let status = try rig.group.remote.perform(on: rig.ids[0]) { (mux, id) throws(MuxError) in
            try mux.lineStatus(id)
        }
        #expect(status?.choice.way == way && status?.isInService == false)
        let ledger = try rig.group.remote.ledger(rig.attached[0])
        #expect(ledger.raised >= 60 && ledger.unexplained == 0 && ledger.pending == 0, "\(ledger)")
        #expect(rig.guest.exit == nil)
    }

    @Test("under fire: moves from another thread while the device asserts and the guest acknowledges")
    func underFire() throws {
        let rig = try LineGroup(.kernelResample)
        let (group, id, device) = (rig.group.remote, rig.ids[0], rig.devices[0])
        let isDone = Switch()
        let moves = Atomic<Int>(0)
        try withThreads(
            1,
            {
                var loop = 0
                while !isDone.isOn {
                    loop = 1 - loop
                    do throws(MuxError) { try group.move(id, to: loop) } catch { Issue.record("\(error)") }
                    moves.add(1, ordering: .relaxed)
                }
            },
            while: {
                defer { isDone.isOn = true }
                for _ in 0..<300 {
                    device.assertINTx()
                    try rig.awaitRun()
                    device.acknowledgeINTx()
                    eventually { !device.isINTxMasked }
                    try rig.countRuns()
                }
            })
        #expect(moves.load(ordering: .relaxed) > 10)
        let ledger = try group.ledger(rig.attached[0])
        expectSettled(ledger, raised: device.raisedCount(pin))
        #expect(rig.runs == ledger.raised, "one run an interrupt")
    }

    @Test("lines on one pin may be on different loops: it is high while either asserts")
    func sharedPin() throws {
        let rig = try LineGroup(.userEOI, devices: 2)
        let group = rig.group.remote
        try group.move(rig.ids[1], to: 1)
        for device in rig.devices { device.assertINTx() }
        eventually { rig.devices.allSatisfy { $0.isINTxMasked } && rig.pinChanges.value.load(ordering: .acquiring) > 0 }
        eventually { (try? rig.statuses().allSatisfy { $0.isInService }) ?? false }
        #expect(rig.pinChanges.value.load(ordering: .acquiring) == 1, "it rose once")
        rig.devices[0].acknowledgeINTx()
        try group.acknowledge(rig.ids[0])
        #expect(rig.pinChanges.value.load(ordering: .acquiring) == 1, "the other one asserts still")
        rig.devices[1].acknowledgeINTx()
        try group.acknowledge(rig.ids[1])
        #expect(rig.pinChanges.value.load(ordering: .acquiring) == 2, "it fell")
        // The end of a pin's interrupt reaches the lines of all loops.
        for device in rig.devices { device.assertINTx() }
        eventually { (try? rig.statuses().allSatisfy { $0.isInService }) ?? false }
        for device in rig.devices { device.acknowledgeINTx() }
        try group.endOfInterrupt(gsi: pinGSI)
        eventually { rig.devices.allSatisfy { !$0.isINTxMasked } }
        #expect(rig.pinChanges.value.load(ordering: .acquiring) == 4)
        for device in rig.attached { expectSettled(try group.ledger(device), raised: 2) }
    }

    @Test("a line that moved is stopped, and disconnected, where it is")
    func ending() throws {
        let rig = try LineGroup(.kernelResample, devices: 2)
        let (group, device) = (rig.group.remote, rig.devices[0])
        for id in rig.ids { try group.move(id, to: 1) }
        try group.perform(on: rig.ids[0]) { (mux, id) throws(MuxError) in try mux.stopServing(id) }
        device.assertINTx()
        eventually { rig.tally.take(0) == 1 }
        device.acknowledgeINTx()
        try group.acknowledge(rig.ids[0])
        try group.disconnect(rig.ids[1])
        for (number, raised) in [(0, 1), (1, 0)] as [(Int, UInt64)] {
            expectSettled(try group.detach(rig.attached[number]), raised: raised)
        }
    }
}

/// A guest with lines of software devices on one pin, on the first of two loops.
private final class LineGroup {
    let guest: MicroGuest
    let way: INTxWay
    let devices: [Exerciser]
    let tally = DeliveryCounts(1)
    let group: MuxGroup<CountingHandler>
    private(set) var attached: [GroupDeviceID] = []
    private(set) var ids: [GroupVectorID] = []
    private(set) var runs: UInt64 = 0
    /// How often the pin was driven, where the mux drives it.
    let pinChanges = Counter()
    private let doorbell: GuestDoorbell
    private let nudges: EventFD
    private var nudging: IRQFD?

    final class Counter: Sendable { let value = Atomic<Int>(0) }

    init(_ way: INTxWay, devices count: Int = 1) throws {
        self.way = way
        nudges = try EventFD()
        devices = try (0..<count).map { _ in try Exerciser() }
        var options = smallOptions()
        options.intxAcknowledgement = .explicit
        let tally = tally
        group = try MuxGroup(options, cpus: [nil, nil]) { _ in CountingHandler(tally: tally) }
        if way == .ioapicBroadcast {
            let sink = group.remote.endOfInterrupts
            let guest = try MicroGuest(messageVectors: 2, irqChip: .split(pins: 24)) { _ = sink.end(vector: $0) }
            try guest.withRouting { (routing: inout GSIRouting) throws(KVMError) in
                try routing.set(levelMessage, for: pinGSI)
                try routing.commit(to: guest.virtualMachine)
            }
            (self.guest, doorbell) = (guest, guest.doorbell(0))
            nudging = try guest.virtualMachine.assignIRQFD(nudges, gsi: guest.gsi(forMessage: 1))
        } else {
            guest = try MicroGuest(messageVectors: 1, pin: .level)
            doorbell = guest.pinDoorbell!
        }
        try guest.start()
        for device in devices {
            attached.append(try group.remote.attach(device))
            ids += try group.remote.connect(attached[attached.count - 1], .intx, 0..<1)
        }
        for id in ids { try serve(id) }
    }

    private func serve(_ id: GroupVectorID) throws {
        let (guest, way, changes) = (guest, way, pinChanges)
        try group.remote.perform(on: id) { (mux, id) throws(MuxError) in
            let machine = guest.virtualMachine.number
            let counted = INTxPin(gsi: pinGSI) { gsi, isHigh in
                changes.value.add(1, ordering: .releasing)
                do throws(KVMError) { try guest.virtualMachine.setLine(gsi: gsi, asserted: isHigh) } catch {
                    Issue.record("\(error)")
                }
            }
            let service: INTxService =
                switch way {
                case .kernelResample: .kernelResample(machine: machine, gsi: pinGSI)
                case .ioapicBroadcast: .ioapicBroadcast(machine: machine, gsi: pinGSI, vector: pinVector)
                case .userEOI: .userEOI(pin: counted)
                case .mappingToggle: .mappingToggle(pin: counted, quiet: 200_000) { _ in }
                }
            try mux.serve(id, by: service)
        }
    }

    func statuses() throws -> [INTxLineStatus] {
        try ids.compactMap { id in
            try group.remote.perform(on: id) { (mux, id) throws(MuxError) in try mux.lineStatus(id) }
        }
    }

    /// Waits until the guest's handler has run again.
    func awaitRun() throws {
        runs += try guest.awaitDoorbell(doorbell)
        try nudge()
    }

    func countRuns() throws { runs += try doorbell.eventFD.take() }

    /// See `INTxGuest.nudge`.
    private func nudge() throws {
        guard nudging != nil else { return }
        try nudges.signal()
        _ = try guest.awaitDoorbell(guest.doorbell(1))
    }

    /// The guest is done with a device: tells the mux where the way needs it, and waits until the line is open.
    ///
    /// A pin that is still high runs the guest's handler again, and each of its ends of interrupt is told, as a VMM
    /// would: the run that was waited for may have been the end of the interrupt before, late.
    func end(_ number: Int) throws {
        try tell(number)
        let deadline = irqmux_monotonic_ns() + 30_000_000_000
        while devices[number].isINTxMasked {
            guard irqmux_monotonic_ns() < deadline else {
                let statuses = try statuses()
                Issue.record("the line stayed masked: \(statuses)")
                throw Endless()
            }
            try nudge()
            let more = try doorbell.eventFD.take()
            runs += more
            if more > 0 { try tell(number) }
            usleep(200)
        }
        try countRuns()
    }

    private func tell(_ number: Int) throws {
        let group = group.remote
        switch way {
        case .kernelResample, .ioapicBroadcast: break
        case .userEOI: try group.acknowledge(ids[number])
        case .mappingToggle:
            try group.perform(on: ids[number]) { (mux, id) throws(MuxError) in try mux.noteAccess(id) }
        }
    }
}
