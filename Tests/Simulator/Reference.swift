/// What a guest may expect, in as few words as PCI allows: no eventfds, no routes, no loop.
///
/// Written without a look at the machine it judges. What a device raised is owed until an interrupt that stands for it
/// is received; an interrupt is received only while the vector is unmasked, stands for at least one raise and for none
/// twice, and carries the entry's message. A guest that is told nothing after the last raise has lost something.
struct Reference {
    struct Entry {
        var address: UInt64 = 0
        var data: UInt32 = 0
        var isMasked = true
        var owed: UInt64 = 0
        /// Raised, and nothing received since.
        var isUntold = false
        /// After a restore one interrupt may come that stands for nothing.
        var isKickDue = false
        var raised: UInt64 = 0
        var received: UInt64 = 0
        var merged: UInt64 = 0
        var givenUp: UInt64 = 0
    }

    var entries: [Entry]
    var isEnabled = false
    var isFunctionMasked = false

    init(vectors: UInt32) { entries = [Entry](repeating: Entry(), count: Int(vectors)) }

    func isMasked(_ vector: Int) -> Bool { !isEnabled || isFunctionMasked || entries[vector].isMasked }

    /// Message control; switching off gives up what is owed.
    mutating func control(enabled: Bool, functionMask: Bool) {
        if isEnabled, !enabled { giveUp() }
        isEnabled = enabled
        isFunctionMasked = functionMask
    }

    mutating func write(_ vector: Int, _ register: UInt32, _ value: UInt32) {
        switch register {
        case 0: entries[vector].address = entries[vector].address & ~0xFFFF_FFFF | UInt64(value & ~3)
        case 1: entries[vector].address = entries[vector].address & 0xFFFF_FFFF | UInt64(value) << 32
        case 2: entries[vector].data = value
        default: entries[vector].isMasked = value & 1 == 1
        }
    }

    func read(_ vector: Int, _ register: UInt32) -> UInt32 {
        switch register {
        case 0: UInt32(truncatingIfNeeded: entries[vector].address)
        case 1: UInt32(truncatingIfNeeded: entries[vector].address >> 32)
        case 2: entries[vector].data
        default: entries[vector].isMasked ? 1 : 0
        }
    }

    mutating func raise(_ vector: Int) {
        entries[vector].raised += 1
        if isEnabled {
            entries[vector].owed += 1
            entries[vector].isUntold = true
        } else {
            entries[vector].givenUp += 1
        }
    }

    /// An interrupt that stands for so many raises reached the guest. Returns what is wrong with that.
    ///
    /// - Parameters:
    ///   - isExcused: It may stand for nothing: the device may have lost something.
    ///   - earlier: What was so before the guest's access under way. What was raised before it may carry the message of
    ///     then: MSI has one for all vectors, which are served one after the other.
    ///   - isAmid: The device raised amid the access: it may have been before the mask, too.
    mutating func receive(
        _ vector: Int, address: UInt64, data: UInt32, standingFor count: UInt64, excused isExcused: Bool,
        earlier: Reference?, amid isAmid: Bool
    ) -> String? {
        if isMasked(vector), !isAmid || earlier?.isMasked(vector) ?? true {
            return "vector \(vector) reached the guest while masked"
        }
        if !carries(vector, address, data), !(earlier?.carries(vector, address, data) ?? false) {
            return "vector \(vector) reached the guest with data \(data) of another message"
        }
        if count == 0, entries[vector].isKickDue {
            entries[vector].isKickDue = false
            entries[vector].isUntold = false
            return nil
        }
        if count == 0, isExcused { return nil }
        guard count > 0, entries[vector].owed >= count else {
            return "vector \(vector) reached the guest for \(count) raises, and \(entries[vector].owed) were owed"
        }
        entries[vector].received += 1
        entries[vector].merged += count - 1
        entries[vector].owed -= count
        entries[vector].isUntold = false
        entries[vector].isKickDue = false
        return nil
    }

    private func carries(_ vector: Int, _ address: UInt64, _ data: UInt32) -> Bool {
        address == entries[vector].address && data == entries[vector].data
    }

    /// The state was restored, and the vector was open: it is told once, whatever was on its way.
    mutating func expectKick(_ vector: Int) { entries[vector].isKickDue = true }

    mutating func reset() {
        giveUp()
        isEnabled = false
        isFunctionMasked = false
        for index in entries.indices {
            entries[index].address = 0
            entries[index].data = 0
            entries[index].isMasked = true
        }
    }

    private mutating func giveUp() {
        for index in entries.indices {
            entries[index].givenUp += entries[index].owed
            entries[index].owed = 0
            entries[index].isUntold = false
            entries[index].isKickDue = false
        }
    }

    /// The pending bits as they have to read, 64 from `word` on.
    func pendingBits(_ word: Int) -> UInt64 {
        var bits: UInt64 = 0
        for index in word * 64..<min(word * 64 + 64, entries.count) where isEnabled && isMasked(index) {
            if entries[index].owed > 0 { bits |= 1 << UInt64(index & 63) }
        }
        return bits
    }
}
