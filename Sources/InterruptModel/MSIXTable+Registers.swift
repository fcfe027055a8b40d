// What the guest reads and writes. Illegal accesses, by PCI's words undefined: reads give ones, writes are ignored.
extension MSIXTable {
    // MARK: Message control

    /// The message control register: table size − 1 in bits 10:0, function mask in 14, enable in 15.
    public var messageControl: UInt16 {
        UInt16(count - 1) | (isFunctionMasked ? MSIXTable.functionMaskBit : 0) | (isEnabled ? MSIXTable.enableBit : 0)
    }

    /// The guest read bytes of configuration space that begin `place` bytes behind message control's first one, or
    /// before it where negative: 1, 2 or 4, aligned; anything else reads ones.
    ///
    /// - Parameter others: What the bytes read that are not the register's.
    public func readMessageControl(at place: Int, width: Int, others: UInt64 = .max) -> UInt64 {
        let ones = RegisterAccess.ones(width: width)
        guard RegisterAccess.isLegal(fromMessageControl: place, width: width) else { return ones }
        var value = others & ones
        for byte in 0..<width {
            guard let shift = MSIXTable.controlShift(place &+ byte) else { continue }
            value = value & ~(0xff << UInt64(byte * 8)) | UInt64(messageControl >> shift & 0xff) << UInt64(byte * 8)
        }
        return value
    }

    /// What message control becomes where the guest writes bytes of configuration space, as `readMessageControl` reads
    /// them; `nil` where none of them is the register's, or the access is not one that PCI has.
    public func messageControl(writing value: UInt64, at place: Int, width: Int) -> UInt16? {
        guard RegisterAccess.isLegal(fromMessageControl: place, width: width) else { return nil }
        var control: UInt16?
        for byte in 0..<width {
            guard let shift = MSIXTable.controlShift(place &+ byte) else { continue }
            let written = UInt16(truncatingIfNeeded: value >> UInt64(byte * 8)) & 0xff
            control = (control ?? messageControl) & ~(0xff << shift) | written << shift
        }
        return control
    }

    /// Where in message control the byte stands that is `place` bytes behind its first one.
    private static func controlShift(_ place: Int) -> UInt16? { place == 0 ? 0 : place == 1 ? 8 : nil }

    /// The guest wrote the message control register. Bits other than 14 and 15 are read-only.
    ///
    /// Switching MSI-X off gives up what pends: the bits are cleared, and the sink is told `disable`. Masks and
    /// messages stay as the guest wrote them.
    /// - Returns: Whether `synchronise` has something to do.
    @discardableResult
    public mutating func writeMessageControl(_ value: UInt16) -> Bool {
        let enabled = value & MSIXTable.enableBit != 0
        let masked = value & MSIXTable.functionMaskBit != 0
        guard enabled != isEnabled || masked != isFunctionMasked else {
            statistics.unchangedWrites &+= 1
            return isDirty
        }
        if isEnabled, !enabled {
            if isCarriedEnabled { wasDisabled = true }
            for index in 0..<pending.count { pending[index] = 0 }
        }
        isEnabled = enabled
        isFunctionMasked = masked
        isDirty = isEnabled || isCarriedEnabled
        touchEveryVector()
        return isDirty
    }

    /// Vectors whose state may depend on enable and function mask: those in use, and those that wait to be.
    private mutating func touchEveryVector() {
        for index in 0..<entries.count where entries[index].inUse || !entries[index].isMasked {
            dirty[index >> 6] |= 1 << UInt64(index & 63)
        }
    }

    // MARK: Table

    /// Reads the table: `width` 4 or 8, aligned. Anything else reads ones.
    public mutating func readTable(offset: UInt64, width: Int) -> UInt64 {
        guard RegisterAccess.isLegal(offset: offset, width: width, size: tableSize) else {
            statistics.illegalAccesses &+= 1
            return RegisterAccess.ones(width: width)
        }
        let index = Int(offset / MSIXTable.entrySize)
        let low = doubleWord(index, offset & 12)
        return width == 4 ? UInt64(low) : UInt64(low) | UInt64(doubleWord(index, offset & 8 | 4)) << 32
    }

