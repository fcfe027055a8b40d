public import InterruptModel

/// The number of a guest's interrupt, as KVM's routing table knows it.
public typealias GSI = UInt32

/// Where a vector's signals go.
public enum Route: Equatable, Sendable {
    /// To this process: `Mux.next` hands out an event for each notification.
    case handler
    /// To other eventfds, one at least, each of which is signalled once for each notification. The mux keeps duplicates
    /// of the descriptors; the caller may close his. They should be O_NONBLOCK: a blocking one that is full stalls the
    /// loop.
    case fanOut([Int32])
    /// Into the guest, past this process (bypass): the device signals an eventfd that is bound to the GSI as an irqfd.
    /// The loop is not woken and sees nothing. The GSI needs a committed route; see `Mux.allocateGSI`.
    case guest(GSI)
    /// Into the guest by way of the loop, which stamps each notification and forwards it to the same irqfd: what a
    /// bypass cannot be, measured.
    case detour(GSI)
    /// Nowhere yet: kept, and delivered when the vector gets another route.
    case parked

    /// The GSI of a route into the guest.
    var gsi: GSI? {
        switch self {
        case .guest(let gsi), .detour(let gsi): gsi
        case .handler, .fanOut, .parked: nil
        }
    }

    /// The route without what belongs to it.
    var kind: VectorEntry.RouteKind {
        switch self {
        case .handler: .handler
        case .fanOut: .fanOut
        case .guest: .guest
        case .detour: .detour
        case .parked: .parked
        }
    }
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
        /// The guest rang a pair's doorbell, once or more; the event's tag is the pair's.
        case doorbell
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

/// What `Mux.next(into:)` found.
package enum Handed {
    /// Nothing: a wait is due.
    case nothing
    /// An interrupt, which was written into the record.
    case interrupt
    /// Something else, which `takeOther` has.
    case other
}

/// What is different from one interrupt to the next, in the order in which the C library's event has it.
package struct InterruptRecord: BitwiseCopyable {
    /// `VectorID.rawValue` and one, so that none is null.
    package var handle: UInt64 = 0
    /// As in `VectorEvent`.
    package var tag: UInt64 = 0
    /// As in `VectorEvent`.
    package var count: UInt64 = 0
    /// As in `VectorEvent`.
    package var ticks: UInt64 = 0
    /// The index's number in VFIO.
    package var index: UInt32 = 0
    /// The vector's number within the index.
    package var number: UInt32 = 0

    /// Nothing yet.
    package init() {}
}

/// What a mux calls for each event when it runs by itself.
public protocol VectorHandler: ~Copyable {
    /// Called on the loop's thread, once an event. May change routes and masks, connect and disconnect, and stop the
    /// mux.
    mutating func handle(_ event: VectorEvent, on mux: inout Mux)
}
