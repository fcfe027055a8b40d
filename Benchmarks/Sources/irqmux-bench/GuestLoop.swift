internal import CEngines
internal import EventRing
internal import KVM
internal import MicroGuest

/// A guest whose only handler rings a doorbell: what the harness sends in comes back at the first of the sources.
final class GuestLoop {
    private static let vector: UInt8 = 0x40
    private static let port: UInt16 = 0x510

    // They go in this order: what was assigned to the machine before the machine, the eventfd last.
    private let irqfd: IRQFD
    private let doorbell: IOEventFD
    private let guest: MicroGuest
    private let interruptFD: EventFD

    /// Makes the guest and starts it. Its virtual CPU's thread runs where its maker does at that moment.
    init(ringing sources: Sources, guestCPU: Int32, ownCPU: Int32) throws {
        do {
            guest = try MicroGuest(image: Self.image)
            interruptFD = try EventFD()
            let gsi = GSIAllocator.first
            let guest = guest
            try guest.withRouting { (routing) throws(KVMError) in
                try routing.add(.message(address: 0xfee0_0000, data: UInt32(Self.vector)), for: gsi)
                try routing.commit(to: guest.virtualMachine)
            }
            irqfd = try guest.virtualMachine.assignIRQFD(interruptFD, gsi: gsi)
            doorbell = try guest.virtualMachine.assignIOEventFD(
                sources.first, at: DoorbellAddress(.port(Self.port), width: .two))
            _ = bench_pin(guestCPU)
            defer { _ = bench_pin(ownCPU) }
            try guest.start()
        } catch {
            throw EngineError(engine: "the guest (\(error))", operation: "create", errno: 0)
        }
    }

    /// Raises the guest's interrupt.
    func interrupt() throws { try interruptFD.signal() }

    private static var image: GuestImage {
        var image = GuestImage()
        var code = RealModeAssembler(origin: GuestImage.codeOrigin)
        code.sti()
        code.haltForEver()
        image.setVector(vector, to: code.here)
        code.writeWord(1, port: port)
        code.endOfInterruptX2APIC()
        code.iret()
        image.place(code)
        return image
    }
}
