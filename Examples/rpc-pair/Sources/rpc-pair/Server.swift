// The host's side: work off a request when the doorbell rings.
import EventRing
import IRQMux
import MicroGuest

/// What the guest may ask for.
enum Procedure: UInt32 {
    case sum = 1
    case product = 2

    func callAsFunction(_ first: UInt32, _ second: UInt32) -> UInt32 {
        switch self {
        case .sum: first &+ second
        case .product: first &* second
        }
    }
}

/// Runs on the mux's thread; one event is one call, since the guest makes the next when it has the answer.
struct Server: VectorHandler, ~Copyable {
    private let guest: MicroGuest
    /// Doorbell and completion; set before the mux runs.
    var pair: Pair?
    private(set) var served: UInt64 = 0
    /// From one ring of the doorbell to the next: the whole way around, in nanoseconds.
    private let roundTrips = Histogram()
    private var firstRing: UInt64?
    private var lastRing: UInt64 = 0

    init(_ guest: MicroGuest) { self.guest = guest }

    mutating func handle(_ event: VectorEvent, on mux: inout Mux) {
        let now = mux.time.monotonic(event.ticks)
        if firstRing == nil { firstRing = now } else { roundTrips.record(now - min(lastRing, now)) }
        lastRing = now

        // The guest wrote the request before it rang, and reads the answer after the interrupt.
        let procedure = Procedure(rawValue: guest.load(GuestProgram.procedure))
        let answer = procedure?(guest.load(GuestProgram.first), guest.load(GuestProgram.second))
        guest.store(answer ?? 0, at: GuestProgram.answer)
        served += 1
        // The interrupt is in the guest when this returns. Without a pair there is no guest to wait for it.
        do throws(MuxError) { try pair?.complete() } catch { mux.stop() }
    }

    var text: String {
        let trips = roundTrips.snapshot()
        let seconds = Double(lastRing - (firstRing ?? lastRing)) / 1e9
        let rate = seconds > 0 ? UInt64(Double(served - 1) / seconds) : 0
        let named = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("max", 100.0)]
        let work = pair?.stages?.snapshot(.forward).percentile(50) ?? 0
        let figures = named.map { "\($0.0) \(trips.percentile($0.1) / 1000) µs" }.joined(separator: ", ")
        return "\(rate) calls/s, round trip \(figures); doorbell to completion p50 \(work) ns"
    }
}
