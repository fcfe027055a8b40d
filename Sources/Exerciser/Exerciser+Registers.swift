internal import CKernel
internal import InterruptModel
internal import Synchronization

/// BAR 0: what each register reads and does. docs/exerciser.md describes the map.
extension Exerciser {
    /// Writes a register and keeps in ERROR whether it took the value.
    func write(_ register: Register, _ value: UInt32) {
        var errno: Int32 = 0
        do {
            try carryOut(register, value)
        } catch {
            errno = error.errno
        }
        core.state.withLock { $0.registers.error = errno }
    }

    private func carryOut(_ register: Register, _ value: UInt32) throws(DeviceError) {
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
        case .stampAddressLow: core.stamps.address = core.stamps.address.replacingLow(value)
        case .stampAddressHigh: core.stamps.address = core.stamps.address.replacingHigh(value)
        case .stampControl:
            guard value <= 1 else { throw Self.badValue }
            core.stamps.isEnabled = value == 1
        default:
            guard core.state.withLock({ $0.registers.set(register, value) }) else { throw Self.badValue }
        }
    }

    private static var badValue: DeviceError {
        DeviceError("write a register", errno: EINVAL, remedy: "the register takes no such value (docs/exerciser.md)")
    }

    private var features: UInt32 {
        var bits: UInt32 = 0
        for index in IRQIndex.allCases where (core.state.withLock { $0.interrupts.info(index)?.count ?? 0 }) > 0 {
            bits |= 1 << index.rawValue
        }
        // Bit 8: plans with an interval; bit 9: sequence number and time of the last signal; bit 10: the same written
        // to the guest's memory; bit 11: doorbells.
        return bits | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11
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

    /// The register's value; 0 for a counter of a vector that the device does not have.
    func read(_ register: Register) -> UInt32 {
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
        case .raisedLow: return counter { $0.raised.load(ordering: .relaxed) }
        case .lastSequenceLow: return latchLast()
        case .stampAddressLow: return UInt32(truncatingIfNeeded: core.stamps.address)
        case .stampAddressHigh: return UInt32(core.stamps.address >> 32)
        case .stampControl: return core.stamps.isEnabled ? 1 : 0
        case .stampedLow: return latch(core.stamps.written)
        case .unstampedLow: return latch(core.stamps.failed)
        case .raise, .go, .stop, .reset, .intxAssert, .intxAcknowledge: return 0
        default: return core.state.withLock { $0.registers.get(register) }
        }
    }

    private func latch(_ value: UInt64) -> UInt32 { core.state.withLock { $0.registers.latch(value) } }

    private func counter(_ value: (borrowing VectorRecord) -> UInt64) -> UInt32 {
        core.state.withLock { state in
            guard core.table.has(state.registers.vector) else { return state.registers.latch(0) }
            return state.registers.latch(core.table.with(state.registers.vector, value))
        }
    }

    private func latchLast() -> UInt32 {
        core.state.withLock { state in
            let vector = state.registers.vector
            let last = core.table.has(vector) ? core.table.with(vector) { $0.last() } : (sequence: 0, intendedNs: 0)
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
        case .error: UInt32(bitPattern: error)
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
