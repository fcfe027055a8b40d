public import EventRing

/// What a mux is made with. Everything is fixed at creation; nothing grows afterwards.
public struct MuxOptions: Sendable {
    /// How a level-triggered interrupt is acknowledged.
    public enum INTxAcknowledgement: Sendable {
        /// By the mux, when the handler has returned: for handlers that quiet the device themselves.
        case afterHandler
        /// By `Mux.acknowledge`: for owners that learn later, from a guest's EOI, that the device is quiet.
        case explicit
    }

    /// How the loop is made. Its capacity bounds vectors and other sources together.
    public var loop = LoopOptions()
    /// The most fan-out targets of all vectors together.
    public var fanOutTargets = 256
    /// The most devices at a time, at most 255.
    public var devices = 16
    /// The most pairs (doorbell and completion) at a time, at most 4096.
    public var pairs = 16
    /// How INTx is acknowledged.
    public var intxAcknowledgement = INTxAcknowledgement.afterHandler
    /// After so many notifications of a vector whose gate is shut the loop stops listening to it, so that a storm on a
    /// masked vector costs nothing; the signals stay in the eventfd.
    public var silenceAfter: UInt64 = 64

    /// The defaults.
    public init() {}
}
