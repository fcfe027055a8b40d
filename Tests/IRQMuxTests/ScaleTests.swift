import CKernel
import EventRing
import Exerciser
import Foundation
import IRQMux
import InterruptModel
import TestSupport
import Testing

@Suite("Many vectors, few descriptors, no memory", .timeLimit(.minutes(5)))
struct ScaleTests {
    @Test("all 2048 vectors of MSI-X at once", arguments: RingTier.allCases)
    func everyVector(tier: RingTier) async {
        switch tier {
        case .deferred: await #expect(processExitsWith: .success) { try everyVectorAtOnce(.deferred) }
        case .cooperative: await #expect(processExitsWith: .success) { try everyVectorAtOnce(.cooperative) }
        case .plain: await #expect(processExitsWith: .success) { try everyVectorAtOnce(.plain) }
        case .epoll: await #expect(processExitsWith: .success) { try everyVectorAtOnce(.epoll) }
        }
    }

    @Test("whatever fails or goes, every descriptor is given back")
    func leaks() async {
        await #expect(processExitsWith: .success) {
            let device = try Exerciser()
            let target = try EventFD()
            var before = 0
            for round in 0..<4 {
                do {
                    var mux = try Mux(smallOptions())
                    let attached = try mux.attach(device)
                    try mux.settle()
                    let made = openDescriptors()
                    let ids = try mux.connect(attached, .msix, 0..<8, route: .fanOut([target.number, target.number]))
                    // Eight eventfds, the device's duplicates of them, and sixteen targets.
                    #expect(openDescriptors() == made + 32)
                    let connected = openDescriptors()
                    #expect(errno { () throws(MuxError) in _ = try mux.connect(attached, .msi, 0..<4) } == EINVAL)
                    #expect(errno { () throws(MuxError) in _ = try mux.connect(attached, .msix, 7..<9) } == EBUSY)
                    #expect(
                        errno { () throws(MuxError) in
                            _ = try mux.connect(attached, .msix, 8..<12, route: .fanOut([target.number, -1]))
                        } == EBADF)
                    #expect(
                        errno { () throws(MuxError) in try mux.route(ids[0], to: .fanOut([target.number, -1])) }
                            == EBADF)
                    #expect(openDescriptors() == connected)
                    try mux.route(ids[0], to: .handler)
                    #expect(openDescriptors() == connected - 2)
                    try mux.disconnect(ids[1])
                    #expect(openDescriptors() == connected - 6)
                    try mux.detach(attached)
                    #expect(openDescriptors() == made)
                    let again = try mux.attach(device)
                    try mux.connect(again, .msix, 0..<8, route: .fanOut([target.number]))
                    try mux.connect(again, .err, 0..<1)
                }
                // The first round opens what the process keeps.
                if round == 0 { before = openDescriptors() }
                #expect(openDescriptors() == before, "the mux went with everything connected")
                if case .signal = device.raise(msix(0)) { Issue.record("the device still has an eventfd of it") }
            }
        }
    }

    @Test("descriptors that run out half-way are EMFILE, and nothing is left of the attempt", arguments: [0, 1])
    func descriptorsRunOut(place: Int) async {
        // In the mux's own eventfds, or in the duplicates that the device makes of them.
        if place == 0 {
            await #expect(processExitsWith: .success) { try connectWithDescriptors(10) }
        } else {
            await #expect(processExitsWith: .success) { try connectWithDescriptors(20) }
        }
    }

    @Test(
        "no allocation per event, whether handled or fanned out",
        .enabled(if: allocationsAreCounted, "sanitizer: it stands in for malloc, so allocations are not counted"),
        arguments: allListening)
    func allocations(tier: RingTier, waiting: WaitMode) throws {
        let device = try Exerciser()
        let target = try EventFD()
        var mux = try Mux(smallOptions(tier, waiting: waiting))
        let attached = try mux.attach(device)
        try mux.connect(attached, .msix, 0..<1)
        try mux.connect(attached, .msix, 1..<2, route: .fanOut([target.number, target.number]))
        let line = try Exerciser()
        try mux.connect(mux.attach(line), .err, 0..<1)
        var handled = 0
        func round() throws(MuxError) {
            device.raise(msix(0))
            device.raise(msix(1))
            line.raise(Vector(.err, 0))
            var left = 2
            while left > 0 {
                try mux.wait(timeout: 1_000_000)
                while mux.next() != nil { left -= 1 }
            }
            handled += 2
        }
        for _ in 0..<10 { try round() }
        let count = try TestSupport.allocations { () throws(MuxError) in
            var rounds = 0
            while rounds < 500 {
                try round()
                rounds += 1
            }
        }
        #expect(count == 0)
        try mux.settle()
        #expect(handled == 1020)
        #expect(try target.take() == 1020)
        expectSettled(try mux.ledger(attached), raised: 1020)
    }
}

