public import InterruptModel

/// Where a vector's signals go.
public enum Route: Equatable, Sendable {
    /// To this process: `Mux.next` hands out an event for each notification.
    case handler
    /// To other eventfds, one at least, each of which is signalled once for each notification. The mux keeps duplicates
    /// of the descriptors; the caller may close his. They should be O_NONBLOCK: a blocking one that is full stalls the
    /// loop.
    case fanOut([Int32])
    /// Nowhere yet: kept, and delivered when the vector gets another route.
    case parked
}

/// Names a vector that is connected to a mux. Stays invalid once disconnected, even when its place is used again.
public struct VectorID: Hashable, Sendable {
    let slot: UInt32
    let generation: UInt32

    /// An opaque number, for logs and for carrying an identity through C.
    public var rawValue: UInt64 { UInt64(generation) << 32 | UInt64(slot) }
}

/// Names a device that is attached to a mux. Stays invalid once detached, even when its place is used again.
public struct DeviceID: Hashable, Sendable {
    let place: Int
    let generation: UInt32
}

/// What `Mux.next` hands out.
public struct VectorEvent: Sendable {
    /// What happened.
    public enum Kind: Sendable, Equatable {
        /// The vector's interrupt: one or more signals.
        case interrupt
        /// A timer of `Mux.addTimer` fired; `count` is how many intervals have passed.
        case timer
        /// An eventfd of `Mux.addSource` was signalled.
        case source
        /// The watchdog found something about the vector; `Mux.watchdogReport` tells more.
        case watchdog(WatchdogVerdict)
        /// The vector or source can no longer be served (`errno`): its eventfd was closed from outside, or the device
        /// refused to unmask.
        case failed(errno: Int32)
    }

    /// What happened.
    public let kind: Kind
    /// The vector's identity; meaningless for timers and sources.
    public let id: VectorID
    /// The vector's index and number; INTx 0 for timers and sources.
    public let vector: Vector
    /// What the vector, source or timer was added with.
    public let tag: UInt64
    /// How many signals the event stands for, where they are counted (INTx, timers); 0 where not.
    public let count: UInt64
    /// When the event was handed out, in ticks of `Mux.time`.
    public let ticks: UInt64
}

/// What a mux calls for each event when it runs by itself.
public protocol VectorHandler: ~Copyable {
    /// Called on the loop's thread, once an event. May change routes and masks, connect and disconnect, and stop the
    /// mux.
    mutating func handle(_ event: VectorEvent, on mux: inout Mux)
}
