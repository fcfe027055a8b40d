/// How many of a vector's signals went past the loop, of what its device counted. Nobody sees them go, but the device
/// counts, and what the user eventfd got is known: the difference must lie within what the device counted between
/// swaps.
struct BypassCount: BitwiseCopyable {
    /// Whether the device signals the bypass eventfd.
    private(set) var isLive = false
    // In stretches that have ended: at least, at most. The same where the device was silent during the swaps.
    private var fewest: UInt64 = 0
    private var most: UInt64 = 0
    // The device's count when the stretch under way began: before the swap, after it.
    private var before: UInt64 = 0
    private var after: UInt64 = 0

    /// Whether anything can have gone this way.
    var isUsed: Bool { isLive || most > 0 }

    /// The device signals the bypass eventfd; it had counted so much before it was told to, and so much after.
    mutating func begin(before: UInt64, after: UInt64) {
        isLive = true
        self.before = before
        self.after = after
    }

    /// The device signals the user eventfd from now on.
    mutating func end(before: UInt64, after: UInt64) {
        guard isLive else { return }
        isLive = false
        fewest &+= before &- min(self.after, before)
        most &+= after &- min(self.before, after)
    }

    /// How many were bypassed in all, of `unseen` that the user eventfd did not get, while the device's count was
    /// between `before` and `after`.
    func total(_ unseen: UInt64, before: UInt64, after: UInt64) -> UInt64 {
        let least = fewest &+ (isLive ? before &- min(self.after, before) : 0)
        let limit = most &+ (isLive ? after &- min(self.before, after) : 0)
        return min(max(unseen, least), limit)
    }
}
