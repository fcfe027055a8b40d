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
    "A guest, its table, and what can go wrong", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"),
    .serialized, .timeLimit(.minutes(5)))
struct GuestErrorsTests {
    @Test("2048 vectors come up with one commit and one SET_IRQS")
    func bringUp() async {
        // In a process of its own: the numbers of 6000 descriptors would be in the way of tests that run beside this.
        await #expect(processExitsWith: .success) { try bringUpEverything() }
    }

    @Test("a table of more than 4096 is foretold, and refused before anything is spent")
    func tableIsFull() throws {
        let machine = try KVMDevice().createVirtualMachine()
        try machine.createIRQChip(.full)
        var mux = try Mux(smallOptions())
        try mux.attach(guest: machine, routes: .irqChipDefaults())
        let room = mux.guestRoom
        #expect(room > 4000 && room < 4096)
        for number in 0..<room { _ = try mux.allocateGSI(message(UInt32(number))) }
        #expect(mux.guestRoom == 0)
        let refusal = errno { () throws(MuxError) in _ = try mux.allocateGSI(message(0)) }
        #expect(refusal == EINVAL || refusal == ENOSPC)
        #expect(try mux.commitRoutes(), "what was promised is taken by KVM")
        #expect(mux.routingCommits == 1)
    }

    @Test("a GSI that got a route without being allocated is taken by that, and is freed like any other")
    func routeWithoutAllocation() throws {
        let machine = try KVMDevice().createVirtualMachine()
        try machine.createIRQChip(.full)
        var mux = try Mux(smallOptions())
        try mux.attach(guest: machine, routes: .irqChipDefaults())
        let room = mux.guestRoom
        try mux.setGSI(GSIAllocator.first, to: message(0))
        #expect(mux.guestRoom == room - 1)
        #expect(try mux.allocateGSI(message(1)) == GSIAllocator.first + 1, "the next one")
        try mux.freeGSI(GSIAllocator.first)
        #expect(try mux.allocateGSI(message(2)) == GSIAllocator.first)
    }

    @Test("a message address that KVM would refuse the whole table for is refused alone, and the others are committed")
    func badMessageAddress() throws {
        let machine = try KVMDevice().createVirtualMachine()
        try machine.createIRQChip(.full)
        var mux = try Mux(smallOptions())
        try mux.attach(guest: machine, routes: .irqChipDefaults())
        let gsi = try mux.allocateGSI(message(1))
        let bad = GSIRoute.message(address: 0x41_fee0_0000, data: 0x30)
        #expect(errno { () throws(MuxError) in _ = try mux.allocateGSI(bad) } == EINVAL)
        #expect(errno { () throws(MuxError) in try mux.setGSI(gsi, to: bad) } == EINVAL)
        #expect(try mux.commitRoutes(), "what was wanted before stands")
        #expect(try mux.allocateGSI(message(2)) == gsi + 1, "nothing was spent")
    }

