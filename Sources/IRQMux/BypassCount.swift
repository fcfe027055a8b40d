/// How many of a vector's signals went past the loop, of what its device counted. Nobody sees them go, but the device
/// counts, and what the user eventfd got is known: the difference must lie within what the device counted between
/// swaps.
///
/// 24 bytes. How much the device counts during swaps, which nobody can tell, is kept up to 2³¹ a swap and 2³² in all.
struct BypassCount: BitwiseCopyable {
    /// In stretches that have ended: at least so many, and so many more at most. None where the device was silent
    /// during the swaps.
    private var fewest: UInt64 = 0
    private var doubt: UInt32 = 0
    /// Of the stretch under way: how much the device counted during the swap that began it, and the bit that says that
    /// there is one.
    private var swap: UInt32 = 0
    /// The device's count before that swap.
    private var before: UInt64 = 0

    private static var liveBit: UInt32 { 1 << 31 }

    /// Whether the device signals the bypass eventfd.
    var isLive: Bool { swap & Self.liveBit != 0 }

    /// Whether anything can have gone this way.
    var isUsed: Bool { isLive || fewest > 0 || doubt > 0 }

    /// The device's count after the swap that began the stretch under way.
    private var after: UInt64 { before &+ UInt64(swap & ~Self.liveBit) }

    /// The device signals the bypass eventfd; it had counted so much before it was told to, and so much after.
    mutating func begin(before: UInt64, after: UInt64) {
        self.before = before
        swap = UInt32(min(after &- before, UInt64(Self.liveBit - 1))) | Self.liveBit
    }

    /// The device signals the user eventfd from now on.
    mutating func end(before: UInt64, after: UInt64) {
        guard isLive else { return }
        let least = before &- min(self.after, before)
        let most = after &- min(self.before, after)
        swap = 0
        fewest &+= least
        doubt = UInt32(clamping: UInt64(doubt) &+ (most &- min(least, most)))
    }

    /// How many were bypassed in all, of `unseen` that the user eventfd did not get, while the device's count was
    /// between `before` and `after`.
    func total(_ unseen: UInt64, before: UInt64, after: UInt64) -> UInt64 {
        let least = fewest &+ (isLive ? before &- min(self.after, before) : 0)
        let limit = fewest &+ UInt64(doubt) &+ (isLive ? after &- min(self.before, after) : 0)
        return min(max(unseen, least), limit)
    }
}
