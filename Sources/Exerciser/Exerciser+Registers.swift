internal import CKernel
public import InterruptModel
internal import Synchronization

/// BAR 0: 32-bit registers, little-endian, at multiples of four. docs/exerciser.md describes the map.
extension Exerciser {
    /// Reads a register of BAR 0 (region 0).
    ///
    /// - Throws: `EINVAL` for another region, a width other than 4, an offset without a readable register, or a counter
    ///   of a vector that the device does not have.
    public func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 {
        let register = try Self.register(region, offset, count, "read a register")
        guard let value = read(register) else {
            throw DeviceError("read a register", errno: EINVAL, remedy: "select a vector that the device has")
        }
        return UInt64(value)
    }

    /// Writes a register of BAR 0 (region 0). Only the lower 32 bits of `value` count.
    ///
    /// - Throws: `EINVAL` for another region, a width other than 4, an offset without a writable register, or a value
    ///   the register does not take; `EBUSY` for GO while a run is in progress; `EAGAIN` when no thread can be started.
    public func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {
        let register = try Self.register(region, offset, count, "write a register")
        let value = UInt32(truncatingIfNeeded: value)
        switch register {
        case .go: if value != 0 { try start(core.state.withLock { $0.registers.plan }) }
        case .stop: if value != 0 { stop() }
        case .reset: if value != 0 { try reset() }
        case .raise:
            let vector = core.state.withLock { $0.registers.vector }
            guard core.table.has(vector) else { throw Self.badValue }
            if value != 0 { raise(vector) }
        case .intxAssert:
            guard configuration.intx == 1 else { throw Self.badValue }
            if value != 0 { assertINTx() }
        case .intxAcknowledge:
            guard configuration.intx == 1 else { throw Self.badValue }
            if value != 0 { acknowledgeINTx() }
        default:
            guard core.state.withLock({ $0.registers.set(register, value) }) else { throw Self.badValue }
        }
    }

    private static var badValue: DeviceError {
        DeviceError("write a register", errno: EINVAL, remedy: "the register takes no such value (docs/exerciser.md)")
    }

    private static func register(
        _ region: UInt32, _ offset: UInt64, _ count: Int, _ operation: StaticString
    ) throws(DeviceError) -> Register {
        guard region == 0, count == 4, let register = Register(rawValue: offset) else {
            throw DeviceError(operation, errno: EINVAL, remedy: "registers are 32 bits wide, in region 0")
        }
        return register
    }

    private var features: UInt32 {
        var bits: UInt32 = 0
        for index in IRQIndex.allCases where (core.state.withLock { $0.interrupts.info(index)?.count ?? 0 }) > 0 {
            bits |= 1 << index.rawValue
        }
        // Bit 8: plans with an interval; bit 9: sequence number and time of the last signal.
        return bits | 1 << 8 | 1 << 9
    }

    private var status: UInt32 {
        (isBusy ? 1 : 0) | (ticksLate > 0 ? 2 : 0)
    }

    private var intxStatus: UInt32 {
        core.state.withLock { state in
            (state.interrupts.isLineAsserted ? 1 : 0) | (state.interrupts.isINTxMasked ? 2 : 0)
                | (state.interrupts.activeType == .intx ? 4 : 0) | (state.interrupts.isINTxDisabledByCommand ? 8 : 0)
        }
    }

    /// The register's value; `nil` for a counter of a vector that the device does not have.
    private func read(_ register: Register) -> UInt32? {
        switch register {
        case .magic: return Register.magicNumber
        case .version: return Register.mapVersion
        case .features: return features
        case .vectors:
            return core.state.withLock { $0.interrupts.info($0.registers.index)?.count ?? 0 }
        case .status: return status
        case .doneLow: return latch(runner.done)
        case .lateLow: return latch(runner.late)
        case .intxStatus: return intxStatus
        case .signalledLow: return counter { $0.signalled.load(ordering: .acquiring) }
        case .pendedLow: return counter { $0.pended.load(ordering: .relaxed) }
        case .mergedLow: return counter { $0.merged.load(ordering: .relaxed) }
        case .droppedLow: return counter { $0.ledger(pending: false).dropped }
        case .lastSequenceLow: return latchLast()
        case .raise, .go, .stop, .reset, .intxAssert, .intxAcknowledge: return 0
        default: return core.state.withLock { $0.registers.get(register) }
        }
    }

    private func latch(_ value: UInt64) -> UInt32 { core.state.withLock { $0.registers.latch(value) } }

    private func counter(_ value: (borrowing VectorRecord) -> UInt64) -> UInt32? {
        core.state.withLock { state in
            guard core.table.has(state.registers.vector) else { return nil }
            return state.registers.latch(core.table.with(state.registers.vector, value))
        }
    }

    private func latchLast() -> UInt32? {
        core.state.withLock { state in
            guard core.table.has(state.registers.vector) else { return nil }
            let last = core.table.with(state.registers.vector) { $0.last() }
            state.registers.latchedTime = last.intendedNs
            return state.registers.latch(last.sequence)
        }
    }
}

extension RegisterFile {
    /// The value of a register that only holds one.
    func get(_ register: Register) -> UInt32 {
        switch register {
        case .index: index.rawValue
        case .number: number
        case .width: width
        case .pattern: pattern.rawValue
        case .count: count
        case .intervalLow: UInt32(truncatingIfNeeded: interval)
        case .intervalHigh: UInt32(interval >> 32)
        case .seedLow: UInt32(truncatingIfNeeded: seed)
        case .seedHigh: UInt32(seed >> 32)
        case .lastTimeLow: UInt32(truncatingIfNeeded: latchedTime)
        case .lastTimeHigh: UInt32(latchedTime >> 32)
        default: latchedHigh
        }
    }

    /// Sets a register that only holds a value; false for a value it does not take and for one that cannot be written.
    mutating func set(_ register: Register, _ value: UInt32) -> Bool {
        switch register {
        case .index:
            guard let index = IRQIndex(rawValue: value) else { return false }
            self.index = index
        case .number: number = value
        case .width:
            guard value > 0 else { return false }
            width = value
        case .pattern:
            guard let pattern = RaisePlan.Pattern(rawValue: value) else { return false }
            self.pattern = pattern
        case .count: count = value
        case .intervalLow: interval = interval.replacingLow(value)
        case .intervalHigh: interval = interval.replacingHigh(value)
        case .seedLow: seed = seed.replacingLow(value)
        case .seedHigh: seed = seed.replacingHigh(value)
        default: return false
        }
        return true
    }
}