    @Test("a route into a guest is refused, with a remedy, and the old route stays")
    func refusals() throws {
        let bench = try GuestBench(4)
        var mux = try Mux(smallOptions())
        let attached = try mux.attach(bench.device)
        let ids = try mux.connect(attached, .msix, 0..<2)
        func refusal(_ route: Route, _ id: VectorID) -> Int32 {
            do throws(MuxError) {
                try mux.route(id, to: route)
                return 0
            } catch {
                #expect(error.remedy.utf8CodeUnitCount > 0)
                return error.errno
            }
        }
        #expect(refusal(.guest(bench.gsi(0)), ids[0]) == ENODEV, "no guest")
        try bench.attach(to: &mux)
        #expect(errno { () throws(MuxError) in try bench.attach(to: &mux) } == EBUSY, "a second guest")
        #expect(refusal(.guest(4096), ids[0]) == EINVAL, "out of range")
        #expect(refusal(.guest(3000), ids[0]) == ENXIO, "no route: KVM would swallow the signals")
        try mux.route(ids[0], to: .guest(bench.gsi(0)))
        #expect(refusal(.detour(bench.gsi(0)), ids[1]) == EEXIST, "a GSI twice")
        try mux.route(ids[0], to: .handler)
        #expect(refusal(.guest(bench.gsi(0)), ids[1]) == EEXIST, "its irqfd is still bound")
        #expect(try mux.route(of: ids[1]) == .handler)
        bench.device.raise(msix(1))
        #expect(try mux.settle().map(\.id) == [ids[1]])
        try mux.disconnect(ids[0])
        #expect(refusal(.guest(bench.gsi(0)), ids[1]) == 0, "free again")
        // A table that its owner commits is not the mux's to check.
        #expect(errno { () throws(MuxError) in try mux.detachGuest() } == EBUSY)
        try mux.route(ids[1], to: .handler)
        try mux.detachGuest()
        #expect(mux.guestState == .none)
        try mux.attach(guest: bench.guest.virtualMachine, routes: nil)
        #expect(refusal(.guest(bench.gsi(2)), ids[1]) == 0)
        bench.device.raise(msix(1))
        #expect(try bench.await(2) == 1)
        #expect(errno { () throws(MuxError) in _ = try mux.allocateGSI(message(1)) } == EPERM)
        #expect(errno { () throws(MuxError) in try mux.commitRoutes() } == EPERM)
        #expect(mux.routingCommits == 0)
        #expect(try mux.ledger(attached).unexplained == 0)
    }

