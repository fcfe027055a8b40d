internal import InterruptModel

/// The registers of BAR 0 and their offsets. docs/exerciser.md describes each.
enum Register: UInt64, CaseIterable {
    case magic = 0x000
    case version = 0x004
    case features = 0x008
    case vectors = 0x00c
    case index = 0x010
    case number = 0x014
    case width = 0x018
    case pattern = 0x01c
    case count = 0x020
    case raise = 0x024
    case intervalLow = 0x028
    case intervalHigh = 0x02c
    case seedLow = 0x030
    case seedHigh = 0x034
    case go = 0x038
    case stop = 0x03c
    case status = 0x040
    case reset = 0x044
    case doneLow = 0x048
    case doneHigh = 0x04c
    case lateLow = 0x050
    case lateHigh = 0x054
    case signalledLow = 0x060
    case signalledHigh = 0x064
    case pendedLow = 0x068
    case pendedHigh = 0x06c
    case mergedLow = 0x070
    case mergedHigh = 0x074
    case droppedLow = 0x078
    case droppedHigh = 0x07c
    case lastSequenceLow = 0x080
    case lastSequenceHigh = 0x084
    case lastTimeLow = 0x088
    case lastTimeHigh = 0x08c
    case intxAssert = 0x090
    case intxAcknowledge = 0x094
    case intxStatus = 0x098
    case error = 0x09c
    case raisedLow = 0x0a0
    case raisedHigh = 0x0a4
    case stampAddressLow = 0x0a8
    case stampAddressHigh = 0x0ac
    case stampControl = 0x0b0
    case stampedLow = 0x0b8
    case stampedHigh = 0x0bc
    case unstampedLow = 0x0c0
    case unstampedHigh = 0x0c4

    /// "IRQX", as its bytes stand in memory.
    static let magicNumber: UInt32 = 0x5851_5249
    /// The version of this map; a change that breaks readers raises it.
    static let mapVersion: UInt32 = 1
}

/// What the registers hold: the next run's parameters, and the halves of 64-bit values that a read has latched.
struct RegisterFile: Equatable, Sendable {
    var index = IRQIndex.msix
    var number: UInt32 = 0
    var width: UInt32 = 1
    var pattern = RaisePlan.Pattern.single
    var count: UInt32 = 1
    var interval: UInt64 = 0
    var seed: UInt64 = 0
    /// The errno that the last write of a register earned; 0 when it was taken.
    var error: Int32 = 0
    /// The high half of the 64-bit counter whose low half was read last.
    var latchedHigh: UInt32 = 0
    /// The time that belongs to the sequence number read last.
    var latchedTime: UInt64 = 0

    var vector: Vector { Vector(index, number) }

    var plan: RaisePlan {
        RaisePlan(vector, width: width, pattern, count: UInt64(count), intervalNs: interval, seed: seed)
    }

    /// Keeps the high half of `value` and returns the low one, so that two 32-bit reads give one value.
    mutating func latch(_ value: UInt64) -> UInt32 {
        latchedHigh = UInt32(value >> 32)
        return UInt32(truncatingIfNeeded: value)
    }
}

extension UInt64 {
    /// The value with its low half replaced.
    func replacingLow(_ half: UInt32) -> UInt64 { self & ~0xffff_ffff | UInt64(half) }
    /// The value with its high half replaced.
    func replacingHigh(_ half: UInt32) -> UInt64 { self & 0xffff_ffff | UInt64(half) << 32 }
}
