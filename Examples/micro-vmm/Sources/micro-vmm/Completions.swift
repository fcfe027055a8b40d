// The mux's side, on its own thread: what the guest rang, and what it has acknowledged.
import EventRing
import IRQMux
import Synchronization

/// Called once an event. The interrupts themselves are not among them: their route ends at the irqfd.
struct Completions: VectorHandler, ~Copyable {
    let wires: Wires
    /// From the guest's request, through device, mux and its own handler, to the doorbell here; in nanoseconds.
    let messageLatency = Histogram()
    let lineLatency = Histogram()

    init(_ wires: Wires) { self.wires = wires }

    mutating func handle(_ event: VectorEvent, on mux: inout Mux) {
        let now = mux.time.monotonic(event.ticks)
        switch event.tag {
        case Wires.messageTag:
            let first = wires.messageRings.add(event.count, ordering: .releasing).oldValue
            wires.messageStamps.withLock { Self.record($0, first, event.count, now, messageLatency) }
        case Wires.lineTag:
            let first = wires.lineRings.add(event.count, ordering: .releasing).oldValue
            wires.lineStamps.withLock { Self.record($0, first, event.count, now, lineLatency) }
        case Wires.resampleTag:
            // The guest is done with the line, so the device may drive it again. One that is still asserted fires at
            // once: nothing is lost between EOI and here.
            guard let line = wires.connectedLine.withLock({ $0 }) else { return }
            try? mux.acknowledge(line)
            _ = wires.unmasks.add(event.count, ordering: .releasing)
        default: break
        }
    }

    private static func record(
        _ stamps: [UInt64], _ first: UInt64, _ count: UInt64, _ now: UInt64, _ histogram: borrowing Histogram
    ) {
        for ring in first..<first + count where ring < stamps.count {
            histogram.record(now > stamps[Int(ring)] ? now - stamps[Int(ring)] : 0)
        }
    }
}