    @Test("INTx is no vector to bypass: it needs an acknowledgement")
    func intx() throws {
        let bench = try GuestBench(1)
        var mux = try Mux(smallOptions())
        try bench.attach(to: &mux)
        let attached = try mux.attach(bench.device)
        #expect(
            errno { () throws(MuxError) in try mux.connect(attached, .intx, 0..<1) { _ in .guest(bench.gsi(0)) } }
                == EINVAL)
    }

    @Test("the trap of a route that goes while its irqfd is bound: refused; another message for it is not")
    func routeRemovedWhileBound() throws {
        let bench = try GuestBench(3)
        var mux = try Mux(smallOptions())
        try bench.attach(to: &mux)
        let id = try mux.connect(mux.attach(bench.device), .msix, 0..<1)[0]
        let gsi = try mux.allocateGSI(bench.guest.route(forMessage: 2))
        try mux.route(id, to: .guest(gsi))
        #expect(mux.routingCommits == 1, "committed before the irqfd was assigned")
        #expect(errno { () throws(MuxError) in try mux.freeGSI(gsi) } == EBUSY)
        bench.device.raise(msix(0))
        #expect(try bench.await(1) == 1)
        // The guest rewrites the message: the irqfd stays, the next signal goes the new way.
        try mux.setGSI(gsi, to: bench.guest.route(forMessage: 3))
        try mux.commitRoutes()
        bench.device.raise(msix(0))
        #expect(try bench.await(2) == 1)
        try mux.disconnect(id)
        try mux.freeGSI(gsi)
        #expect(errno { () throws(MuxError) in try mux.freeGSI(gsi) } == ENOENT)
    }

    @Test("the trap of a bound irqfd: whoever listens to it hears nothing")
    func boundIRQFDIsInvisible() throws {
        let bench = try GuestBench(1)
        var mux = try Mux(smallOptions())
        try bench.attach(to: &mux)
        let interposer = Interposer(bench.device)
        try mux.connect(mux.attach(interposer), .msix, 0..<1) { .guest(bench.gsi($0)) }
        let bypass = try #require(interposer.eventFDs.first)
        _ = try mux.addSource(bypass, tag: 1)
        try mux.settle()
        for _ in 0..<10 {
            bench.device.raise(msix(0))
            #expect(try bench.await(0) == 1)
            #expect(try mux.settle().isEmpty)
        }
    }

    @Test("a device that refuses the swap: the vector stays where it was, and goes on working", arguments: [0, 1])
    func refusedSwap(deaf: Int) throws {
        let bench = try GuestBench(1)
        let refuses = Switch()
        let interposer = Interposer(bench.device) { (request, device) throws(DeviceError) in
            guard refuses.isOn else { return try device.setInterrupts(request) }
            // As the kernel does: the vector has lost its eventfd when the request fails. The next one is taken.
            refuses.isOn = false
            _ = try device.setInterrupts(IRQRequest(.msix, .trigger, start: request.start, .eventfd([-1])))
            throw DeviceError("SET_IRQS", errno: ENOMEM)
        }
        var mux = try Mux(smallOptions())
        try bench.attach(to: &mux)
        let id = try mux.connect(mux.attach(interposer), .msix, 0..<1) { .guest(bench.gsi($0)) }[0]
        if deaf == 0 {
            refuses.isOn = true
            #expect(errno { () throws(MuxError) in try mux.mask(id) } == ENOMEM)
            #expect(try !mux.isMasked(id))
            refuses.isOn = true
            #expect(errno { () throws(MuxError) in try mux.route(id, to: .handler) } == ENOMEM)
            #expect(try mux.path(of: id).kind == .bypassAtomic)
        } else {
            try mux.mask(id)
            refuses.isOn = true
            #expect(errno { () throws(MuxError) in try mux.unmask(id) } == ENOMEM)
            #expect(try mux.isMasked(id))
            bench.device.raise(msix(0))
            try mux.settle()
            try mux.unmask(id)
            #expect(try bench.await(0) == 1)
        }
        bench.device.raise(msix(0))
        #expect(try bench.await(0) == 1)
        #expect(try mux.settle().isEmpty)
        #expect(try mux.ledger(id).unexplained == 0)
    }

    @Test("a machine that is closed under the mux is a named state, and no signal is lost with it")
    func closedMachine() throws {
        let machine = try KVMDevice().createVirtualMachine()
        try machine.createIRQChip(.full)
        // A number that no other test's descriptor is given, once it is closed.
        let number = fcntl(machine.number, F_DUPFD_CLOEXEC, 960)
        try #require(number >= 0)
        let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: 2))
        var mux = try Mux(smallOptions())
        try mux.attach(owning: VirtualMachine(owning: number), routes: .irqChipDefaults())
        let gsi = try mux.allocateGSI(message(1))
        let attached = try mux.attach(device)
        let ids = try mux.connect(attached, .msix, 0..<2)
        try mux.route(ids[0], to: .guest(gsi))
        device.raise(msix(0))
        // Ours and the mux's: the last descriptor goes, and the kernel takes the machine and its irqfds away.
        irqmux_close(number)
        #expect(irqmux_close(machine.release()) == 0)
        usleep(20_000)
        for _ in 0..<3 { device.raise(msix(0)) }
        #expect(try mux.path(of: ids[0]).kind == .unrouted)
        let kept = try mux.ledger(ids[0])
        #expect(kept.unexplained == 0 && kept.pending == 3 && kept.delivered == 1, "\(kept)")
        let another = try mux.allocateGSI(message(2))
        let refusal = errno { () throws(MuxError) in try mux.route(ids[1], to: .guest(another)) }
        #expect(refusal == EBADF)
        #expect(mux.guestState == .closed(errno: EBADF))
        #expect(errno { () throws(MuxError) in try mux.route(ids[1], to: .guest(another)) } == ENODEV)
        #expect(errno { () throws(MuxError) in try mux.commitRoutes() } == ENODEV)
        // What the guest did not take comes here, as one.
        try mux.route(ids[0], to: .handler)
        #expect(try mux.settle().map(\.id) == [ids[0]])
        expectSettled(try mux.ledger(ids[0]), raised: 4)
        try mux.detachGuest()
        device.raise(msix(0))
        #expect(try mux.settle().count == 1)
        expectSettled(try mux.ledger(attached), raised: 5)
    }

    @Test("a device that does not count, behind a machine that was closed: what nobody took is kept, and told as one")
    func closedMachineOfHardware() throws {
        let machine = try KVMDevice().createVirtualMachine()
        try machine.createIRQChip(.full)
        let number = fcntl(machine.number, F_DUPFD_CLOEXEC, 920)
        try #require(number >= 0)
        let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: 1))
        var mux = try Mux(smallOptions())
        try mux.attach(owning: VirtualMachine(owning: number), routes: .irqChipDefaults())
        let gsi = try mux.allocateGSI(message(1))
        let attached = try mux.attach(Hardware(device: device))
        let id = try mux.connect(attached, .msix, 0..<1)[0]
        // One that the loop forwarded is in the account already.
        try mux.route(id, to: .detour(gsi))
        irqmux_close(number)
        #expect(irqmux_close(machine.release()) == 0)
        usleep(20_000)
        device.raise(msix(0))
        #expect(try mux.settle().isEmpty)
        try mux.route(id, to: .guest(gsi))
        for _ in 0..<3 { device.raise(msix(0)) }
        #expect(try mux.ledger(id) == Ledger(raised: 4, pending: 4))
        #expect(try mux.deliveries(of: id) == Deliveries())
        try mux.route(id, to: .handler)
        #expect(try mux.settle().count == 1)
        let ledger = try mux.ledger(id)
        #expect(ledger == Ledger(raised: 4, delivered: 1, coalesced: 3), "\(ledger)")
    }

    @Test("the oracle says which path is live, and why")
    func paths() throws {
        let guest = try MicroGuest(messageVectors: 1, pin: .edge)
        let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: 8))
        var mux = try Mux(smallOptions())
        try mux.attach(guest: guest.virtualMachine, routes: guest.withRouting { $0.live })
        let ids = try mux.connect(mux.attach(device), .msix, 0..<8)
        let target = try EventFD()
        try mux.route(ids[1], to: .fanOut([target.number]))
        try mux.route(ids[2], to: .guest(guest.gsi(forMessage: 0)))
        try mux.route(ids[3], to: .guest(MicroGuest.pinGSI))
        try mux.route(ids[4], to: .parked)
        try mux.mask(ids[5])
        try mux.route(ids[6], to: .detour(mux.allocateGSI(guest.route(forMessage: 0))))
        let kinds = try ids.map { try mux.path(of: $0).kind }
        #expect(kinds == [.user, .user, .bypassAtomic, .bypassWorker, .parked, .parked, .detour, .user])
        for id in ids {
            let path = try mux.path(of: id)
            #expect(path.why.utf8CodeUnitCount > 0 && path.isCounted)
        }
        try mux.mask(ids[2])
        #expect(try mux.path(of: ids[2]).kind == .parked)
        try mux.unmask(ids[2])
        #expect(try mux.path(of: ids[2]).kind == .bypassAtomic)
        try mux.disconnect(ids[2])
        #expect(errno { () throws(MuxError) in _ = try mux.path(of: ids[2]) } == ENOENT)
    }
}

