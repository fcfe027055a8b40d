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
    "A vector of a guest moves from loop to loop", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"),
    .serialized, .timeLimit(.minutes(5)))
struct GuestMovingTests {
    @Test(
        "bypassed or on a detour: each signal is taken once, raised before, during or after the move",
        arguments: [false, true], [RingTier.deferred, .epoll])
    func exactlyOnce(byLoop: Bool, tier: RingTier) throws {
        let rig = try GuestGroup(1, tier: tier)
        let (group, id, device) = (rig.group.remote, rig.ids[0], rig.bench.device)
        let gsi = rig.bench.gsi(0)
        try group.route(id, to: byLoop ? .detour(gsi) : .guest(gsi))
        for step in 1...90 {
            switch step % 3 {
            case 0:
                device.raise(msix(0))
                try group.move(id, to: step % 2)
            case 1:
                try withThreads(1, { _ = device.raise(msix(0)) }, while: { try group.move(id, to: step % 2) })
            default:
                try group.move(id, to: step % 2)
                device.raise(msix(0))
            }
            #expect(try rig.bench.await(0) == 1, "step \(step)")
        }
        #expect(rig.tally.take(0) == 0)
        try rig.bench.fence()
        #expect(try rig.bench.taken(0) == 0, "none came twice")
        #expect(try group.ledger(id) == Ledger(raised: 90, delivered: 90))
        #expect(try group.deliveries(of: id) == Deliveries(intoGuest: 90))
        #expect(
            try group.perform(on: id) { (mux, id) throws(MuxError) in try mux.path(of: id).kind }
                == (byLoop ? .detour : .bypassAtomic))
    }

    @Test("two threads switch, mask and move at random while a third raises: exactly one delivery a signal")
    func underFire() throws {
        let rig = try GuestGroup(4)
        let targets = try (0..<4).map { _ in try SharedEventFD() }
        let isDone = Switch()
        let changers = (1...2 as ClosedRange<UInt64>).map { seed in
            GroupSwitcher(rig.bench, rig.group.remote, rig.ids, targets.map(\.number), seed)
        }
        let threads = changers.map { changer in Thread { changer.run(until: isDone) } }
        for thread in threads { thread.start() }
        try raiseOneByOne(rig.bench, rounds: 500) { number in
            try rig.bench.taken(number) + rig.tally.take(number) + targets[Int(number)].take()
        }
        isDone.isOn = true
        eventually { threads.allSatisfy { $0.isFinished } }
        try rig.bench.fence()
        for number in rig.bench.numbers {
            let late = try rig.bench.taken(number) + rig.tally.take(number) + targets[Int(number)].take()
            #expect(late == 0, "\(number) came twice")
        }
        expectSettled(try rig.group.remote.ledger(rig.attached), raised: 2000)
        #expect(changers.allSatisfy { $0.changes > 20 } && rig.group.remote.moves > 5)
    }

    @Test("what was held while masked goes into the guest from the other loop, as one")
    func held() throws {
        let rig = try GuestGroup(1)
        let (group, id) = (rig.group.remote, rig.ids[0])
        try group.route(id, to: .guest(rig.bench.gsi(0)))
        try group.mask(id)
        for _ in 0..<50 { rig.bench.device.raise(msix(0)) }
        try group.move(id, to: 1)
        for _ in 0..<50 { rig.bench.device.raise(msix(0)) }
        try rig.bench.fence()
        #expect(try rig.bench.taken(0) == 0)
        try group.unmask(id)
        #expect(try rig.bench.await(0) == 1)
        try rig.bench.fence()
        #expect(try rig.bench.taken(0) == 0)
        expectSettled(try group.ledger(id), raised: 100)
    }

    @Test("a guest that only one loop has: EXDEV for a route into it; without one its irqfd is left behind")
    func foreignGuest() throws {
        let rig = try GuestGroup(1, sharesGuest: false)
        let (group, id, bench) = (rig.group.remote, rig.ids[0], rig.bench)
        try group[0].perform { (mux) throws(MuxError) in try bench.attach(to: &mux) }
        let gsi = bench.gsi(0)
        for route in [Route.guest(gsi), .detour(gsi)] {
            try group.route(id, to: route)
            #expect(errno { () throws(MuxError) in try group.move(id, to: 1) } == EXDEV)
            #expect(try group.loop(of: id) == 0)
            bench.device.raise(msix(0))
            #expect(try bench.await(0) == 1, "it works as before")
        }
        try group.route(id, to: .handler)
        try group.move(id, to: 1)
        bench.device.raise(msix(0))
        eventually { rig.tally.take(0) == 1 }
        #expect(errno { () throws(MuxError) in try group.route(id, to: .guest(gsi)) } == ENODEV)
        // Its GSI is free again, which its former loop's guest knows.
        try group.move(id, to: 0)
        try group.route(id, to: .guest(gsi))
        bench.device.raise(msix(0))
        #expect(try bench.await(0) == 1)
        expectSettled(try group.ledger(id), raised: 4)
    }

    @Test("a group's guest is on every loop or on none")
    func attaching() throws {
        let rig = try GuestGroup(2)
        let (group, bench) = (rig.group.remote, rig.bench)
        let live = try bench.guest.withRouting { $0.live }
        #expect(
            errno { () throws(MuxError) in try group.attach(guest: bench.guest.virtualMachine, routes: live) } == EBUSY)
        try group.move(rig.ids[1], to: 1)
        try group.route(rig.ids[1], to: .guest(bench.gsi(1)))
        // One table of GSIs for all loops: the GSI is taken, whoever asks.
        #expect(errno { () throws(MuxError) in try group.route(rig.ids[0], to: .guest(bench.gsi(1))) } == EEXIST)
        #expect(errno { () throws(MuxError) in try group.detachGuest() } == EBUSY)
        for loop in 0..<2 {
            #expect(try group[loop].perform { mux in mux.guestState } == .attached)
        }
        bench.device.raise(msix(1))
        #expect(try bench.await(1) == 1)
        try group.route(rig.ids[1], to: .handler)
        try group.detachGuest()
        for loop in 0..<2 { #expect(try group[loop].perform { mux in mux.guestState } == .none) }
        #expect(errno { () throws(MuxError) in try group.detachGuest() } == ENODEV)
        // A loop with a guest of its own keeps it, and the others get none.
        try group[1].perform { (mux) throws(MuxError) in try bench.attach(to: &mux) }
        #expect(
            errno { () throws(MuxError) in try group.attach(guest: bench.guest.virtualMachine, routes: live) } == EBUSY)
        #expect(try group[0].perform { mux in mux.guestState } == .none)
    }

    @Test("a measured vector goes on being measured, and no acknowledgement is told twice")
    func measured() throws {
        let rig = try GuestGroup(1)
        let (group, id, bench) = (rig.group.remote, rig.ids[0], rig.bench)
        let doorbell = bench.doorbell(0).number
        try group.route(id, to: .detour(bench.gsi(0)))
        let stages = try group.perform(on: id) { (mux, id) throws(MuxError) in
            try mux.measure(id, acknowledgedBy: doorbell)
        }
        for step in 0..<20 as Range<UInt64> {
            bench.device.raise(msix(0))
            // The doorbell's counter is nobody's to take here: the mux listens to it, and never reads it.
            eventually { stages.snapshot(.forward).total == step + 1 && stages.unacknowledgedSince == nil }
            try group.move(id, to: Int(step % 2))
        }
        #expect(stages.snapshot(.dispatch).total == 20)
        #expect(stages.snapshot(.wake).total == 20, "whose signals the device stamps, also away from home")
        // One that comes while the eventfd's old count is being told again is forgiven, not recorded.
        #expect(stages.snapshot(.acknowledged).total <= 20 && stages.snapshot(.acknowledged).total >= 1)
        try group.disconnect(id)
    }

    @Test("a machine that is closed while its vector moves around: kept, and told to the next route")
    func closedMachine() throws {
        let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: 1))
        let tally = DeliveryCounts(1)
        let group = try MuxGroup(smallOptions(), cpus: [nil, nil]) { _ in CountingHandler(tally: tally) }
        let remote = group.remote
        let attached = try remote.attach(device)
        let id = try remote.connect(attached, .msix, 0..<1)[0]
        let machine = try KVMDevice().createVirtualMachine()
        try machine.createIRQChip(.full)
        try remote.attach(guest: machine, routes: .irqChipDefaults())
        let gsi = try remote[0].perform { (mux) throws(MuxError) in
            try mux.allocateGSI(message: 0xfee0_0000, data: 0x40)
        }
        try remote.route(id, to: .guest(gsi))
        try remote.move(id, to: 1)
        device.raise(msix(0))
        #expect(try remote.ledger(id) == Ledger(raised: 1, delivered: 1))
        // Only the group holds it now, and lets it go with the last loop's.
        try remote.route(id, to: .handler)
        try remote.detachGuest()
        #expect(irqmux_close(machine.release()) == 0)
        for loop in 0..<2 {
            try remote.move(id, to: loop)
            device.raise(msix(0))
            eventually { tally.take(0) == 1 }
        }
        expectSettled(try remote.detach(attached), raised: 3)
    }
}

