// The first interrupt: a software device, four MSI-X vectors, a handler, and a look at the account.
import Exerciser
import IRQMux
import InterruptModel

/// Called on the mux's thread, once an event.
struct Counter: VectorHandler {
    var events = [0, 0, 0, 0]

    mutating func handle(_ event: VectorEvent, on mux: inout Mux) { events[Int(event.vector.number)] += 1 }
}

@main
struct FirstInterrupt {
    static func main() throws {
        let device = try Exerciser()
        let running = try MuxThread(handler: Counter())
        let remote = running.remote
        let attached = try remote.perform { (mux) throws(MuxError) in
            let attached = try mux.attach(device)
            try mux.connect(attached, .msix, 0..<4)
            return attached
        }

        // The device raises on a thread of its own, the mux takes delivery on its own, and this one looks on.
        try device.start(RaisePlan(Vector(.msix, 0), width: 4, .roundRobin, count: 1000, intervalNs: 50_000))
        while device.ticksDone < 500 {}
        print("half-way: \(remote.statistics.notifications) events so far")
        device.waitUntilIdle()

        // Everything raised was delivered, or shared an event with a neighbour, once nothing is pending.
        var ledger = Ledger(pending: 1)
        while ledger.pending > 0 { ledger = try remote.ledger(attached) }
        print("raised \(ledger.raised), delivered \(ledger.delivered), coalesced \(ledger.coalesced)")
        print("unexplained \(ledger.unexplained)")

        let counter = running.stop().handler
        print("events by vector: \(counter.events)")
    }
}
