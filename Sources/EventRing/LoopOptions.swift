/// How a loop waits when nothing is ready.
public enum WaitMode: Sendable, Equatable {
    /// Sleep in the kernel. The least processor time; a wake-up costs a context switch.
    case block
    /// Never sleep. The least latency; takes a whole processor.
    case spin
    /// Spin for a budget that grows on hits and shrinks on misses, up to `limit` nanoseconds, then sleep.
    case adaptive(limit: UInt64)

    /// Adaptive with a limit of 50 µs, about the cost of a sleep and a wake-up on a virtual machine.
    public static var adaptive: WaitMode { .adaptive(limit: 50_000) }
}

/// What a loop is made with. Everything is fixed at creation; nothing grows afterwards.
public struct LoopOptions: Sendable {
    /// The most sources at a time, 1 to 32768. Each takes 64 bytes here and 64 bytes of the kernel's completion queue.
    public var capacity: Int = 1024
    /// The most timers at a time.
    public var timers: Int = 64
    /// How the loop waits.
    public var waiting: WaitMode = .block
    /// The best tier to try; lower ones are for tests and comparisons.
    public var bestTier: RingTier = .deferred
    /// Whether another event loop drives this one: then `pollableDescriptor` becomes readable when `process` has work,
    /// and the tier is `cooperative` at best.
    public var embedded = false
    /// Whether each event is stamped and its delay recorded in `LoopRemote.dispatchDelays`.
    public var instrumented = true
    /// How many completions the ring holds; 0 chooses four times the capacity. A small number is for tests of overflow.
    public var completions: Int = 0

    /// How many eventfds can be registered to be signalled in batches (`EventLoop.setTarget`); 0 for none.
    public var targets: Int = 0

    /// The defaults.
    public init() {}
}
