// The machine: who is wired to whom, in the order in which it has to be done.
import EventRing
import Exerciser
import Glibc
import IRQMux
import InterruptModel
import KVM
import MicroGuest
import Synchronization

enum Machine {
    /// Longer than this for all rounds, and an interrupt must have been lost: the guest sleeps for ever then.
    static let patienceMilliseconds: Int32 = 60_000

    static func run(rounds: UInt32) throws -> Report {
        // 1. The device, and the mux on a thread of its own. A VMM's own device would conform to InterruptDevice.
        let device = try Exerciser(ExerciserConfiguration(intx: 1, msi: 0, msix: 1))
        let wires = try Wires()
        let running = try MuxThread(handler: Completions(wires: wires))
        let remote = running.remote

        // 2. The guest: one virtual CPU, 64 KiB, an irqchip in the kernel. What KVM cannot answer goes to the bus.
        let bus = Bus(device, wires)
        let guest = try MicroGuest(image: GuestProgram.image(rounds: rounds)) { bus.answer($0) }

        // 3. Into the guest. From now on the mux keeps the machine's routing table; a message gets its GSI when the
        //    guest unmasks its entry of the table.
        //    The line is level-triggered: it stays up until the guest is done with the device. Where KVM resamples, all
        //    of that happens in the kernel; elsewhere the mux drives the pin, and the driver's doorbell is the end.
        var capabilities = try INTxCapabilities(of: guest.virtualMachine)
        capabilities.endOfInterruptCallback = true
        let choice = try INTxWay.best(for: capabilities)
        let attached = try remote.perform { (mux) throws(MuxError) in
            // Counted, because two rings may share one wake-up, and this program compares numbers.
            _ = try mux.addSource(wires.messageDoorbell.number, tag: Wires.messageTag, delivery: .counted)
            _ = try mux.addSource(wires.lineDoorbell.number, tag: Wires.lineTag, delivery: .counted)
            try mux.attach(guest: guest.virtualMachine, routes: .irqChipDefaults())
            let attached = try mux.attach(device)
            let pin = GSI(GuestProgram.pin)
            let service: INTxService =
                choice.way == .kernelResample
                ? .kernelResample(machine: guest.virtualMachine.number, gsi: pin)
                : .userEOI(pin: try INTxPin(gsi: pin, of: guest.virtualMachine))
            let function = try GuestFunction(attached, line: service, because: choice, on: &mux)
            let pci = PCIBus(device, remote, function)
            wires.pci.withLock { $0 = pci }
            return attached
        }

        // 4. Out of the guest: doorbells beside the device's registers. Writing them is no exit.
        let messageBell = try guest.virtualMachine.assignIOEventFD(
            wires.messageDoorbell, at: Map.doorbell(Map.messageDoorbell))
        let lineBell = try guest.virtualMachine.assignIOEventFD(
            wires.lineDoorbell, at: Map.doorbell(Map.lineDoorbell))

        // 5. Run. The guest ends by its power button, or by an access that nobody answers.
        try guest.start()
        let end = try guest.awaitEnd(milliseconds: patienceMilliseconds)
        if let refusal = wires.refusal.withLock({ $0 }) { throw refusal }
        if let refusal = try remote.perform({ _ in wires.pci.withLock { $0 }?.refusal }) { throw refusal }
        guard end == .poweredOff else { throw MicroGuestError.died(end) }
        wires.awaitCalm(messages: UInt64(rounds + GuestProgram.maskedMessages), rounds: UInt64(rounds))

        // 6. The account, and everything undone. The doorbells removed themselves at the end of the scope as well.
        let ledger = try remote.ledger(attached)
        try messageBell.deassign()
        try lineBell.deassign()
        _ = running.stop()
        return Report(
            rounds: UInt64(rounds), taken: GuestProgram.taken(by: guest), way: choice, bus: bus, wires: wires,
            ledger: ledger)
    }
}

/// The eventfds, and what several threads use.
final class Wires: Sendable {
    static let messageTag: UInt64 = 1
    static let lineTag: UInt64 = 2

    /// Why something was not done for the guest, where it was refused.
    let refusal = Mutex<(any Error)?>(nil)
    /// Signalled by KVM when the guest rings.
    let messageDoorbell: EventFD
    let lineDoorbell: EventFD

    /// The device as the guest has it, once there is a machine.
    let pci = Mutex<PCIBus?>(nil)

    let messageRings = Atomic<UInt64>(0)
    let lineRings = Atomic<UInt64>(0)

    init() throws(RingError) {
        messageDoorbell = try EventFD()
        lineDoorbell = try EventFD()
    }

    /// The guest has ended; its last rings may still be on their way through the loop.
    func awaitCalm(messages: UInt64, rounds: UInt64) {
        for _ in 0..<2000 {
            if messageRings.load(ordering: .acquiring) >= messages, lineRings.load(ordering: .acquiring) >= rounds {
                return
            }
            usleep(1000)
        }
    }
}