/// A device that raises and cannot say how often: as hardware is.
private struct Hardware: InterruptDevice {
    let device: Exerciser

    func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo { try device.interruptInfo(index) }
    func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 { try device.setInterrupts(request) }
    func reset() throws(DeviceError) { try device.reset() }
    func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 { 0 }
    func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {}
    func raisedCount(_ vector: Vector) -> UInt64? { nil }
}

private func message(_ data: UInt32) -> GSIRoute { .message(address: 0xfee0_0000, data: 0x30 + data % 64) }

private func bringUpEverything() throws {
    try makeRoomForDescriptors(8192)
    let machine = try KVMDevice().createVirtualMachine()
    try machine.createIRQChip(.full)
    let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: 2048))
    let interposer = Interposer(device)
    var mux = try Mux(smallOptions(capacity: 2100))
    try mux.attach(guest: machine, routes: .irqChipDefaults())
    let room = mux.guestRoom
    var gsis: [GSI] = []
    for number in 0..<2048 as Range<UInt32> { gsis.append(try mux.allocateGSI(message(number))) }
    #expect(mux.guestRoom == room - 2048 && Set(gsis).count == 2048)
    let attached = try mux.attach(interposer)
    let ids = try mux.connect(attached, .msix, 0..<2048) { number in .guest(gsis[Int(number)]) }
    #expect(mux.routingCommits == 1)
    #expect(interposer.requests.count == 1)
    #expect(try mux.path(of: ids[2047]).kind == .bypassAtomic)
    try mux.detach(attached)
    for gsi in gsis { try mux.freeGSI(gsi) }
    #expect(try mux.commitRoutes())
    #expect(try !mux.commitRoutes(), "nothing differs any more")
    #expect(mux.routingCommits == 2 && mux.guestRoom == room)
}
