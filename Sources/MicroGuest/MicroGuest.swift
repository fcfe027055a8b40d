internal import CKernel
public import EventRing
public import KVM
internal import Synchronization

/// A doorbell of the small guest: the eventfd that its handler rings, and KVM's registration of it.
///
/// Use it no longer than the guest.
public final class GuestDoorbell: Sendable {
    /// Signalled by the guest, inside the kernel.
    public let eventFD: EventFD
    private let registration: IOEventFD

    /// The number of the eventfd.
    public var number: Int32 { eventFD.number }

    init(_ machine: borrowing VirtualMachine, _ port: UInt16, match: UInt64? = nil) throws(MicroGuestError) {
        let eventFD: EventFD
        do { eventFD = try EventFD() } catch { throw .eventFD(error) }
        let address = DoorbellAddress(.port(port), width: .two, match: match)
        do { registration = try machine.assignIOEventFD(eventFD, at: address) } catch { throw .kvm(error) }
        self.eventFD = eventFD
    }
}

/// A guest of a few hundred bytes in a real virtual machine, which closes the loop: an interrupt goes in (irqfd),
/// its handler runs, a doorbell rings (ioeventfd).
///
/// One vCPU in real mode with 64 KiB of memory, on a thread of its own; it sleeps (`hlt`) between interrupts.
/// Message `i` has GSI 24 + `i`, routed by one commit to a vector of its own in the local APIC (x2APIC mode), and
/// its handler rings `doorbell(i)`. The pin is line 5 of the PIC. A guest that dies says why in ``exit``, signals
/// ``ended``, and ends every wait. x86-64 only. All calls may be made from any thread.
public final class MicroGuest: Sendable {
    /// What the guest does with line 5 of the PIC.
    public enum Pin: Equatable, Sendable {
        /// Nothing.
        case none
        /// Edge-triggered: for an irqfd without resampling.
        case edge
        /// Level-triggered: for an irqfd with resampling.
        case level
    }

    /// Whether this processor can run the guest: its code is for x86.
    public static var isSupported: Bool {
        #if arch(x86_64)
            true
        #else
            false
        #endif
    }

    /// The GSI of the pin.
    public static let pinGSI: UInt32 = 5
    /// The most message vectors that one guest has.
    public static let mostMessages = ClosedLoop.mostMessages

    /// The machine, to assign irqfds and more doorbells to.
    public let virtualMachine: VirtualMachine
    /// How many message vectors the guest serves.
    public let messageVectors: Int
    private let memory: Mapping
    private let cpu: VirtualCPU
    private let messages: [GuestDoorbell]
    private let pin: GuestDoorbell?
    private let ready: GuestDoorbell?
    private let routing: Mutex<GSIRouting>

    /// Makes the guest of the closed loop; it does not run yet.
    ///
    /// - Parameters:
    ///   - messageVectors: How many MSI vectors, at most ``mostMessages``.
    ///   - pin: What to do with PIC line 5; needs the full irqchip.
    ///   - irqChip: Full, or split for messages only.
    ///   - endOfInterrupt: Called on the vCPU's thread with the vector of each `KVM_EXIT_IOAPIC_EOI`, which a split
    ///     irqchip gives for level-triggered messages of GSIs below 24. Without it such an exit ends the guest.
    public convenience init(
        messageVectors: Int = 1, pin: Pin = .none, irqChip: IRQChip = .full,
        endOfInterrupt: (@Sendable (UInt8) -> Void)? = nil
    ) throws(MicroGuestError) {
        guard (0...ClosedLoop.mostMessages).contains(messageVectors) else {
            throw .tooManyMessages(most: ClosedLoop.mostMessages)
        }
        guard pin == .none || irqChip == .full else { throw .pinNeedsFullIRQChip }
        try self.init(
            image: .closedLoop(messageVectors: messageVectors, pin: pin), irqChip: irqChip,
            messageVectors: messageVectors, hasPin: pin != .none, tellsReady: true, onAccess: nil,
            endOfInterrupt: endOfInterrupt)
    }

    /// Makes a guest of another program, without doorbells and routes of its own; it does not run yet.
    ///
    /// - Parameters:
    ///   - onAccess: The VMM's side of the guest's accesses to ports and addresses that no doorbell answers for.
    ///   Without
    ///     one, or when it does not answer, such an access is the guest's end.
    ///   - endOfInterrupt: Told of `KVM_EXIT_IOAPIC_EOI`, on the virtual CPU's thread.
    public convenience init(
        image: GuestImage, irqChip: IRQChip = .full, onAccess: GuestAccessHandler? = nil,
        endOfInterrupt: (@Sendable (UInt8) -> Void)? = nil
    ) throws(MicroGuestError) {
        try self.init(
            image: image, irqChip: irqChip, messageVectors: 0, hasPin: false, tellsReady: false, onAccess: onAccess,
            endOfInterrupt: endOfInterrupt)
    }

