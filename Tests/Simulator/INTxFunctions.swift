public import InterruptModel

/// The INTx of several functions whose pins lead to a few lines of the machine: registers on one side, levels on the
/// other.
///
/// A function drives its line while it is asserted and DisINTx is clear; a line is high while any of its functions
/// drives it. Each change says what became of the line, so that the caller drives it once for all its functions. What
/// the guest sees in the simulator's line world; the product's lines know no registers, for DisINTx is the device's.
/// A pure value with one place a function; one owner at a time.
public struct INTxFunctions: Equatable, Sendable {
    private var registers: [INTxRegisters?]
    private var levels: PinLevels

    /// What a change did to a line of the machine.
    public struct Effect: Equatable, Sendable {
        /// The line; meaningless when nothing changed.
        public var gsi: UInt32
        /// What became of it.
        public var change: PinLevels.Change

        /// What became of a line.
        public init(gsi: UInt32, change: PinLevels.Change) {
            self.gsi = gsi
            self.change = change
        }
    }

    /// Places for so many functions, none of them attached.
    public init(count: Int) {
        registers = [INTxRegisters?](repeating: nil, count: count)
        levels = PinLevels(lines: count)
    }

    /// Puts a function with a pin of 0 to 4 on a line. One that was there before leaves its line first.
    ///
    /// - Returns: What became of the line that it left.
    @discardableResult
    public mutating func attach(_ function: Int, pin: UInt8, gsi: UInt32) -> Effect {
        let left = detach(function)
        registers[function] = INTxRegisters(pin: pin)
        levels.attach(function, to: gsi)
        return left
    }

    /// Takes a function away; its line is let go.
    @discardableResult
    public mutating func detach(_ function: Int) -> Effect {
        let gsi = levels.pin(of: function) ?? 0
        registers[function] = nil
        return Effect(gsi: gsi, change: levels.detach(function))
    }

    /// The registers of a function; `nil` when none is attached.
    public func registers(of function: Int) -> INTxRegisters? { registers[function] }

    /// Whether a line is high.
    public func isHigh(_ gsi: UInt32) -> Bool { levels.isHigh(gsi) }

    /// The device's level changed.
    public mutating func setAsserted(_ function: Int, _ asserted: Bool) -> Effect {
        changing(function) { _ = $0.setAsserted(asserted) }
    }

    /// The guest wrote configuration space; see `INTxRegisters.write`.
    public mutating func write(_ function: Int, offset: UInt64, width: Int, value: UInt64) -> Effect {
        changing(function) { _ = $0.write(offset: offset, width: width, value: value) }
    }

    /// The function was reset.
    public mutating func reset(_ function: Int) -> Effect { changing(function) { _ = $0.reset() } }

    /// Puts a function's registers over what its device answered; see `INTxRegisters.read`.
    public func read(_ function: Int, offset: UInt64, width: Int, over value: UInt64) -> UInt64 {
        registers[function]?.read(offset: offset, width: width, over: value) ?? value
    }

    /// The guest ended the interrupt of a line: each function that still asserts is told to `visit`, to be unmasked, so
    /// that a device behind it fires again.
    public func endOfInterrupt(_ gsi: UInt32, visit: (_ function: Int) -> Void) {
        for index in registers.indices where levels.pin(of: index) == gsi && registers[index]?.drives == true {
            visit(index)
        }
    }

    private mutating func changing(_ function: Int, _ change: (inout INTxRegisters) -> Void) -> Effect {
        guard var now = registers[function], let gsi = levels.pin(of: function) else {
            return Effect(gsi: 0, change: .none)
        }
        change(&now)
        registers[function] = now
        return Effect(gsi: gsi, change: now.drives ? levels.assert(function) : levels.deassert(function))
    }
}
