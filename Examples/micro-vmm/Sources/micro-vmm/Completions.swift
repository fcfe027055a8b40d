// The mux's side, on its own thread: what the guest rang, and what it has acknowledged.
import IRQMux
import Synchronization

/// Called once an event. The interrupts themselves are not among them: their routes end in the guest.
struct Completions: VectorHandler {
    let wires: Wires

    mutating func handle(_ event: VectorEvent, on mux: inout Mux) {
        switch event.tag {
        case Wires.messageTag: wires.messageRings.add(event.count, ordering: .releasing)
        case Wires.lineTag:
            // The driver has quieted the device, so the line may fire again. Where KVM resamples it already can, and
            // this has no effect. A device that still asserts fires at once: nothing is lost between bell and here.
            if let line = wires.pci.withLock({ $0 })?.line { try? mux.acknowledge(line) }
            wires.lineRings.add(event.count, ordering: .releasing)
        default: break
        }
    }
}
