// What the guest reads and writes, by byte lanes as a configuration cycle has them.
extension MSIRegisters {
    private static let enableBit: UInt32 = 1 << 16
    private static let is64BitBit: UInt32 = 1 << 23
    private static let isMaskableBit: UInt32 = 1 << 24
    private static let countField: UInt32 = 7 << 20

    /// The message control register: enable in bit 0, vectors the function can have in 3:1 and those enabled in 6:4 (as
    /// powers of two), 64-bit in 7, per-vector masking in 8.
    public var messageControl: UInt16 { UInt16(truncatingIfNeeded: doubleWord(0) >> 16) }

    private func isLegal(_ offset: Int, _ width: Int) -> Bool {
        (width == 1 || width == 2 || width == 4) && offset >= 0 && offset & (width - 1) == 0
            && offset <= ((layout.size + 3) & ~3) - width
    }

    /// Reads the capability: `width` 1, 2 or 4, aligned, from its first byte (the capability's ID). Anything else reads
    /// ones; bytes after the structure's last in the same DWORD read 0.
    ///
    /// - Parameter kept: One bit a vector, of signals that the sink keeps for masked vectors.
    public mutating func read(offset: Int, width: Int, kept: UInt32 = 0) -> UInt32 {
        guard isLegal(offset, width) else {
            statistics.illegalAccesses &+= 1
            return UInt32(truncatingIfNeeded: RegisterAccess.ones(width: width))
        }
        var value = doubleWord(offset & ~3)
        if offset & ~3 == pendingOffset { value |= kept & maskBits & enabledBits }
        value >>= UInt32(offset & 3) * 8
        return width == 4 ? value : value & (1 << UInt32(width * 8) - 1)
    }

    /// Writes the capability: `width` 1, 2 or 4, aligned. Read-only bits keep their value; anything else is ignored.
    ///
    /// - Returns: Whether `synchronise` has something to do.
    @discardableResult
    public mutating func write(offset: Int, width: Int, _ value: UInt32) -> Bool {
        guard isLegal(offset, width) else {
            statistics.illegalAccesses &+= 1
            return isDirty
        }
        let lane = UInt32(offset & 3) * 8
        let lanes = (width == 4 ? UInt32.max : 1 << UInt32(width * 8) - 1) << lane
        let register = offset & ~3
        let old = doubleWord(register)
        store(old & ~lanes | value << lane & lanes, at: register)
        if doubleWord(register) == old {
            statistics.unchangedWrites &+= 1
        } else if register > 0, isEnabled {
            isDirty = true
        }
        return isDirty
    }

    /// Offsets of what comes after the address, by layout; −1 for what is not there.
    private var dataOffset: Int { layout.is64Bit ? 12 : 8 }
    private var maskOffset: Int { layout.isMaskable ? dataOffset + 4 : -1 }
    private var pendingOffset: Int { layout.isMaskable ? dataOffset + 8 : -1 }

    var enabledBits: UInt32 { isEnabled ? UInt32(truncatingIfNeeded: UInt64(1) << enabledVectors - 1) : 0 }
    private var allBits: UInt32 { UInt32(truncatingIfNeeded: UInt64(1) << layout.vectors - 1) }

    private func doubleWord(_ register: Int) -> UInt32 {
        switch register {
        case 0:
            0x05 | UInt32(next) << 8 | (isEnabled ? MSIRegisters.enableBit : 0)
                | UInt32(layout.vectors.trailingZeroBitCount) << 17 | UInt32(enabledVectors.trailingZeroBitCount) << 20
                | (layout.is64Bit ? MSIRegisters.is64BitBit : 0)
                | (layout.isMaskable ? MSIRegisters.isMaskableBit : 0)
        case 4: UInt32(truncatingIfNeeded: address)
        case dataOffset: UInt32(data)
        case 8: UInt32(truncatingIfNeeded: address >> 32)
        case maskOffset: maskBits
        case pendingOffset: pendingBits
        default: 0
        }
    }

    private mutating func store(_ value: UInt32, at register: Int) {
        switch register {
        case 0: storeControl(value)
        case 4: storeMessage(address & ~0xffff_ffff | UInt64(value & ~3), data)
        case dataOffset: storeMessage(address, UInt16(truncatingIfNeeded: value))
        case 8: storeMessage(address & 0xffff_ffff | UInt64(value) << 32, data)
        case maskOffset:
            if value & allBits != maskBits { statistics.maskChanges &+= 1 }
            maskBits = value & allBits
        default: break
        }
    }

    private mutating func storeMessage(_ address: UInt64, _ data: UInt16) {
        if address != self.address || data != self.data { statistics.messageChanges &+= 1 }
        self.address = address
        self.data = data
    }

    /// Enable and the number of vectors. More than the function can have is taken for all of them (the encodings 6 and
    /// 7 are reserved). Another number while enabled begins anew.
    private mutating func storeControl(_ value: UInt32) {
        let power = min((value & MSIRegisters.countField) >> 20, UInt32(layout.vectors.trailingZeroBitCount))
        let vectors: UInt32 = 1 << power
        let enabled = value & MSIRegisters.enableBit != 0
        guard enabled != isEnabled || vectors != enabledVectors else { return }
        if isEnabled {
            if isCarriedEnabled { wasDisabled = true }
            pendingBits = 0
        }
        isEnabled = enabled
        enabledVectors = vectors
        isDirty = isEnabled || isCarriedEnabled
    }

    // MARK: The device's side

    /// The device raised a vector: the message to send now, or the pending bit is set. One that the guest did not
    /// enable is `disabled`: a device has to make do with those that it was given.
    public mutating func raise(_ vector: UInt32) -> MessageRaise {
        guard vector < enabledVectors, isEnabled else { return .disabled }
        guard isMasked(vector) else { return .send(message(vector)) }
        setPending(vector)
        return .pending
    }

    /// Sets a pending bit; of an unmasked vector it is delivered by the next `synchronise`. No effect while MSI is off.
    public mutating func setPending(_ vector: UInt32) {
        guard vector < enabledVectors, isEnabled else { return }
        pendingBits |= 1 << vector
        if !isMasked(vector) { isDirty = true }
    }

    /// Clears a pending bit, because whatever raised it has been satisfied otherwise.
    public mutating func clearPending(_ vector: UInt32) {
        guard vector < 32 else { return }
        pendingBits &= ~(1 << vector)
    }
}
