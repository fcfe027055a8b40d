import CKernel
import EventRing
import Foundation
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import Testing
import VFIO

@Suite(
    "Real INTx, to a handler and into a nested guest", .enabled(if: Machine.isHere, Machine.reason), .serialized,
    .timeLimit(.minutes(5)))
struct LineTests {
    /// A real device's INTx on a mux, which its owner acknowledges.
    private struct RealLine: ~Copyable {
        let device: RealDevice
        let attached: DeviceID
        let id: VectorID
        var mux: Mux

        init() throws {
            let device = try RealDevice(Machine.edu, .intx)
            var options = MuxOptions()
            options.intxAcknowledgement = .explicit
            var mux = try Mux(options)
            let attached = try mux.attach(device)
            id = try mux.connect(attached, .intx, 0..<1)[0]
            self.device = device
            self.attached = attached
            self.mux = mux
        }
    }

    @Test("handler: the line masks itself, tells once, and comes again while the device asserts")
    func handler() throws {
        var line = try RealLine()
        for round in 0..<100 {
            try line.device.raise()
            #expect(try line.mux.settle().count == 1, "round \(round)")
            if round % 4 == 0 {
                try line.mux.acknowledge(line.id)
                #expect(try line.mux.settle().count == 1, "round \(round): still asserted")
            }
            try line.device.acknowledge()
            try line.mux.acknowledge(line.id)
            #expect(try line.mux.settle().isEmpty, "round \(round): quiet")
        }
        #expect(try line.mux.ledger(line.attached).unexplained == 0)
    }

    @Test("resampled in the kernel: device, VFIO, irqfd, guest, end of interrupt, UNMASK, with nobody here woken")
    func kernelResample() throws {
        var line = try RealLine()
        let guest = try MicroGuest(messageVectors: 1, pin: .level)
        try guest.start()
        try line.mux.settle()
        try line.mux.serve(line.id, by: .kernelResample(machine: guest.virtualMachine.number, gsi: MicroGuest.pinGSI))
        let doorbell = try #require(guest.pinDoorbell)
        let before = line.mux.remote.statistics.notifications
        var runs: UInt64 = 0
        for round in 0..<200 {
            try line.device.raise()
            // The guest's handler runs again and again until the device is quieted: each of these is an end of
            // interrupt that unmasked the line in the kernel.
            runs += try guest.awaitDoorbell(doorbell)
            if round % 10 == 0 { runs += try guest.awaitDoorbell(doorbell) }
            try line.device.acknowledge()
            runs += try quiet(doorbell)
        }
        #expect(runs >= 220)
        var count: UInt64 = 0
        for action in [IRQRequest.Action.trigger, .unmask] {
            let number = line.device.eventFD(action)
            #expect(number >= 0)
            // SAFETY: the count lives through the call.
            #expect(unsafe irqmux_eventfd_take(number, &count) == -EAGAIN, "\(action): user space reads \(count)")
        }
        #expect(try line.mux.settle().isEmpty)
        #expect(line.mux.remote.statistics.notifications == before)
        #expect(try line.mux.ledger(line.attached).unexplained == 0)
        #expect(guest.exit == nil)
        try line.mux.stopServing(line.id)
        try line.device.raise()
        #expect(try line.mux.settle().count == 1, "and back to the handler")
        try line.device.acknowledge()
        try line.mux.acknowledge(line.id)
    }

    @Test("through the mux: VFIO, the loop, the guest's pin, the end of interrupt that a VMM tells of, UNMASK")
    func throughTheMux() throws {
        var line = try RealLine()
        let guest = try MicroGuest(messageVectors: 1, pin: .level)
        try guest.start()
        try line.mux.settle()
        let pin = try INTxPin(gsi: MicroGuest.pinGSI, of: guest.virtualMachine)
        try line.mux.serve(line.id, by: .userEOI(pin: pin))
        let doorbell = try #require(guest.pinDoorbell)
        for round in 0..<50 {
            try line.device.raise()
            #expect(try line.mux.settle().count == 1, "round \(round)")
            _ = try guest.awaitDoorbell(doorbell)
            if round % 4 == 0 {
                try line.mux.endOfInterrupt(gsi: MicroGuest.pinGSI)
                #expect(try line.mux.settle().count == 1, "round \(round): still asserted")
                _ = try guest.awaitDoorbell(doorbell)
            }
            try line.device.acknowledge()
            try line.mux.endOfInterrupt(gsi: MicroGuest.pinGSI)
            #expect(try line.mux.settle().isEmpty, "round \(round): quiet")
        }
        #expect(try line.mux.ledger(line.attached).unexplained == 0)
        #expect(guest.exit == nil)
    }

    /// Waits until the guest's handler has not run for a while; how often it did meanwhile.
    private func quiet(_ doorbell: GuestDoorbell) throws -> UInt64 {
        var runs: UInt64 = 0
        while true {
            usleep(1000)
            let more = try doorbell.eventFD.take()
            if more == 0 { return runs }
            runs += more
        }
    }
}