/// Raises every vector once a round and waits until each has come: more than once, or never, is a fault.
func raiseOneByOne(_ bench: GuestBench, rounds: Int, _ take: (UInt32) throws -> UInt64) throws {
    for round in 0..<rounds {
        var missing = Set(bench.numbers)
        for number in bench.numbers { bench.device.raise(msix(number)) }
        let deadline = irqmux_monotonic_ns() + 20_000_000_000
        while !missing.isEmpty {
            for number in missing {
                let count = try take(number)
                if count > 0 { missing.remove(number) }
                if count > 1 { Issue.record("round \(round): \(number) came \(count) times") }
            }
            guard irqmux_monotonic_ns() < deadline else {
                Issue.record("round \(round): lost on \(missing)")
                return
            }
        }
    }
}

/// A guest's vectors on the first of two loops.
private struct GuestGroup: ~Copyable {
    let bench: GuestBench
    let tally: DeliveryCounts
    let group: MuxGroup<CountingHandler>
    let attached: GroupDeviceID
    let ids: [GroupVectorID]

    init(_ count: Int, tier: RingTier = .deferred, sharesGuest: Bool = true) throws {
        let bench = try GuestBench(count)
        let tally = DeliveryCounts(count)
        let group = try MuxGroup(smallOptions(tier), cpus: [nil, nil]) { _ in CountingHandler(tally: tally) }
        if sharesGuest {
            try group.remote.attach(
                guest: bench.guest.virtualMachine, routes: bench.guest.withRouting { $0.live })
        }
        let attached = try group.remote.attach(bench.device)
        ids = try group.remote.connect(attached, .msix, bench.numbers)
        self.bench = bench
        self.tally = tally
        self.attached = attached
        self.group = group
    }
}

