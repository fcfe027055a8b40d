import CKernel
import EventRing
import Exerciser
import Foundation
import IRQMux
import InterruptModel
import KVM
import TestSupport
import Testing

@Suite(
    "2048 vectors of a guest's MSI-X", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized,
    .timeLimit(.minutes(5)))
struct GuestMSIXScaleTests {
    // Each in a process of its own: thousands of descriptors that come and go would disturb tests that count theirs.

    @Test("2048 vectors as Linux enables them: one SET_IRQS each, 12 commits, and all of them bypassed")
    func enable2048() async {
        await #expect(processExitsWith: .success) {
            try enableAll { device, mux, msix in
                #expect(device.requests.count <= 2048)
                #expect(mux.routingCommits <= 12)
                #expect(msix.table.inUse == 2048 && msix.table.refused == 0)
                for number in 0..<2048 as Range<UInt32> {
                    guard let id = msix.vector(number) else { throw Unexpected() }
                    #expect(try mux.path(of: id).kind == .bypassAtomic)
                }
                // Every entry again, as guests do: nothing happens.
                let (requests, commits) = (device.requests.count, mux.routingCommits)
                let operations = msix.table.statistics.operations
                for number in 0..<2048 as Range<UInt64> {
                    for register in stride(from: 0 as UInt64, to: 16, by: 4) {
                        let value = msix.readTable(offset: number * 16 + register, width: 4)
                        msix.writeTable(offset: number * 16 + register, width: 4, value, on: &mux)
                    }
                }
                #expect(device.requests.count == requests && mux.routingCommits == commits)
                #expect(msix.table.statistics.operations == operations)
            }
        }
    }

    @Test("2048 vectors of a device that cannot grow: it is enabled anew a dozen times, and says so")
    func enable2048Fixed() async {
        await #expect(processExitsWith: .success) {
            try enableAll(growsMSIX: false) { device, mux, msix in
                #expect(msix.report.regrowths == 11)
                #expect(device.requests.count <= 2048)
                #expect(mux.routingCommits <= 12)
                #expect(msix.table.inUse == 2048 && msix.table.refused == 0)
            }
        }
    }

    @Test("2048 live vectors are masked, unmasked and switched off with their function by one SET_IRQS each")
    func functionMask2048() async {
        await #expect(processExitsWith: .success) {
            try enableAll { device, mux, msix in
                // Some have a mask of their own.
                for number in stride(from: 5 as UInt64, to: 2048, by: 100) {
                    msix.writeTable(offset: number * 16 + 12, width: 4, 1, on: &mux)
                }
                let (before, commits) = (device.requests.count, mux.routingCommits)
                for round in 1...3 {
                    msix.writeMessageControl(0xc000, on: &mux)
                    #expect(device.requests.count == before + 2 * round - 1)
                    for number in 0..<2048 as Range<UInt32> {
                        #expect(try msix.vector(number).map { try mux.path(of: $0).kind } == .parked)
                    }
                    msix.writeMessageControl(0x8000, on: &mux)
                    #expect(device.requests.count == before + 2 * round)
                    for number in 0..<2048 as Range<UInt32> {
                        let kind = try msix.vector(number).map { try mux.path(of: $0).kind }
                        #expect(kind == (number % 100 == 5 ? .parked : .bypassAtomic), "\(number)")
                    }
                }
                #expect(mux.routingCommits == commits && msix.table.refused == 0 && msix.report.refusals == 0)
                msix.writeMessageControl(0, on: &mux)
                #expect(device.requests.count == before + 7)
            }
        }
    }

    @Test("2048 vectors that are restored cost a few SET_IRQS and commits, not one for each entry")
    func restore2048() async {
        await #expect(processExitsWith: .success) {
            try enableAll { device, mux, msix in
                var state = InterruptState(msix: nil, msi: nil)
                try msix.save(into: &state, on: &mux)
                msix.reset(on: &mux)
                let (requests, commits) = (device.requests.count, mux.routingCommits)
                try msix.load(state, on: &mux)
                try mux.commitRoutes()
                #expect(device.requests.count - requests <= 3, "\(device.requests.count - requests)")
                #expect(mux.routingCommits - commits <= 12, "\(mux.routingCommits - commits)")
                #expect(msix.table.inUse == 2048 && msix.table.refused == 0)
            }
        }
    }

    @Test("2048 vectors programmed under the function mask come into use by three SET_IRQS", arguments: [true, false])
    func programmedUnderMask(growsMSIX: Bool) async {
        if growsMSIX {
            await #expect(processExitsWith: .success) { try programUnderMask(growsMSIX: true) }
        } else {
            await #expect(processExitsWith: .success) { try programUnderMask(growsMSIX: false) }
        }
    }

    @Test("no more than 256 bytes a vector beside its histogram, of everything that exists because of it")
    func memory() async {
        #expect(GuestMSIX.bytesPerVector <= 256, "\(GuestMSIX.bytesPerVector)")
        // And so says the allocator, of which nobody can forget a part.
        await #expect(processExitsWith: .success) {
            try makeRoomForDescriptors(9000)
            let (few, many) = (try heapBytes(ofVectors: 512), try heapBytes(ofVectors: 2048))
            let each = (many - few) / 1536
            // Vectors' entries are all there is to see, so that a smaller figure means that nothing was measured.
            try #require(each <= 256, "\(each) bytes a vector")
            try #require(each >= 200, "\(each) bytes a vector")
        }
    }
}