/// Raises, masks, unmasks and disconnects every vector that MSI-X can have.
private func everyVectorAtOnce(_ tier: RingTier) throws {
    let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: 2048))
    try setDescriptorLimit(3 * 2048 + 200)
    var mux = try Mux(smallOptions(tier, capacity: 2048))
    let attached = try mux.attach(device)
    let ids = try mux.connect(attached, .msix, 0..<2048)
    for round in 1...3 as ClosedRange<UInt64> {
        for number in 0..<2048 as Range<UInt32> { device.raise(msix(number)) }
        #expect(try Set(mux.settle().map(\.id)) == Set(ids))
        for id in ids { try mux.mask(id) }
        for number in 0..<2048 as Range<UInt32> { device.raise(msix(number)) }
        #expect(try mux.settle().isEmpty)
        for id in ids { try mux.unmask(id) }
        #expect(try mux.settle().count == 2048)
        expectSettled(try mux.ledger(attached), raised: round * 4096)
    }
    try mux.disconnectAll(attached, .msix)
    expectSettled(try mux.detach(attached), raised: 3 * 4096)
}

/// Connects sixteen vectors with room for `spare` descriptors, and then with room for all.
private func connectWithDescriptors(_ spare: Int) throws {
    let device = try Exerciser()
    var mux = try Mux(smallOptions())
    let attached = try mux.attach(device)
    try mux.settle()
    let before = openDescriptors()
    // The lowest numbers are taken first, so the limit is what is left for new ones.
    let highest = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").compactMap { Int($0) }.max() ?? 0
    var fillers: [Int32] = []
    while openDescriptors() < highest + 1 { fillers.append(irqmux_eventfd_create(0)) }
    defer { for filler in fillers { _ = irqmux_close(filler) } }
    let full = openDescriptors()
    try setDescriptorLimit(full + spare)
    for _ in 0..<5 {
        #expect(errno { () throws(MuxError) in _ = try mux.connect(attached, .msix, 0..<16) } == EMFILE)
        try mux.settle()  // the places of what was given up come free
    }
    try setDescriptorLimit(full + 200)
    #expect(openDescriptors() == full)
    // The device is as it was: no type is active, so any may be.
    let pinID = try mux.connect(attached, .intx, 0..<1)[0]
    try mux.disconnect(pinID)
    let ids = try mux.connect(attached, .msix, 0..<16)
    device.raise(msix(15))
    #expect(try mux.settle().map(\.id) == [ids[15]])
    try mux.disconnectAll(attached, .msix)
    #expect(openDescriptors() == full && before <= full)
}

private func setDescriptorLimit(_ count: Int) throws {
    var limit = rlimit()
    // SAFETY: the structure outlives the calls.
    guard unsafe getrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit) == 0 else { throw Unexpected() }
    limit.rlim_cur = min(rlim_t(count), limit.rlim_max)
    guard unsafe setrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit) == 0 else { throw Unexpected() }
}
