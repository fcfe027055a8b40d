import CKernel
import EventRing
import Foundation
import IRQMux
import InterruptModel
import KVM
import TestSupport
import Testing

@testable import MicroGuest
@testable import VFIOUser

/// The device is in a process of its own, the guest is a real one, and between the two there are only eventfds.
@Suite(
    "vfio-user device of a real guest", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized,
    .timeLimit(.minutes(3)))
struct GuestTests {
    /// Message `n + 1` is vector `n`'s; message 0 is the fence's.
    private func attached(_ guest: MicroGuest, _ mux: inout Mux) throws {
        try mux.attach(guest: guest.virtualMachine, routes: try guest.withRouting { $0.live })
    }

    private func raise(_ vector: UInt64, of device: VFIOUserDevice) throws {
        try device.writeRegion(0, offset: 0, count: 1, value: vector)
    }

    /// Waits until everything that was injected before has been served.
    private func fence(_ guest: MicroGuest) throws {
        let eventFD = try EventFD()
        let irqfd = try guest.virtualMachine.assignIRQFD(eventFD, gsi: guest.gsi(forMessage: 0))
        try eventFD.signal()
        _ = try guest.awaitDoorbell(guest.doorbell(0))
        try irqfd.deassign()
    }

    @Test("a vector that another process raises goes into the guest past this one, by detour, and not while masked")
    func routes() throws {
        let peer = try PeerProcess(vectors: 4)
        let device = try VFIOUserDevice(path: peer.path)
        let guest = try MicroGuest(messageVectors: 3)
        try guest.start()
        var mux = try Mux()
        try attached(guest, &mux)
        let id = try mux.attach(device)
        let ids = try mux.connect(id, .msix, 0..<2) { .guest(guest.gsi(forMessage: Int($0) + 1)) }
        func run() throws {
            try mux.wait(timeout: 0)
            while let event = mux.next() { Issue.record("nothing is a handler's: \(event.vector)") }
        }
        try run()
        // Past this process: its loop hears nothing.
        let before = mux.remote.statistics.notifications
        for _ in 0..<20 {
            try raise(1, of: device)
            #expect(try guest.awaitDoorbell(guest.doorbell(2)) == 1)
        }
        try run()
        #expect(mux.remote.statistics.notifications == before)
        // Masked, it reaches nobody; what was raised meanwhile is told once when it is unmasked.
        try mux.mask(ids[1])
        for _ in 0..<3 { try raise(1, of: device) }
        try run()
        try fence(guest)
        #expect(try guest.doorbell(2).eventFD.take() == 0, "masked")
        try mux.unmask(ids[1])
        try run()
        #expect(try guest.awaitDoorbell(guest.doorbell(2)) == 1)
        // By detour it waits for the loop, and arrives.
        try mux.route(ids[1], to: .detour(guest.gsi(forMessage: 2)))
        for _ in 0..<20 {
            try raise(1, of: device)
            try fence(guest)
            #expect(try guest.doorbell(2).eventFD.take() == 0, "nobody has run the loop")
            try run()
            #expect(try guest.awaitDoorbell(guest.doorbell(2)) == 1)
        }
        // And back, past this process again, without a signal lost on the way.
        try raise(1, of: device)
        try mux.route(ids[1], to: .guest(guest.gsi(forMessage: 2)))
        try run()
        #expect(try guest.awaitDoorbell(guest.doorbell(2)) == 1)
        try raise(1, of: device)
        #expect(try guest.awaitDoorbell(guest.doorbell(2)) == 1)
        #expect(try guest.doorbell(1).eventFD.take() == 0, "vector 0 was never raised")
    }

    @Test("the guest's write to a doorbell reaches the device's process inside the kernel, and its answer the guest")
    func doorbells() throws {
        let peer = try PeerProcess(vectors: 4)
        let device = try VFIOUserDevice(path: peer.path)
        let bells = try device.withClient { (client) throws(VFIOUserError) in try client.doorbells(region: 0) }
        let bell = try #require(bells.entries.first)
        #expect(bell.offset == 0x40 && bell.size == 2)
        // A guest whose writes nobody answers for yet: the handler of message n writes n to a port.
        let guest = try MicroGuest(image: .closedLoop(messageVectors: 2, pin: .none))
        let routing = try MicroGuest.commitRoutes(2, .full, to: guest.virtualMachine)
        let ready = try GuestDoorbell(guest.virtualMachine, ClosedLoop.readyPort)
        let done = try GuestDoorbell(guest.virtualMachine, ClosedLoop.messagePort, match: 1)
        // Message 0's write is the device's doorbell, which is a descriptor of the other process.
        let wired = try guest.virtualMachine.assignIOEventFD(
            bells.descriptor(of: bell), at: DoorbellAddress(.port(ClosedLoop.messagePort), width: .two, match: 0))
        try guest.start()
        _ = try guest.awaitDoorbell(ready)
        var mux = try Mux()
        try mux.attach(guest: guest.virtualMachine, routes: routing.live)
        let id = try mux.attach(device)
        _ = try mux.connect(id, .msix, 0..<2) { .guest(MicroGuest.gsi(forMessage: Int($0))) }
        try mux.wait(timeout: 0)
        for _ in 0..<50 {
            // Vector 0 goes in, its handler rings the device, the device raises vector 1, and that handler rings here.
            try raise(0, of: device)
            #expect(try guest.awaitDoorbell(done) == 1)
        }
        // The device's own count of rings agrees with it.
        #expect(try device.readRegion(0, offset: 0x48, count: 4) == 50)
        try wired.deassign()
    }
}