/// A device of 2048 vectors and a machine without a guest, for what only counts.
private func enableAll(
    growsMSIX: Bool = true, programmingFirst: Bool = false,
    _ body: (borrowing Interposer, inout Mux, inout GuestMSIX) throws -> Void
) throws {
    try makeRoomForDescriptors(9000)
    let count: UInt32 = 2048
    var configuration = ExerciserConfiguration(intx: 0, msi: 0, msix: count)
    configuration.growsMSIX = growsMSIX
    let device = Interposer(try Exerciser(configuration))
    let machine = try VirtualMachine()
    try machine.createIRQChip(.split(pins: 24))
    var options = smallOptions(capacity: 4200)
    options.routeBatchDelay = .max
    var mux = try Mux(options)
    try mux.attach(guest: machine, routes: GSIRoutes())
    var msix = try GuestMSIX(mux.attach(device), on: mux)
    msix.writeMessageControl(0xc000, on: &mux)
    for number in 0..<UInt64(count) { msix.writeTable(offset: number * 16 + 12, width: 4, 1, on: &mux) }
    if !programmingFirst { msix.writeMessageControl(0x8000, on: &mux) }
    for number in 0..<UInt64(count) {
        msix.writeTable(offset: number * 16, width: 4, 0xfee0_0000 | (number & 1) << 12, on: &mux)
        msix.writeTable(offset: number * 16 + 4, width: 4, 0, on: &mux)
        msix.writeTable(offset: number * 16 + 8, width: 4, 0x20 + number % 200, on: &mux)
        msix.writeTable(offset: number * 16 + 12, width: 4, 0, on: &mux)
        if number % 100 == 0 { try mux.settle() }
    }
    msix.writeMessageControl(0x8000, on: &mux)
    try body(device, &mux, &msix)
}

private func programUnderMask(growsMSIX: Bool) throws {
    try enableAll(growsMSIX: growsMSIX, programmingFirst: true) { device, mux, msix in
        #expect(msix.table.inUse == 2048 && msix.table.refused == 0)
        #expect(device.requests.count <= 3, "\(device.requests.count)")
        #expect(mux.routingCommits <= 12)
        try mux.commitRoutes()
        for number in 0..<2048 as Range<UInt32> {
            #expect(try msix.vector(number).map { try mux.path(of: $0).kind } == .bypassAtomic)
        }
    }
}

/// What is in use of the heap when so many vectors of a guest's MSI-X are bypassed, beyond what was before.
private func heapBytes(ofVectors count: UInt32) throws -> Int {
    let machine = try VirtualMachine()
    try machine.createIRQChip(.split(pins: 24))
    let before = heapBytesInUse()
    var options = smallOptions(capacity: Int(count) + 128)
    options.routeBatchDelay = .max
    var mux = try Mux(options)
    try mux.attach(guest: machine, routes: GSIRoutes())
    var msix = try GuestMSIX(mux.attach(WillingDevice(vectors: count)), on: mux)
    msix.writeMessageControl(0x8000, on: &mux)
    for number in 0..<UInt64(count) {
        msix.writeTable(offset: number * 16, width: 8, 0xfee0_0000, on: &mux)
        msix.writeTable(offset: number * 16 + 8, width: 8, 0x20 + number % 200, on: &mux)
        // The places of sources that were replaced come free with a wait.
        if number % 32 == 0 { _ = try mux.settle() }
    }
    try mux.commitRoutes()
    // Some are moved past the loop at a time, for it has not more room.
    for _ in 0..<1000 where mux.routesWaiting > 0 { _ = try mux.settle() }
    try #require(
        msix.table.inUse == count && msix.table.refused == 0 && mux.routesWaiting == 0,
        "\(msix.table.inUse) of \(count), \(mux.routesWaiting) waiting")
    for number in 0..<count {
        guard let id = msix.vector(number) else { throw Unexpected() }
        guard try mux.path(of: id).kind == .bypassAtomic else { throw Unexpected() }
    }
    return heapBytesInUse() - before
}
