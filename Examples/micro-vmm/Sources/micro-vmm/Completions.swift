// The mux's side, on its own thread: what the guest rang, and what it has acknowledged.
import IRQMux
import Synchronization

/// Called once an event. The interrupts themselves are not among them: their routes end in the guest.
struct Completions: VectorHandler {
    let wires: Wires

    mutating func handle(_ event: VectorEvent, on mux: inout Mux) {
        switch event.tag {
        case Wires.messageTag: wires.messageRings.add(event.count, ordering: .releasing)
        case Wires.lineTag: wires.lineRings.add(event.count, ordering: .releasing)
        case Wires.resampleTag:
            // The guest is done with the line, so the device may drive it again. One that is still asserted fires at
            // once: nothing is lost between EOI and here.
            guard let line = wires.connectedLine.withLock({ $0 }) else { return }
            try? mux.acknowledge(line)
            wires.unmasks.add(event.count, ordering: .releasing)
        default: break
        }
    }
}
