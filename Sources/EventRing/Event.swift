/// What `EventLoop.next` hands out.
public struct Event: Sendable {
    /// What happened.
    public enum Kind: Sendable, Equatable {
        /// The source was signalled.
        case signal
        /// A timer fired; `count` is how many intervals have passed.
        case timer
        /// The source cannot be listened to any more (`errno`); it is disarmed and remains to be removed.
        case failed(errno: Int32)
    }

    /// What happened.
    public let kind: Kind
    /// The source; meaningless for a timer.
    public let source: SourceID
    // The order matters to whoever copies both of `count` and `ticks`: they come in different stores, and one load of
    // the two, which is what the compiler makes of neighbours, waits for both to leave the store buffer.

    /// How many signals the event stands for, where the delivery counts; 0 where it does not.
    public let count: UInt64
    /// What the source or timer was added with.
    public let tag: UInt64
    /// When the event was handed out, in ticks of the loop's clock. In a batch of quick events one stamp serves up to
    /// eight of them, so it may be about a microsecond old.
    public let ticks: UInt64
}