    private init(
        image: GuestImage, irqChip: IRQChip, messageVectors: Int, hasPin: Bool, tellsReady: Bool,
        onAccess: GuestAccessHandler?, endOfInterrupt: (@Sendable (UInt8) -> Void)?
    ) throws(MicroGuestError) {
        guard MicroGuest.isSupported else { throw .needsX86 }
        let device = try MicroGuest.orKVMError { () throws(KVMError) in try KVMDevice() }
        let machine = try MicroGuest.makeMachine(device, irqChip)
        memory = try MicroGuest.addMemory(to: machine, image)
        cpu = try VirtualCPU(
            device, machine, entry: image.entry, stack: GuestImage.stackTop, withAPIC: irqChip != .none,
            onAccess: onAccess, endOfInterrupt: endOfInterrupt)
        var doorbells: [GuestDoorbell] = []
        for message in 0..<messageVectors {
            doorbells.append(try GuestDoorbell(machine, ClosedLoop.messagePort, match: UInt64(message)))
        }
        messages = doorbells
        pin = hasPin ? try GuestDoorbell(machine, ClosedLoop.pinPort) : nil
        ready = tellsReady ? try GuestDoorbell(machine, ClosedLoop.readyPort) : nil
        let routing = try MicroGuest.commitRoutes(messageVectors, irqChip, to: machine)
        self.routing = Mutex(routing)
        self.messageVectors = messageVectors
        virtualMachine = machine
    }

    deinit { stop() }

    /// The GSI of message `message`, for an irqfd.
    public func gsi(forMessage message: Int) -> UInt32 {
        precondition((0..<messageVectors).contains(message), "no such message")
        return MicroGuest.gsi(forMessage: message)
    }

    /// The route of message `message`, as it was committed.
    public func route(forMessage message: Int) -> GSIRoute {
        precondition((0..<messageVectors).contains(message), "no such message")
        return MicroGuest.route(forMessage: message)
    }

    /// The 32-bit word at a guest-physical address, which the guest may be writing. What the guest wrote before it is
    /// seen as well.
    ///
    /// - Parameter address: A multiple of four in the guest's 64 KiB.
    public func load(_ address: UInt16) -> UInt32 { memory.load(Int(address)) }

    /// Writes the 32-bit word at a guest-physical address. A guest that sees it sees what was written before as well.
    ///
    /// - Parameter address: A multiple of four in the guest's 64 KiB.
    public func store(_ value: UInt32, at address: UInt16) { memory.store(value, Int(address)) }

    /// Adds to the 32-bit word at a guest-physical address, as one step for all threads; wraps. A guest that sees it
    /// sees what was written before as well.
    ///
    /// - Parameter address: A multiple of four in the guest's 64 KiB.
    public func add(_ value: UInt32, at address: UInt16) { memory.add(value, Int(address)) }

    /// What the handler of message `message` rings.
    public func doorbell(_ message: Int) -> GuestDoorbell { messages[message] }

    /// What the handler of the pin rings; `nil` without a pin.
    public var pinDoorbell: GuestDoorbell? { pin }

    /// Works on the machine's routing table, alone; commit to ``virtualMachine``.
    public func withRouting<Result: ~Copyable>(
        _ body: (inout GSIRouting) throws(KVMError) -> sending Result
    ) throws(KVMError) -> sending Result {
        try routing.withLock { routing throws(KVMError) in try body(&routing) }
    }

    /// Starts the vCPU's thread and waits until the guest has set itself up. Once only.
    public func start() throws(MicroGuestError) {
        try cpu.start()
        if let ready { _ = try wait(for: ready, "sign of life", milliseconds: 10_000) }
    }

    /// Stops the vCPU's thread and waits for it. Again, or without a start, is harmless.
    public func stop() { cpu.stop() }

    /// Why the guest is not running any more; `nil` while it runs, or before its start.
    public var exit: GuestExit? { cpu.exit }

    /// An eventfd that becomes readable when the guest has ended; wait for it beside a doorbell.
    public var ended: Int32 { cpu.ended.number }

    /// Waits for a doorbell of this guest and takes its count.
    ///
    /// - Returns: How often it was rung since it was last taken; at least 1.
    /// - Throws: `died` when the guest has ended and the doorbell is silent, `timedOut`.
    public func awaitDoorbell(
        _ doorbell: GuestDoorbell, milliseconds: Int32 = 10_000
    ) throws(MicroGuestError) -> UInt64 {
        try wait(for: doorbell, "ring of its doorbell", milliseconds: milliseconds)
    }

    /// Waits until the guest has ended by itself.
    ///
    /// - Throws: `timedOut` when it still runs.
    public func awaitEnd(milliseconds: Int32 = 10_000) throws(MicroGuestError) -> GuestExit {
        var result: Int32
        repeat { result = irqmux_kvm_wait_for_either(ended, -1, milliseconds) } while result == -EINTR
        guard let exit else { throw .timedOut(waitingFor: "end") }
        return exit
    }

    private func wait(
        for doorbell: GuestDoorbell, _ what: StaticString, milliseconds: Int32
    ) throws(MicroGuestError) -> UInt64 {
        while true {
            let result = irqmux_kvm_wait_for_either(doorbell.number, ended, milliseconds)
            if result == -EINTR { continue }
            guard result >= 0 else { throw .system(operation: "poll", errno: -result) }
            let count: UInt64
            do { count = try doorbell.eventFD.take() } catch { throw .eventFD(error) }
            if count > 0 { return count }
            if let exit { throw .died(exit) }
            if result == 0 { throw .timedOut(waitingFor: what) }
        }
    }
}
