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
    "A real guest's MSI-X", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized,
    .timeLimit(.minutes(5)))
struct GuestMSIXTests {
    @Test("an interrupt is in the guest before its route is committed, and once after it is")
    func beforeCommit() throws {
        var kit = try MSIXBench(4)
        kit.enable()
        for number in 0..<3 as Range<UInt32> { kit.request(number) }
        // 1 and 2 were committed with their unmasking; the third waits for a fourth or the timer.
        #expect(kit.mux.routingCommits == 2)
        let waiting = try kit.id(2)
        #expect(try kit.mux.path(of: waiting).kind == .detour)
        for _ in 0..<10 {
            kit.raise(2)
            #expect(try kit.taken(2) == 1)
        }
        try kit.mux.commitRoutes()
        #expect(try kit.mux.path(of: waiting).kind == .bypassAtomic)
        for _ in 0..<10 {
            kit.raise(2)
            #expect(try kit.bench.await(2) == 1)
        }
        #expect(try kit.taken(2) == 0, "nothing came twice")
        try kit.expectBalanced(raised: 20)
    }

    @Test("signals around the commit arrive once each, whoever carries them", arguments: 1...4)
    func aroundCommit(seed: UInt64) throws {
        var random = SplitMix(seed: seed)
        var kit = try MSIXBench(32)
        kit.enable()
        for number in 0..<32 as Range<UInt32> {
            kit.request(number)
            if random.below(2) == 0 { kit.raise(number) }
            if random.below(4) == 0 { try kit.mux.settle() }
            if random.below(4) == 0 { try kit.mux.commitRoutes() }
        }
        let raised = (0..<32 as Range<UInt32>).map { kit.device.raisedCount(msix($0)) ?? 0 }
        for number in 0..<32 as Range<UInt32> {
            #expect(try kit.taken(number) == raised[Int(number)], "seed \(seed), vector \(number)")
        }
        try kit.expectBalanced(raised: raised.reduce(0, +))
    }

    @Test("the batch of routes ends by its timer when nothing more comes")
    func timer() throws {
        var kit = try MSIXBench(4, delay: 1_000_000)
        kit.enable()
        for number in 0..<3 as Range<UInt32> { kit.request(number) }
        #expect(kit.mux.routingCommits == 2)
        let waiting = try kit.id(2)
        while try kit.mux.path(of: waiting).kind != .bypassAtomic {
            try kit.mux.wait(timeout: 1_000_000)
            while kit.mux.next() != nil {}
        }
        #expect(kit.mux.routingCommits == 3)
        kit.raise(2)
        #expect(try kit.bench.await(2) == 1)
    }

