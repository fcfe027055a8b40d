import CKernel
import EventRing
import Exerciser
import IRQMux
import InterruptModel
import Testing

/// Counts what it is given.
private struct EventTally: VectorHandler {
    var events = 0
    var stopAtFirst = false

    mutating func handle(_ event: VectorEvent, on mux: inout Mux) {
        events += 1
        if stopAtFirst { mux.stop() }
    }
}

@Suite("a mux driven by another loop")
struct MuxEmbeddingTests {
    private func isReadable(_ descriptor: Int32, within milliseconds: Int32) -> Bool {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        // SAFETY: the entry lives until the call returns.
        return unsafe poll(&entry, 1, milliseconds) == 1
    }

    private func embedded(_ tier: RingTier) -> MuxOptions {
        var options = MuxOptions()
        options.loop.embedded = true
        options.loop.bestTier = tier
        return options
    }

    @Test("poll(2) on its descriptor tells of each raise, and process delivers it", arguments: RingTier.allCases)
    func deliversUnderPoll(tier: RingTier) throws {
        let device = try Exerciser()
        var mux = try Mux(embedded(tier))
        let attached = try mux.attach(device)
        try mux.connect(attached, .msix, 0..<8)
        var tally = EventTally()
        try mux.process(&tally)
        for number in 0..<UInt32(100) {
            _ = device.raise(Vector(.msix, number % 8))
            while tally.events <= Int(number) {
                try #require(isReadable(mux.pollableDescriptor, within: 5000))
                try mux.process(&tally)
            }
        }
        #expect(tally.events == 100)
        let ledger = try mux.ledger(attached)
        #expect(ledger.raised == 100 && ledger.delivered == 100 && ledger.unexplained == 0)
    }

    @Test("a mux that was stopped half-way stays readable for the rest", arguments: RingTier.allCases)
    func staysReadable(tier: RingTier) throws {
        let device = try Exerciser()
        var mux = try Mux(embedded(tier))
        try mux.connect(try mux.attach(device), .msix, 0..<8)
        var tally = EventTally(stopAtFirst: true)
        try mux.process(&tally)
        for number in 0..<UInt32(8) { _ = device.raise(Vector(.msix, number)) }
        for expected in 1...8 {
            try #require(isReadable(mux.pollableDescriptor, within: 5000))
            try mux.process(&tally)
            #expect(tally.events == expected)
        }
    }
}