/// Changes routes, masks and loops; at the end everything is open.
private final class GroupSwitcher: @unchecked Sendable {
    private let bench: GuestBench
    private let group: MuxGroupRemote
    private let ids: [GroupVectorID]
    private let targets: [Int32]
    private var random: SplitMix
    private(set) var changes = 0

    init(
        _ bench: GuestBench, _ group: MuxGroupRemote, _ ids: [GroupVectorID], _ targets: [Int32], _ seed: UInt64
    ) {
        (self.bench, self.group, self.ids, self.targets) = (bench, group, ids, targets)
        random = SplitMix(seed: seed)
    }

    func run(until isDone: Switch) {
        while !isDone.isOn {
            let number = random.below(ids.count)
            do throws(MuxError) { try change(ids[number], bench.gsi(UInt32(number)), targets[number]) } catch {
                Issue.record("\(error)")
            }
            changes += 1
        }
    }

    private func change(_ id: GroupVectorID, _ gsi: GSI, _ target: Int32) throws(MuxError) {
        switch random.below(10) {
        case 0, 1: try group.route(id, to: .guest(gsi))
        case 2: try group.route(id, to: .detour(gsi))
        case 3: try group.route(id, to: .handler)
        case 4: try group.route(id, to: .fanOut([target]))
        case 5:
            // A vector that is shut holds the raiser up: not for long.
            try group.route(id, to: .parked)
            try group.route(id, to: .guest(gsi))
        case 6:
            try group.mask(id)
            try group.move(id, to: random.below(2))
            try group.unmask(id)
        default: try group.move(id, to: random.below(2))
        }
    }
}