    @Test("a masked vector does not fire, pends truly, and fires once when unmasked (cloud-hypervisor#7813)")
    func maskAndPending() throws {
        var kit = try MSIXBench(3)
        kit.enable()
        for number in 0..<3 as Range<UInt32> { kit.request(number) }
        try kit.mux.commitRoutes()
        for round in 0..<20 as Range<UInt32> {
            let number = round % 3
            kit.mask(number)
            #expect(kit.pending() == 0)
            for _ in 0...round % 4 { kit.raise(number) }
            #expect(kit.pending() == 1 << UInt64(number), "told at once, also before the loop has looked")
            if round % 2 == 0 { #expect(try kit.taken(number) == 0) }
            #expect(kit.pending() == 1 << UInt64(number))
            kit.unmask(number)
            #expect(kit.pending() == 0)
            #expect(try kit.taken(number) == 1)
        }
        try kit.expectBalanced(raised: nil)
    }

    @Test("the function mask holds every vector, and gives each what it holds, once (libvfio-user#807)")
    func functionMask() throws {
        var kit = try MSIXBench(8)
        kit.enable()
        for number in 0..<8 as Range<UInt32> { kit.request(number) }
        try kit.mux.commitRoutes()
        kit.mask(5)
        kit.msix.writeMessageControl(0xc000, on: &kit.mux)
        for number in [1, 1, 5, 7] as [UInt32] { kit.raise(number) }
        #expect(kit.pending() == 0b1010_0010)
        for number in 0..<8 as Range<UInt32> { #expect(try kit.taken(number) == 0) }
        kit.msix.writeMessageControl(0x8000, on: &kit.mux)
        #expect(kit.pending() == 0b10_0000)
        for number in 0..<8 as Range<UInt32> { #expect(try kit.taken(number) == (number == 1 || number == 7 ? 1 : 0)) }
        kit.unmask(5)
        #expect(try kit.taken(5) == 1)
        try kit.expectBalanced(raised: 4)
    }

    @Test("a message that changes under the mask goes the new way, whether the route is committed or not")
    func affinity() throws {
        var kit = try MSIXBench(4)
        kit.enable()
        for number in 0..<3 as Range<UInt32> { kit.request(number) }
        try kit.mux.commitRoutes()
        kit.mask(1)
        kit.raise(1)
        kit.program(1, kit.message(3))
        kit.unmask(1)
        #expect(try kit.taken(3) == 1, "what was held goes to the new message")
        kit.raise(1)
        #expect(try kit.taken(3) == 1, "by injection: the route is not committed yet")
        try kit.mux.commitRoutes()
        kit.raise(1)
        #expect(try kit.bench.await(3) == 1)
        #expect(try kit.taken(1) == 0)
        try kit.expectBalanced(raised: 3)
    }

    @Test("a message that changes while the vector is live, a DWORD at a time, loses and doubles nothing")
    func liveChange() throws {
        var kit = try MSIXBench(4)
        kit.enable()
        kit.request(0)
        kit.raise(0)
        #expect(try kit.bench.await(0) == 1)
        let before = kit.requests.count
        kit.program(0, kit.message(2))
        kit.raise(0)
        #expect(try kit.taken(2) == 1)
        try kit.mux.commitRoutes()
        #expect(kit.requests.count - before == 2, "to the loop and back")
        kit.raise(0)
        #expect(try kit.bench.await(2) == 1)
        #expect(try kit.taken(0) == 0)
        try kit.expectBalanced(raised: 3)
    }

    @Test("MSI-X on with zero vectors switches the device on, and what comes is kept")
    func zeroVectors() throws {
        var kit = try MSIXBench(2)
        kit.msix.writeMessageControl(0x8000, on: &kit.mux)
        #expect(kit.requests.count == 1, "the kernel enables MSI-X with a vector only")
        kit.raise(0)
        #expect(kit.pending() == 1)
        kit.request(0)
        #expect(kit.requests.count == 1, "the vector is there already")
        #expect(try kit.taken(0) == 1)
        kit.msix.writeMessageControl(0, on: &kit.mux)
        #expect(kit.requests.last == IRQRequest(.msix, .trigger, .none(count: 0)), "openvmm#3778: disable is count 0")
        try kit.expectBalanced(raised: 1)
    }

    @Test("switched off, what is held is dropped by name, and nothing of the old life reaches the new one")
    func offAndOn() throws {
        var kit = try MSIXBench(2)
        for _ in 0..<3 {
            kit.enable()
            kit.request(0)
            kit.request(1)
            kit.raise(1)
            #expect(try kit.taken(1) == 1)
            kit.mask(1)
            kit.raise(1)
            kit.msix.writeMessageControl(0, on: &kit.mux)
            try kit.mux.settle()
            #expect(kit.msix.vector(1) == nil)
            #expect(try kit.taken(1) == 0)
        }
        let ledger = try kit.mux.ledger(kit.attached)
        #expect(ledger.unexplained == 0 && ledger.dropped == 3 && ledger.raised == 6, "\(ledger)")
        #expect(kit.mux.guestRoom > 3000, "GSIs and routes were given back (cloud-hypervisor#8148)")
    }

    @Test("random masks, messages and commits while signals arrive: each is taken, none twice", arguments: 1...6)
    func random(seed: UInt64) throws {
        var random = SplitMix(seed: seed)
        var kit = try MSIXBench(6)
        kit.enable()
        for number in 0..<5 as Range<UInt32> { kit.request(number) }
        var raised: UInt64 = 0
        var rings: UInt64 = 0
        for step in 0..<300 {
            let number = UInt32(random.below(5))
            switch random.below(9) {
            case 0: kit.mask(number)
            case 1, 2: kit.unmask(number)
            case 3: kit.program(number, kit.message(random.below(2) == 0 ? number : 5))
            case 4: try kit.mux.commitRoutes()
            case 5: kit.msix.writeMessageControl(random.below(3) == 0 ? 0xc000 : 0x8000, on: &kit.mux)
            default:
                let target: UInt32 = kit.msix.table.message(number) == kit.message(number) ? number : 5
                // What an unmask let go before.
                rings += try kit.taken(target)
                kit.raise(number)
                raised += 1
                guard !kit.msix.table.isMasked(number) else {
                    #expect(kit.pending() & 1 << UInt64(number) != 0, "seed \(seed), step \(step)")
                    continue
                }
                let now = try kit.taken(target)
                rings += now
                #expect(now == 1, "seed \(seed), step \(step): \(number) came \(now) times")
            }
        }
        kit.msix.writeMessageControl(0x8000, on: &kit.mux)
        for number in 0..<5 as Range<UInt32> { kit.unmask(number) }
        for number in 0..<6 as Range<UInt32> { rings += try kit.taken(number) }
        try kit.expectBalanced(raised: raised)
        let delivered = try kit.mux.ledger(kit.attached).delivered
        #expect(rings <= delivered, "seed \(seed): the local APIC may merge, and never adds")
    }

    @Test("served vectors refuse the owner's routes and masks, and may be looked at")
    func served() throws {
        var kit = try MSIXBench(1)
        kit.enable()
        kit.request(0)
        let id = try kit.id(0)
        #expect(errno { () throws(MuxError) in try kit.mux.route(id, to: .handler) } == EBUSY)
        #expect(errno { () throws(MuxError) in try kit.mux.mask(id) } == EBUSY)
        #expect(errno { () throws(MuxError) in try kit.mux.unmask(id) } == EBUSY)
        #expect(try kit.mux.ledger(id).raised == 0)
        #expect(try kit.mux.isMasked(id) == false)
    }
}
