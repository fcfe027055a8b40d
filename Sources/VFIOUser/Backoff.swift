/// When to try what only sometimes pays: always while it does, and after failures in a row ever more seldom, down to
/// once in 64 occasions.
struct Backoff: Sendable {
    private static let longest: UInt32 = 64

    private var interval: UInt32 = 1
    private var left: UInt32 = 1

    /// Whether it is to be tried on this occasion; then `settle` says whether it paid.
    mutating func isDue() -> Bool {
        if left > 0 { left -= 1 }
        return left == 0
    }

    mutating func settle(paid: Bool) {
        interval = paid ? 1 : min(interval * 2, Self.longest)
        left = interval
    }
}
