import CKernel
import EventRing
import Exerciser
import Foundation
import IRQMux
import InterruptModel
import KVM
import ServedExerciser
import TestSupport
import Testing

@testable import MicroGuest
@testable import VFIOUser

/// The Exerciser's doorbells as a VMM gets them: eventfds that came with an answer of the server.
@Suite("the Exerciser behind a socket", .serialized, .timeLimit(.minutes(5)))
struct ServedExerciserTests {
    private static let registers: UInt32 = 0
    private static let bells: UInt32 = 2

    private func exerciser(msix: UInt32) throws -> ExerciserService {
        var configuration = ExerciserConfiguration(intx: 1, msi: 2, msix: msix)
        configuration.dialect = .vfioUser
        return ExerciserService(try Exerciser(configuration))
    }

    /// How often the device raised a vector, by its own registers.
    private func raised(_ client: inout VFIOUserClient, _ vector: UInt32) throws -> UInt32 {
        func word(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
        try client.write([
            RegionWrite(region: Self.registers, offset: 0x10, word(IRQIndex.msix.rawValue)),
            RegionWrite(region: Self.registers, offset: 0x14, word(vector)),
        ])
        let bytes = try client.read(region: Self.registers, offset: 0xa0, count: 4)
        return bytes.reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }

    @Test(
        "a client gets as many doorbells as it takes descriptors; each raises its vector, the others do by a write",
        arguments: [1, 64, 253] as [UInt32])
    func doorbells(limit: UInt32) throws {
        try makeRoom(4096)
        let vectors: UInt32 = 300
        try connected(try exerciser(msix: vectors), { $0.messageFDs = limit }) { client in
            let told = try client.doorbells(region: Self.bells)
            #expect(told.entries.count == Int(limit))
            #expect(Set(told.entries.map { told.descriptor(of: $0) }).count == Int(limit))
            let signals = try Signals(Int(vectors))
            try client.setInterrupts(IRQRequest(.msix, .trigger, .eventfd(signals.numbers)))
            for vector in 0..<vectors {
                let offset = UInt64(vector) * 4
                if let bell = told.entries.first(where: { $0.offset == offset }) {
                    #expect(bell.size == 4 && bell.kind == .ioeventfd && bell.flags == 0)
                    #expect(irqmux_eventfd_signal(told.descriptor(of: bell), 1) == 0)
                } else {
                    try client.write(region: Self.bells, offset: offset, [1, 0, 0, 0])
                }
                #expect(try signals.wait(Int(vector)) == 1, "\(vector)")
            }
            #expect(try raised(&client, 0) == 1)
            #expect(try raised(&client, vectors - 1) == 1)
        }
    }

    @Test("a region without doorbells has none, and the next client's doorbells work when the former has gone")
    func clients() throws {
        let device = try exerciser(msix: 4)
        for turn in 0..<3 as Range<Int> {
            try connected(device) { client in
                #expect(try client.doorbells(region: Self.registers).entries.isEmpty)
                let told = try client.doorbells(region: Self.bells)
                #expect(told.entries.map(\.offset) == [0, 4, 8, 12, 0x2000, 0x2004, 0x2080])
                let signals = try Signals(4)
                try client.setInterrupts(IRQRequest(.msix, .trigger, .eventfd(signals.numbers)))
                let bell = told.entries[3]
                for _ in 0..<10 {
                    #expect(irqmux_eventfd_signal(told.descriptor(of: bell), 1) == 0)
                    #expect(try signals.wait(3) == 1)
                }
                #expect(try raised(&client, 3) == UInt32(10 * (turn + 1)))
            }
        }
    }

    @Test("a client that asks again and again leaves no descriptor behind, at either end")
    func closes() throws {
        let device = try exerciser(msix: 100)
        try connected(device) { client in
            let before = try openDescriptors()
            for _ in 0..<50 {
                let told = try client.doorbells(region: Self.bells)
                #expect(told.entries.count == 64)
            }
            // Of 3200 that came, and a hundred that the device made; other tests have some of their own meanwhile.
            #expect(try eventually { try openDescriptors() < before + 1000 })
        }
    }

    @Test(
        "the guest's own loopback: its write is KVM's ioeventfd, the device raises, and the irqfd brings it back",
        .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"))
    func loopback() throws {
        try connected(try exerciser(msix: 2)) { client in
            let told = try client.doorbells(region: Self.bells)
            let bell = told.entries[1]
            let guest = try MicroGuest(image: .closedLoop(messageVectors: 2, pin: .none))
            let routing = try MicroGuest.commitRoutes(2, .full, to: guest.virtualMachine)
            let ready = try GuestDoorbell(guest.virtualMachine, ClosedLoop.readyPort)
            let done = try GuestDoorbell(guest.virtualMachine, ClosedLoop.messagePort, match: 1)
            // The handler of message 0 rings the doorbell of vector 1, a descriptor of the server's.
            let wired = try guest.virtualMachine.assignIOEventFD(
                told.descriptor(of: bell), at: DoorbellAddress(.port(ClosedLoop.messagePort), width: .two, match: 0))
            try guest.start()
            _ = try guest.awaitDoorbell(ready)
            let irqfds = try (0..<2).map { message in
                let eventFD = try Signal()
                let number = MicroGuest.gsi(forMessage: message)
                return (eventFD, Held(try guest.virtualMachine.assignIRQFD(eventFD.number, gsi: number)))
            }
            try client.setInterrupts(IRQRequest(.msix, .trigger, .eventfd(irqfds.map(\.0.number))))
            for _ in 0..<20 {
                try client.write(region: Self.bells, offset: 0, [1, 0, 0, 0])
                #expect(try guest.awaitDoorbell(done) == 1)
            }
            #expect(try raised(&client, 0) == 20)
            #expect(try raised(&client, 1) == 20)
            try wired.deassign()
            withExtendedLifetime(irqfds) {}
            _ = consume routing
        }
    }
}
