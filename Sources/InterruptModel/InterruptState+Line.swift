extension InterruptState {
    /// How INTx was served to the guest when the state was saved.
    public enum LineWay: UInt8, CaseIterable, Sendable {
        /// Not at all: its signals went to the process that had it.
        case none = 0
        /// By a resampling irqfd of the kernel's.
        case kernelResample = 1
        /// By an irqfd, acknowledged by the run loop's KVM_EXIT_IOAPIC_EOI.
        case ioapicBroadcast = 2
        /// By the loop, acknowledged by the VMM.
        case userEOI = 3
        /// By the loop, acknowledged when the guest's trapped accesses ceased.
        case mappingToggle = 4

        /// Whether signals went past the loop: whether one was in service is the interrupt controller's to know then.
        public var bypasses: Bool { self == .kernelResample || self == .ioapicBroadcast }
    }

    /// What is kept of a function's INTx: what the guest sees of it in configuration space, and where its cycle of
    /// firing and acknowledging stood.
    ///
    /// The pin's level is not part of it. It is the device's, which fires again where it still asserts; what the
    /// guest's interrupt controllers keep of it their own state has.
    public struct Line: Equatable, Sendable {
        /// Pin, DisINTx, the device's level as it was last known, and the Interrupt Line register.
        public var registers: INTxRegisters
        /// How it was served.
        public var way: LineWay
        /// The guest was told, and had not acknowledged.
        public var isInService: Bool
        /// Masked by its owner, who is not the guest.
        public var isMasked: Bool
        /// The guest could be told: a level may have come up meanwhile, or have been on its way. It is told once when
        /// the state is loaded.
        public var mayHaveLost: Bool
        /// Its account; what is pending is told, or held again, when the state is loaded.
        public var account: Ledger

        /// A line of its parts.
        public init(
            _ registers: INTxRegisters, way: LineWay, isInService: Bool = false, isMasked: Bool = false,
            mayHaveLost: Bool = false, account: Ledger = Ledger()
        ) {
            self.registers = registers
            self.way = way
            self.isInService = isInService
            self.isMasked = isMasked
            self.mayHaveLost = mayHaveLost
            self.account = account
        }

        /// Whether all of it can be true of one line at once.
        public var isConsistent: Bool {
            guard 1...4 ~= registers.pin else { return false }
            // Under DisINTx, and past the loop, nothing is in service that anybody here could acknowledge.
            if isInService, registers.isDisabled || way.bypasses { return false }
            return !mayHaveLost || !(registers.isDisabled || isMasked || isInService)
        }
    }
}

// In the blob, 8 bytes and an account: pin (1), bits (1), Interrupt Line (1), way (1), zeros (4).
extension InterruptState.Line {
    private static var disabledBit: UInt64 { 1 }
    private static var assertedBit: UInt64 { 2 }
    private static var inServiceBit: UInt64 { 4 }
    private static var maskedBit: UInt64 { 8 }
    private static var lostBit: UInt64 { 16 }

    func encode(into writer: inout StateWriter) {
        var bits: UInt64 = 0
        if registers.isDisabled { bits |= Self.disabledBit }
        if registers.isAsserted { bits |= Self.assertedBit }
        if isInService { bits |= Self.inServiceBit }
        if isMasked { bits |= Self.maskedBit }
        if mayHaveLost { bits |= Self.lostBit }
        writer.put(UInt64(registers.pin), 1)
        writer.put(bits, 1)
        writer.put(UInt64(registers.line), 1)
        writer.put(UInt64(way.rawValue), 1)
        writer.put(0, 4)
        writer.put(account)
    }

    init(decoding reader: inout StateReader) throws(StateError) {
        let start = reader.offset
        let pin = try reader.take(1)
        guard 1...4 ~= pin else { throw StateError(.badVector, at: start) }
        let bits = try reader.take(1)
        guard bits < 32 else { throw StateError(.reservedBits, at: start + 1) }
        let number = try reader.take(1)
        guard let way = InterruptState.LineWay(rawValue: UInt8(try reader.take(1))), try reader.take(4) == 0 else {
            throw StateError(.reservedBits, at: start + 3)
        }
        let registers = INTxRegisters(
            pin: UInt8(pin), isDisabled: bits & Self.disabledBit != 0, isAsserted: bits & Self.assertedBit != 0,
            line: UInt8(number))
        self.init(
            registers, way: way, isInService: bits & Self.inServiceBit != 0, isMasked: bits & Self.maskedBit != 0,
            mayHaveLost: bits & Self.lostBit != 0, account: try reader.takeLedger())
        guard isConsistent else { throw StateError(.contradiction, at: start + 1) }
    }
}
