import EventRing
import Foundation
import KVM
import MicroGuest
import TestSupport
import Testing

@Suite("a real guest closes the loop", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"), .serialized)
struct ClosedLoopTests {
    /// Signals a message of lower priority and waits for its doorbell: whatever was injected before has been served.
    private func fence(_ guest: MicroGuest, _ message: Int) throws {
        let eventFD = try EventFD()
        let irqfd = try guest.virtualMachine.assignIRQFD(eventFD, gsi: guest.gsi(forMessage: message))
        try eventFD.signal()
        #expect(try guest.awaitDoorbell(guest.doorbell(message)) == 1)
        try irqfd.deassign()
    }

    @Test("every message rings its own doorbell, once a signal", arguments: [IRQChip.full, .split(pins: 24)])
    func messages(irqChip: IRQChip) throws {
        let guest = try MicroGuest(messageVectors: 64, irqChip: irqChip)
        try guest.start()
        var eventFDs: [Held<EventFD>] = []
        var irqfds: [Held<IRQFD>] = []
        for message in 0..<64 {
            let eventFD = Held(try EventFD())
            let irqfd = try guest.virtualMachine.assignIRQFD(eventFD.value, gsi: guest.gsi(forMessage: message))
            eventFDs.append(eventFD)
            irqfds.append(Held(irqfd))
        }
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix64(state: seed)
        for message in (0..<64).shuffled(using: &random) {
            try eventFDs[message].value.signal()
            #expect(try guest.awaitDoorbell(guest.doorbell(message)) == 1, "message \(message), seed \(seed)")
        }
        for message in 0..<64 { #expect(try guest.doorbell(message).eventFD.take() == 0, "seed \(seed)") }
        #expect(guest.exit == nil)
        irqfds.removeAll()
        guest.stop()
        #expect(guest.exit == .stopped)
    }

    @Test("the most messages a guest takes all arrive")
    func mostMessages() throws {
        let guest = try MicroGuest(messageVectors: MicroGuest.mostMessages)
        try guest.start()
        try fence(guest, 0)
        try fence(guest, MicroGuest.mostMessages - 1)
        #expect(throws: MicroGuestError.self) { try MicroGuest(messageVectors: MicroGuest.mostMessages + 1) }
        guest.stop()
    }

    @Test("an edge-triggered pin reaches the PIC's handler")
    func edgePin() throws {
        let guest = try MicroGuest(messageVectors: 0, pin: .edge)
        let doorbell = try #require(guest.pinDoorbell)
        try guest.start()
        let eventFD = try EventFD()
        let irqfd = try guest.virtualMachine.assignIRQFD(eventFD, gsi: MicroGuest.pinGSI)
        for _ in 0..<20 {
            try eventFD.signal()
            #expect(try guest.awaitDoorbell(doorbell) == 1)
        }
        try irqfd.deassign()
        guest.stop()
    }

    @Test("level and resample: one signal in, one handler run, one resample out")
    func resample() throws {
        let guest = try MicroGuest(messageVectors: 1, pin: .level)
        let doorbell = try #require(guest.pinDoorbell)
        try guest.start()
        let eventFD = try EventFD()
        let resampled = try EventFD()
        let irqfd = try guest.virtualMachine.assignIRQFD(eventFD, gsi: MicroGuest.pinGSI, resample: resampled)
        for round in 0..<50 {
            try eventFD.signal()
            #expect(try guest.awaitDoorbell(doorbell) == 1, "round \(round)")
            // The acknowledgement follows the doorbell in the handler; after the fence it has been given.
            try fence(guest, 0)
            #expect(try resampled.take() == 1, "round \(round)")
            #expect(try doorbell.eventFD.take() == 0, "round \(round)")
        }
        try irqfd.deassign()
        guest.stop()
    }

    @Test("irqfds that share a level-triggered line are all told of the acknowledgement")
    func sharedLine() throws {
        let guest = try MicroGuest(messageVectors: 1, pin: .level)
        let doorbell = try #require(guest.pinDoorbell)
        try guest.start()
        let first = try EventFD()
        let second = try EventFD()
        let firstResampled = try EventFD()
        let secondResampled = try EventFD()
        let one = try guest.virtualMachine.assignIRQFD(first, gsi: MicroGuest.pinGSI, resample: firstResampled)
        let two = try guest.virtualMachine.assignIRQFD(second, gsi: MicroGuest.pinGSI, resample: secondResampled)
        try second.signal()
        #expect(try guest.awaitDoorbell(doorbell) == 1)
        try fence(guest, 0)
        #expect(try firstResampled.take() == 1)
        #expect(try secondResampled.take() == 1)
        try one.deassign()
        try two.deassign()
        guest.stop()
    }

    @Test("signals while deassigned stay pending, and are one interrupt on the next assign")
    func pendingPreserved() throws {
        let guest = try MicroGuest(messageVectors: 2)
        try guest.start()
        let eventFD = try EventFD()
        let gsi = guest.gsi(forMessage: 1)
        let before = try guest.virtualMachine.assignIRQFD(eventFD, gsi: gsi)
        try before.deassign()
        try eventFD.signal()
        try eventFD.signal()
        try eventFD.signal()
        #expect(try counter(of: eventFD.number) == 3)
        #expect(try guest.doorbell(1).eventFD.take() == 0)
        let after = try guest.virtualMachine.assignIRQFD(eventFD, gsi: gsi)
        #expect(try guest.awaitDoorbell(guest.doorbell(1)) == 1)
        try fence(guest, 0)
        #expect(try guest.doorbell(1).eventFD.take() == 0)
        try after.deassign()
        guest.stop()
    }

    @Test("assigning a signalled eventfd injects once and leaves the count until the deassign")
    func assignWithCount() throws {
        let guest = try MicroGuest(messageVectors: 1)
        try guest.start()
        let eventFD = try EventFD(initial: 3)
        let irqfd = try guest.virtualMachine.assignIRQFD(eventFD, gsi: guest.gsi(forMessage: 0))
        #expect(try guest.awaitDoorbell(guest.doorbell(0)) == 1)
        #expect(try counter(of: eventFD.number) == 3)
        try irqfd.deassign()
        #expect(try counter(of: eventFD.number) == 0)
        guest.stop()
    }

    @Test("trap: a bound irqfd's signals cannot be read back")
    func boundIsInvisible() throws {
        let guest = try MicroGuest(messageVectors: 1)
        try guest.start()
        let eventFD = try EventFD()
        let irqfd = try guest.virtualMachine.assignIRQFD(eventFD, gsi: guest.gsi(forMessage: 0))
        try eventFD.signal(5)
        #expect(try eventFD.take() == 0)
        #expect(try guest.awaitDoorbell(guest.doorbell(0)) == 1)
        try irqfd.deassign()
        guest.stop()
    }

    @Test("trap: a route removed under a bound irqfd loses the interrupt")
    func routeRemoved() throws {
        let guest = try MicroGuest(messageVectors: 2, pin: .edge)
        try guest.start()
        let eventFD = try EventFD()
        let gsi = guest.gsi(forMessage: 1)
        let irqfd = try guest.virtualMachine.assignIRQFD(eventFD, gsi: gsi)
        try guest.withRouting { (routing: inout GSIRouting) throws(KVMError) in
            routing.remove(gsi)
            #expect(try routing.commit(to: guest.virtualMachine))
        }
        try eventFD.signal()
        // Without a route KVM hands the signal to a kernel worker, which finds nowhere to go; a pin's signal takes the
        // same way behind it.
        try pinRoundTrip(guest)
        usleep(20_000)
        #expect(try counter(of: eventFD.number) == 0, "KVM has consumed the signal")
        try guest.withRouting { (routing: inout GSIRouting) throws(KVMError) in
            try routing.add(guest.route(forMessage: 1), for: gsi)
            #expect(try routing.commit(to: guest.virtualMachine))
        }
        try fence(guest, 0)
        #expect(try guest.doorbell(1).eventFD.take() == 0, "and the interrupt does not come back with the route")
        try eventFD.signal()
        #expect(try guest.awaitDoorbell(guest.doorbell(1)) == 1)
        try irqfd.deassign()
        guest.stop()
    }

    private func pinRoundTrip(_ guest: MicroGuest) throws {
        let eventFD = try EventFD()
        let irqfd = try guest.virtualMachine.assignIRQFD(eventFD, gsi: MicroGuest.pinGSI)
        try eventFD.signal()
        #expect(try guest.awaitDoorbell(try #require(guest.pinDoorbell)) == 1)
        try irqfd.deassign()
    }

    @Test("KVM_SIGNAL_MSI reaches the guest, and says so when nobody is there to take it")
    func signalMSI() throws {
        let guest = try MicroGuest(messageVectors: 1)
        try guest.start()
        guard case .message(let address, let data, _) = guest.route(forMessage: 0) else {
            Issue.record("a message has a message route")
            return
        }
        #expect(try guest.virtualMachine.signalMSI(address: address, data: data))
        #expect(try guest.awaitDoorbell(guest.doorbell(0)) == 1)
        // Destination 0x42 in bits 19 to 12: no such local APIC.
        #expect(try guest.virtualMachine.signalMSI(address: address | 0x42 << 12, data: data) == false)
        guest.stop()
    }

    @Test("a line driven from user space reaches the PIC's handler")
    func setLine() throws {
        let guest = try MicroGuest(messageVectors: 0, pin: .edge)
        let doorbell = try #require(guest.pinDoorbell)
        try guest.start()
        for _ in 0..<3 {
            try guest.virtualMachine.setLine(gsi: MicroGuest.pinGSI, asserted: true)
            #expect(try guest.awaitDoorbell(doorbell) == 1)
            try guest.virtualMachine.setLine(gsi: MicroGuest.pinGSI, asserted: false)
        }
        guest.stop()
    }
}
