import CKernel
import EventRing
import Exerciser
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import TestSupport
import Testing

/// Failures of other projects, each by the thread that tells of it; docs/peer-lessons.md is the list.
@Suite(
    "What bit users elsewhere: MSI-X of a guest",
    .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized, .timeLimit(.minutes(5)))
struct GuestMSIXLessonTests {
    @Test("a mask never takes the route away: what is raised around it all arrives (cloud-hypervisor#795)")
    func maskKeepsRoute() throws {
        var kit = try MSIXBench(2)
        kit.enable()
        kit.request(0)
        let commits = kit.mux.routingCommits
        for _ in 0..<50 {
            kit.mask(0)
            kit.raise(0)
            kit.unmask(0)
            #expect(try kit.taken(0) == 1)
        }
        #expect(kit.mux.routingCommits == commits, "no route was touched")
        try kit.expectBalanced(raised: 50)
    }

    @Test("a vector that was never unmasked sends nothing, not even as vector 0 (cloud-hypervisor#2397)")
    func strayInterrupt() throws {
        var kit = try MSIXBench(4)
        kit.enable()
        kit.request(2)
        for number in [0, 1, 3] as [UInt32] { kit.raise(number) }
        for number in 0..<4 as Range<UInt32> { #expect(try kit.taken(number) == 0) }
        kit.raise(2)
        #expect(try kit.taken(2) == 1)
    }

    @Test("switching off is one disable, fires no vector, and is nothing at all when nothing was on (openvmm#3778)")
    func disable() throws {
        var kit = try MSIXBench(3)
        kit.msix.writeMessageControl(0, on: &kit.mux)
        kit.msix.reset(on: &kit.mux)
        #expect(kit.requests.isEmpty)
        kit.enable()
        for number in 0..<3 as Range<UInt32> { kit.request(number) }
        let before = kit.requests.count
        kit.msix.writeMessageControl(0, on: &kit.mux)
        kit.msix.writeMessageControl(0, on: &kit.mux)
        #expect(kit.requests.count - before == 1)
        #expect(kit.requests.last == IRQRequest(.msix, .trigger, .none(count: 0)))
        for number in 0..<3 as Range<UInt32> { #expect(try kit.taken(number) == 0) }
    }

    @Test("when the routing table is full, the vector that finds no room is refused alone (cloud-hypervisor#7081)")
    func routesExhausted() throws {
        var kit = try MSIXBench(4)
        kit.enable()
        kit.request(0)
        while kit.mux.guestRoom > 1 { _ = try kit.mux.allocateGSI(message: 0xfee0_0000, data: 0x30) }
        kit.request(1)
        kit.request(2)
        #expect(kit.msix.table.refused == 1 && kit.msix.table.isRefused(2))
        for number in 0..<3 as Range<UInt32> {
            kit.raise(number)
            #expect(try kit.taken(number) == (number == 2 ? 0 : 1))
        }
    }

    @Test("GSIs are taken when vectors are used, and used again (cloud-hypervisor#7940, #8148)")
    func reuse() throws {
        var kit = try MSIXBench(8)
        let room = kit.mux.guestRoom
        for _ in 0..<5 {
            kit.enable()
            #expect(kit.mux.guestRoom == room)
            for number in [1, 6] as [UInt32] { kit.request(number) }
            #expect(kit.mux.guestRoom == room - 2)
            kit.msix.writeMessageControl(0, on: &kit.mux)
            #expect(kit.mux.guestRoom == room)
            try kit.mux.settle()
        }
    }

    @Test("fewer vectors can be offered to a guest than the device has (spdk#2576)")
    func offerFewer() throws {
        let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: 512))
        var mux = try Mux(smallOptions())
        let attached = try mux.attach(device)
        var msix = try GuestMSIX(attached, vectors: 16, on: mux)
        #expect(msix.messageControl == 15)
        #expect(msix.readTable(offset: 16 * 16, width: 4) == 0xffff_ffff)
        #expect(errno { () throws(MuxError) in _ = try GuestMSIX(attached, vectors: 513, on: mux) } == EINVAL)
        #expect(errno { () throws(MuxError) in _ = try GuestMSIX(attached, vectors: 0, on: mux) } == EINVAL)
    }

    @Test("entries that a guest rewrites unchanged, masked or not, cost no system call (cloud-hypervisor#4273)")
    func rewritten() throws {
        var kit = try MSIXBench(4)
        kit.enable()
        kit.request(0)
        kit.request(1)
        kit.mask(1)
        let (requests, commits) = (kit.requests.count, kit.mux.routingCommits)
        for _ in 0..<50 {
            for number in 0..<2 as Range<UInt32> { kit.program(number, kit.message(number)) }
            kit.mask(1)
            kit.unmask(0)
        }
        try kit.mux.commitRoutes()
        #expect(kit.requests.count == requests && kit.mux.routingCommits == commits)
    }

    @Test("a storm on a masked vector is held and silenced, and is one interrupt when it is unmasked (acrn#866)")
    func maskedStorm() throws {
        var kit = try MSIXBench(2)
        kit.enable()
        kit.request(0)
        kit.mask(0)
        for _ in 0..<300 {
            kit.raise(0)
            try kit.mux.settle()
        }
        #expect(kit.mux.remote.statistics.notifications < 100)
        #expect(kit.pending() == 1)
        kit.unmask(0)
        #expect(try kit.taken(0) == 1)
        kit.raise(0)
        #expect(try kit.taken(0) == 1, "it is listened to again")
        try kit.expectBalanced(raised: 301)
        #expect(kit.msix.table.statistics.maskChanges >= 3)
    }

    @Test("every open vector is told once when a state is loaded, and no masked one (spdk#2410)")
    func kickOnResume() throws {
        var here = try MSIXBench(4)
        here.enable()
        for number in 0..<4 as Range<UInt32> { here.request(number) }
        here.mask(3)
        var state = InterruptState(msix: nil, msi: nil)
        try here.msix.save(into: &state, on: &here.mux)
        var there = try MSIXBench(4)
        try there.msix.load(state, on: &there.mux)
        for number in 0..<4 as Range<UInt32> { #expect(try there.taken(number) == (number == 3 ? 0 : 1)) }
        there.unmask(3)
        #expect(try there.taken(3) == 0)
        #expect(there.msix.report.kicks == 3)
    }
}
