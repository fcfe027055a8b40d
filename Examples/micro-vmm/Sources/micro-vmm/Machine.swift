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
        let running = try MuxThread(handler: Completions(wires))
        let remote = running.remote
        let attached = try remote.perform { (mux) throws(MuxError) in
            // Counted, because two rings may share one wake-up, and this program compares numbers.
            _ = try mux.addSource(wires.messageDoorbell.number, tag: Wires.messageTag, delivery: .counted)
            _ = try mux.addSource(wires.lineDoorbell.number, tag: Wires.lineTag, delivery: .counted)
            _ = try mux.addSource(wires.resample.number, tag: Wires.resampleTag, delivery: .counted)
            return try mux.attach(device)
        }

        // 2. The guest: one virtual CPU, 64 KiB, an irqchip in the kernel. What KVM cannot answer goes to the bus.
        let bus = Bus(device, attached, remote, wires)
        let guest = try MicroGuest(image: GuestProgram.image(rounds: rounds)) { bus.answer($0) }

        // 3. Into the guest. The route comes before the irqfd: KVM swallows signals of a GSI that has none.
        var gsis = GSIAllocator()
        let gsi = try gsis.allocate()
        try guest.withRouting { (routing) throws(KVMError) in
            try routing.add(.message(address: 0xfee0_0000, data: UInt32(GuestProgram.messageVector)), for: gsi)
            try routing.commit(to: guest.virtualMachine)
        }
        let messageIRQ = try guest.virtualMachine.assignIRQFD(wires.message, gsi: gsi)
        // Level-triggered: the line stays up until the guest's EOI; then KVM lowers it and signals `resample`.
        let lineIRQ = try guest.virtualMachine.assignIRQFD(
            wires.line, gsi: UInt32(GuestProgram.pin), resample: wires.resample)

        // 4. Out of the guest: doorbells beside the device's registers. Writing them is no exit.
        let messageBell = try guest.virtualMachine.assignIOEventFD(
            wires.messageDoorbell, at: Map.doorbell(Map.messageDoorbell))
        let lineBell = try guest.virtualMachine.assignIOEventFD(
            wires.lineDoorbell, at: Map.doorbell(Map.lineDoorbell))

        // 5. Run. The guest ends by its power button, or by an access that nobody answers.
        try guest.start()
        let end = try guest.awaitEnd(milliseconds: patienceMilliseconds)
        if let failure = bus.failure { throw failure }
        guard end == .poweredOff else { throw MicroGuestError.died(end) }
        wires.awaitCalm(rounds: UInt64(rounds))

        // 6. The account, and everything undone. These four removed themselves at the end of the scope as well.
        let ledger = try remote.ledger(attached)
        try messageBell.deassign()
        try lineBell.deassign()
        try messageIRQ.deassign()
        try lineIRQ.deassign()
        let completions = running.stop().handler
        return Report(
            rounds: UInt64(rounds), taken: GuestProgram.taken(by: guest), bus: bus, wires: wires, ledger: ledger,
            messageLatency: completions.messageLatency.snapshot(), lineLatency: completions.lineLatency.snapshot())
    }
}

/// The eventfds, and what several threads count.
final class Wires: Sendable {
    static let messageTag: UInt64 = 1
    static let lineTag: UInt64 = 2
    static let resampleTag: UInt64 = 3

    /// Signalled by the mux, bound to the guest's interrupts.
    let message: EventFD
    let line: EventFD
    /// Signalled by KVM when the guest has ended the line's interrupt.
    let resample: EventFD
    /// Signalled by KVM when the guest rings.
    let messageDoorbell: EventFD
    let lineDoorbell: EventFD

    /// When the guest asked for each interrupt, and which vector the line is, while it is connected.
    let messageStamps = Mutex<[UInt64]>([])
    let lineStamps = Mutex<[UInt64]>([])
    let connectedLine = Mutex<VectorID?>(nil)

    let messageRings = Atomic<UInt64>(0)
    let lineRings = Atomic<UInt64>(0)
    let unmasks = Atomic<UInt64>(0)

    init() throws(RingError) {
        message = try EventFD()
        line = try EventFD()
        resample = try EventFD()
        messageDoorbell = try EventFD()
        lineDoorbell = try EventFD()
    }

    /// The guest has ended; its last ring and its last EOI may still be on their way through the loop.
    func awaitCalm(rounds: UInt64) {
        for _ in 0..<2000 {
            if messageRings.load(ordering: .acquiring) >= rounds, lineRings.load(ordering: .acquiring) >= rounds,
                unmasks.load(ordering: .acquiring) >= rounds
            {
                return
            }
            usleep(1000)
        }
    }
}