    /// Writes the table: `width` 4 or 8, aligned. Anything else is ignored. A QWORD is one change: a message and its
    /// mask bit are never seen half written.
    ///
    /// - Returns: Whether `synchronise` has something to do.
    @discardableResult
    public mutating func writeTable(offset: UInt64, width: Int, _ value: UInt64) -> Bool {
        guard RegisterAccess.isLegal(offset: offset, width: width, size: tableSize) else {
            statistics.illegalAccesses &+= 1
            return isDirty
        }
        let index = Int(offset / MSIXTable.entrySize)
        var entry = entries[index]
        MSIXTable.store(UInt32(truncatingIfNeeded: value), at: offset & 12, in: &entry)
        if width == 8 { MSIXTable.store(UInt32(truncatingIfNeeded: value >> 32), at: offset & 8 | 4, in: &entry) }
        let isMessageChanged = entry.message != entries[index].message
        let isMaskChanged = entry.isMasked != entries[index].isMasked
        guard isMessageChanged || isMaskChanged else {
            statistics.unchangedWrites &+= 1
            return isDirty
        }
        if isMessageChanged { statistics.messageChanges &+= 1 }
        if isMaskChanged { statistics.maskChanges &+= 1 }
        entries[index] = entry
        // A message written under the mask is looked at when the mask goes.
        let isMasked = isFunctionMasked || entry.isMasked
        let isLive = entry.inUse && !entry.isHeld
        guard isEnabled, !isMasked || isLive || entry.isRefused else { return isDirty }
        dirty[index >> 6] |= 1 << UInt64(index & 63)
        isDirty = true
        return true
    }

    /// One DWORD of an entry. Bits 31:1 of vector control are reserved and read 0, bits 1:0 of the address too.
    private func doubleWord(_ index: Int, _ register: UInt64) -> UInt32 {
        switch register {
        case 0: UInt32(truncatingIfNeeded: entries[index].address)
        case 4: UInt32(truncatingIfNeeded: entries[index].address >> 32)
        case 8: entries[index].data
        default: entries[index].isMasked ? 1 : 0
        }
    }

    private static func store(_ value: UInt32, at register: UInt64, in entry: inout Entry) {
        switch register {
        case 0: entry.address = entry.address & ~0xffff_ffff | UInt64(value & ~3)
        case 4: entry.address = entry.address & 0xffff_ffff | UInt64(value) << 32
        case 8: entry.data = value
        default: entry.isMasked = value & 1 != 0
        }
    }

    // MARK: Pending bits

    /// Reads the pending bit array: `width` 4 or 8, aligned. Anything else reads ones. Writes are ignored by PCI's
    /// rules, so there is no function for them.
    ///
    /// - Parameter kept: 64 bits, for vectors `firstVector(ofPendingAt: offset)` and up, of signals that the sink keeps
    ///   for masked vectors; 0 where the table itself keeps everything (device side). Bits of unmasked vectors are
    ///   ignored: nothing pends that may be delivered.
    public mutating func readPending(offset: UInt64, width: Int, kept: UInt64 = 0) -> UInt64 {
        guard RegisterAccess.isLegal(offset: offset, width: width, size: pendingSize) else {
            statistics.illegalAccesses &+= 1
            return RegisterAccess.ones(width: width)
        }
        let word = Int(offset >> 3)
        var bits = pending[word]
        var left = kept
        while left != 0 {
            let bit = UInt64(left.trailingZeroBitCount)
            left &= left - 1
            if isEnabled, isMasked(UInt32(word * 64) + UInt32(bit)) { bits |= 1 << bit }
        }
        if word * 64 + 64 > Int(count) { bits &= (1 << UInt64(Int(count) & 63)) - 1 }
        guard width == 4 else { return bits }
        return bits >> ((offset & 4) * 8) & 0xffff_ffff
    }

    /// The first of the 64 vectors that `readPending`'s `kept` stands for.
    public func firstVector(ofPendingAt offset: UInt64) -> UInt32 {
        UInt32(truncatingIfNeeded: min(offset, pendingSize) >> 3) * 64
    }

    /// Whether the table's own pending bit of a vector is set.
    public func isPending(_ vector: UInt32) -> Bool {
        vector < count && pending[Int(vector >> 6)] & 1 << UInt64(vector & 63) != 0
    }

    /// The device raised a vector: the message to send now, or the pending bit is set.
    public mutating func raise(_ vector: UInt32) -> MessageRaise {
        guard vector < count, isEnabled else { return .disabled }
        guard isMasked(vector) else { return .send(entries[Int(vector)].message) }
        setPending(vector)
        return .pending
    }

    /// Sets a pending bit, as `raise` on a masked vector does; of an unmasked one it is delivered by the next
    /// `synchronise`. No effect while MSI-X is off.
    public mutating func setPending(_ vector: UInt32) {
        guard vector < count, isEnabled else { return }
        pending[Int(vector >> 6)] |= 1 << UInt64(vector & 63)
        guard !isMasked(vector) else { return }
        dirty[Int(vector >> 6)] |= 1 << UInt64(vector & 63)
        isDirty = true
    }

    /// Clears a pending bit, because whatever raised it has been satisfied otherwise.
    public mutating func clearPending(_ vector: UInt32) {
        guard vector < count else { return }
        pending[Int(vector >> 6)] &= ~(1 << UInt64(vector & 63))
    }
}
