/// INTx as a guest sees it in configuration space: its pin, DisINTx, the status bit and the Interrupt Line register.
///
/// Laid over the configuration space of a device, byte by byte, so that any width works: `read` puts the true bits over
/// what the device answered, `write` says what a write does to the pin. The status bit tells of the device's level even
/// while DisINTx keeps it from the pin. A pure value; one owner at a time.
///
/// Source: PCI Local Bus 3.0, 6.2.2 (command bit 10), 6.2.3 (status bit 3), 6.2.4.
public struct INTxRegisters: Equatable, Sendable, BitwiseCopyable {
    /// The pin: 1 to 4 for INTA# to INTD#; 0 for none, and then nothing is ever driven.
    public let pin: UInt8
    /// DisINTx: the guest keeps the function from its pin.
    public private(set) var isDisabled = false
    /// The device's level, which the status bit tells.
    public private(set) var isAsserted = false
    /// Interrupt Line, which only software reads and writes.
    public private(set) var line: UInt8 = 0xFF

    /// A function after reset, with a pin of 0 to 4; what is beyond has none.
    public init(pin: UInt8) { self.pin = pin <= 4 ? pin : 0 }

    /// Registers as a saved state has them; with a pin of 0 to 4.
    init(pin: UInt8, isDisabled: Bool, isAsserted: Bool, line: UInt8) {
        self.init(pin: pin)
        self.isDisabled = isDisabled
        self.isAsserted = isAsserted
        self.line = line
    }

    /// Whether the function drives its pin.
    public var drives: Bool { pin != 0 && isAsserted && !isDisabled }

    /// The pin of the slot's bridge that a pin of a device reaches, 0 to 3: each slot is turned by one.
    ///
    /// Source: PCI-to-PCI Bridge Architecture 1.2, 9.1.
    public func swizzled(slot: UInt8) -> UInt8? { pin == 0 ? nil : (pin - 1 + slot) & 3 }

    /// The device's level changed, or was found out.
    public mutating func setAsserted(_ asserted: Bool) -> PinLevels.Change {
        changing { $0.isAsserted = asserted }
    }

    /// The function was reset: DisINTx is clear and the device asserts nothing. Interrupt Line goes back to unknown.
    public mutating func reset() -> PinLevels.Change {
        changing { $0 = INTxRegisters(pin: $0.pin) }
    }

    /// Puts the registers over what the device answered to a read.
    ///
    /// - Parameters:
    ///   - offset: In configuration space, any.
    ///   - width: 1 to 8 bytes; others give `value` back.
    ///   - value: What the device answered.
    public func read(offset: UInt64, width: Int, over value: UInt64) -> UInt64 {
        guard 1...8 ~= width else { return value }
        var value = value
        for index in 0..<width {
            let shift = UInt64(index * 8)
            let byte = UInt8(truncatingIfNeeded: value >> shift)
            let mine = merged(offset &+ UInt64(index), byte)
            value = value & ~(0xFF << shift) | UInt64(mine) << shift
        }
        return value
    }

    /// A guest wrote configuration space. Read-only bits stay as they are.
    ///
    /// - Returns: What became of the pin.
    public mutating func write(offset: UInt64, width: Int, value: UInt64) -> PinLevels.Change {
        guard 1...8 ~= width else { return .none }
        return changing { registers in
            for index in 0..<width {
                let byte = UInt8(truncatingIfNeeded: value >> UInt64(index * 8))
                switch offset &+ UInt64(index) {
                case 0x05: registers.isDisabled = byte & 0x04 != 0
                case 0x3C: registers.line = byte
                default: break
                }
            }
        }
    }

    private func merged(_ offset: UInt64, _ byte: UInt8) -> UInt8 {
        switch offset {
        case 0x05: byte & ~0x04 | (isDisabled ? 0x04 : 0)
        case 0x06: byte & ~0x08 | (isAsserted ? 0x08 : 0)
        case 0x3C: line
        case 0x3D: pin
        default: byte
        }
    }

    private mutating func changing(_ change: (inout INTxRegisters) -> Void) -> PinLevels.Change {
        let before = drives
        change(&self)
        return drives == before ? .none : drives ? .rises : .falls
    }
}
