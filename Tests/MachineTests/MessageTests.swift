import CKernel
import EventRing
import IRQMux
import InterruptModel
import Testing
import VFIO

@Suite(
    "Real MSI and MSI-X, into handlers and into a nested guest", .enabled(if: Machine.isHere, Machine.reason),
    .serialized, .timeLimit(.minutes(5)))
struct MessageTests {
    @Test("each of 32 MSI-X vectors reaches its handler, and the ledger closes")
    func handlers() throws {
        let device = try RealDevice(Machine.rocker, .msix)
        try #require(device.vectors.count == 32)
        var mux = try Mux()
        let attached = try mux.attach(device)
        _ = try mux.connect(attached, .msix, device.vectors)
        try mux.settle()
        for _ in 0..<10 {
            for vector in device.vectors {
                try device.fire(vector)
                let events = try mux.settle()
                #expect(events.map(\.vector.number) == [vector])
            }
        }
        expectClosed(try mux.ledger(attached), raised: 320)
    }

    @Test("wired straight into a guest: each MSI-X vector arrives, once a signal, and the loop is not woken")
    func bypass() throws {
        let device = try RealDevice(Machine.rocker, .msix)
        let nested = try NestedGuest(device.vectors.count)
        var mux = try Mux()
        try nested.attach(to: &mux)
        let attached = try mux.attach(device)
        _ = try mux.connect(attached, .msix, device.vectors) { .guest(nested.gsi($0)) }
        try mux.settle()
        let before = mux.remote.statistics.notifications
        for _ in 0..<10 {
            for vector in device.vectors {
                try device.fire(vector)
                #expect(try nested.await(vector) == 1)
            }
        }
        #expect(try mux.settle().isEmpty)
        #expect(mux.remote.statistics.notifications == before)
        expectClosed(try mux.ledger(attached), raised: 320)
    }

    @Test("by way of the loop: the same through detours, once a signal")
    func detour() throws {
        let device = try RealDevice(Machine.rocker, .msix)
        let nested = try NestedGuest(device.vectors.count)
        var mux = try Mux()
        try nested.attach(to: &mux)
        let attached = try mux.attach(device)
        _ = try mux.connect(attached, .msix, device.vectors) { .detour(nested.gsi($0)) }
        for _ in 0..<10 {
            for vector in device.vectors {
                try device.fire(vector)
                try mux.settle()
                #expect(try nested.await(vector) == 1)
            }
        }
        expectClosed(try mux.ledger(attached), raised: 320)
    }

    @Test("an MSI vector into a guest and back to a handler, 100 times", arguments: [true, false])
    func msi(straight: Bool) throws {
        let device = try RealDevice(Machine.edu, .msi)
        let nested = try NestedGuest(1)
        var mux = try Mux()
        try nested.attach(to: &mux)
        let attached = try mux.attach(device)
        let id = try mux.connect(attached, .msi, 0..<1)[0]
        for round in 0..<100 {
            try mux.route(id, to: straight ? .guest(nested.gsi(0)) : .detour(nested.gsi(0)))
            try device.raise()
            try mux.settle()
            #expect(try nested.await(0) == 1, "round \(round)")
            try mux.route(id, to: .handler)
            try device.raise()
            #expect(try mux.settle().count == 1, "round \(round)")
        }
        #expect(try nested.taken(0) == 0)
        expectClosed(try mux.ledger(attached), raised: 200)
    }

    @Test("a masked vector keeps what the device fires, and tells it once after the unmask")
    func masked() throws {
        let device = try RealDevice(Machine.rocker, .msix)
        var mux = try Mux()
        let attached = try mux.attach(device)
        let ids = try mux.connect(attached, .msix, device.vectors)
        for round in 0..<20 {
            let vector = UInt32(round * 5 % 32)
            try mux.mask(ids[Int(vector)])
            for _ in 0..<3 { try device.fire(vector) }
            #expect(try mux.settle().isEmpty)
            try mux.unmask(ids[Int(vector)])
            #expect(try mux.settle().map(\.vector.number) == [vector])
        }
        expectClosed(try mux.ledger(attached), raised: 60)
    }
}
