import EventRing
import Exerciser
import Foundation
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import TestSupport
import Testing

/// Two functions whose pins are one line of a real guest, served in one way.
private final class SharedLine {
    let one: INTxGuest
    let way: INTxWay
    let devices: [Exerciser]
    private var first: GuestFunction
    private var second: GuestFunction

    init(_ way: INTxWay) throws {
        let one = try INTxGuest(way, devices: 2, serving: false)
        for id in one.attached { try one.mux.disconnectAll(id, .intx) }
        func service() throws -> INTxService {
            guard way == .mappingToggle else { return try one.service(way) }
            return .mappingToggle(pin: try INTxPin(gsi: pinGSI, of: one.guest.virtualMachine), quiet: 500_000) { _ in }
        }
        first = try GuestFunction(one.attached[0], line: service(), on: &one.mux)
        second = try GuestFunction(one.attached[1], line: service(), on: &one.mux)
        devices = one.devices.map(\.device)
        self.one = one
        self.way = way
    }

    func configure(_ number: Int, _ offset: UInt64, _ width: Int, _ value: UInt64) throws {
        if number == 0 {
            try first.writeConfiguration(offset, width: width, value, on: &one.mux)
        } else {
            try second.writeConfiguration(offset, width: width, value, on: &one.mux)
        }
    }

    func reset(_ number: Int) throws {
        if number == 0 { try first.reset(on: &one.mux) } else { try second.reset(on: &one.mux) }
    }

    func line(_ number: Int) -> VectorID? { number == 0 ? first.line : second.line }

    var messageControl: UInt64 { UInt64(first.capabilities.msix?.offset ?? 0) + 2 }

    /// Waits until the guest's handler has run twice more, each time with an end of interrupt: one run may have been
    /// under way before.
    func awaitRun() throws {
        try one.mux.settle()
        try one.countRuns()
        let before = one.runs
        let begun = ContinuousClock.now
        while ContinuousClock.now - begun < .seconds(20) {
            try end()
            try one.countRuns()
            if one.runs >= before + 2 { return }
            usleep(100)
        }
        throw Unexpected()
    }

    /// The guest ends the interrupt of the pin, as far as it does not by itself.
    func end() throws {
        switch way {
        case .kernelResample, .ioapicBroadcast: try one.nudge()
        case .userEOI: try one.mux.endOfInterrupt(gsi: pinGSI)
        case .mappingToggle:
            for line in [line(0), line(1)].compactMap({ $0 }) { try one.mux.noteAccess(line) }
            usleep(1000)
        }
        try one.mux.settle()
    }

    /// Ends interrupts until these devices are open, which hear of it on a thread of their own, and the guest's handler
    /// does not run any more. Whether it comes to that.
    func isQuiet(_ open: Exerciser...) throws -> Bool {
        try eventually {
            try end()
            return open.allSatisfy { !$0.isINTxMasked }
        }
        for _ in 0..<50 {
            for _ in 0..<3 { try end() }
            let before = one.runs
            try one.countRuns()
            usleep(2000)
            try one.countRuns()
            if one.runs == before { return true }
        }
        return false
    }
}

@Suite(
    "Two functions on one line of a guest", .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"),
    .serialized, .timeLimit(.minutes(5)))
struct SharedLineTests {
    @Test("both raise: the guest quiets one, and is interrupted again for the other", arguments: INTxWay.allCases)
    func both(way: INTxWay) throws {
        let shared = try SharedLine(way)
        for round in 0..<20 {
            let (now, later) = (shared.devices[round % 2], shared.devices[1 - round % 2])
            now.assertINTx()
            later.assertINTx()
            try shared.awaitRun()
            now.acknowledgeINTx()
            try shared.end()
            try shared.awaitRun()
            later.acknowledgeINTx()
            #expect(try shared.isQuiet(now, later), "round \(round)")
        }
        let ledger = try shared.one.ledgers()
        #expect(ledger.unexplained == 0 && ledger.pending == 0 && ledger.raised >= 40, "\(ledger)")
    }

    @Test(
        "DisINTx and messages of one leave the line to the other, in service or not",
        arguments: INTxWay.allCases)
    func aside(way: INTxWay) throws {
        let shared = try SharedLine(way)
        let (first, second) = (shared.devices[0], shared.devices[1])
        let aside: [(begin: () throws -> Void, end: () throws -> Void)] = [
            ({ try shared.configure(0, 4, 2, 0x0406) }, { try shared.configure(0, 4, 2, 0x0006) }),
            (
                { try shared.configure(0, shared.messageControl, 2, 0x8000) },
                { try shared.configure(0, shared.messageControl, 2, 0) }
            ),
        ]
        for (begin, end) in aside {
            // While both are in service, and while neither is.
            for inService in [true, false] {
                if inService {
                    first.assertINTx()
                    second.assertINTx()
                    try shared.awaitRun()
                    try begin()
                } else {
                    try begin()
                    first.assertINTx()
                    second.assertINTx()
                }
                try shared.awaitRun()
                try shared.end()
                try shared.awaitRun()
                second.acknowledgeINTx()
                #expect(try shared.isQuiet(second), "the other one is not heard")
                second.assertINTx()
                try shared.awaitRun()
                second.acknowledgeINTx()
                #expect(try shared.isQuiet(second))
                try end()
                try shared.awaitRun()
                first.acknowledgeINTx()
                #expect(try shared.isQuiet(first, second) && shared.line(0) != nil && shared.line(1) != nil)
            }
        }
        let ledger = try shared.one.ledgers()
        #expect(ledger.unexplained == 0 && ledger.pending == 0, "\(ledger)")
    }

    @Test("a reset of one quiets that one and nobody else, and it is heard again", arguments: INTxWay.allCases)
    func reset(way: INTxWay) throws {
        let shared = try SharedLine(way)
        for number in [0, 1, 0, 1] {
            let (reset, other) = (shared.devices[number], shared.devices[1 - number])
            reset.assertINTx()
            other.assertINTx()
            try shared.awaitRun()
            try shared.reset(number)
            #expect(!reset.isINTxAsserted)
            try shared.end()
            try shared.awaitRun()
            other.acknowledgeINTx()
            #expect(try shared.isQuiet(other))
            reset.assertINTx()
            try shared.awaitRun()
            reset.acknowledgeINTx()
            #expect(try shared.isQuiet(reset, other))
        }
        let ledger = try shared.one.ledgers()
        #expect(ledger.unexplained == 0 && ledger.pending == 0, "\(ledger)")
    }
}
