/// One step that brings the world behind a guest's MSI or MSI-X registers to what the registers say.
///
/// A state machine emits them in an order in which nothing is lost; whoever carries them out (the mux against VFIO and
/// KVM, a simulator against its model, a software device against its own bus) never has to look at the registers.
public enum MessageOperation: Equatable, Sendable {
    /// The guest switched MSI or MSI-X on. `vectors` is how many MSI vectors it enabled with it; 0 for MSI-X, whose
    /// vectors come into use one by one (`use`). The device itself has to be switched on all the same.
    case enable(vectors: UInt32)
    /// The guest switched it off, or the device was reset: no vector is in use any more. What pends is given up.
    case disable
    /// A vector was unmasked for the first time since `enable`: it needs a vector of the host and an interrupt of the
    /// guest, and sends `message` from now on.
    case use(vector: UInt32, message: InterruptMessage)
    /// A vector in use was masked, by itself or with the whole function: its signals are kept from now on.
    case mask(vector: UInt32)
    /// A vector in use has another message. While masked it comes just before the `unmask`, and only when the message
    /// differs from the one that was carried out last.
    case message(vector: UInt32, message: InterruptMessage)
    /// A masked vector was unmasked: what was kept is delivered, once.
    case unmask(vector: UInt32)
    /// The register file's own pending bit was set (by `raise`, or by a restored state) and the vector is unmasked:
    /// send `message` once. Comes last; the bit is cleared when this was carried out.
    case deliver(vector: UInt32, message: InterruptMessage)
}

/// Who carries out what a guest's registers ask for.
///
/// Called with one operation at a time, in order, by `MSIXTable.synchronise` and `MSIRegisters.synchronise`. Nothing is
/// allocated on the way; a sink is used generically, never as an existential.
public protocol MessageSink: ~Copyable {
    /// Carries out one operation.
    ///
    /// - Returns: `false` when it could not be: no vector was left, an eventfd, a route. The state machine then keeps
    ///   what was true before (a refused `use` leaves the vector unused, a refused `unmask` masked, a refused `message`
    ///   with the old one, a refused `deliver` pending), counts the vector in `refused`, and asks again when the guest
    ///   touches that vector or the owner calls `retry`. Steps that depend on a refused one are not asked for. The
    ///   answer to `disable` does not matter: afterwards nothing is in use.
    mutating func perform(_ operation: MessageOperation) -> Bool

    /// Carries out one kind of operation for several vectors at once, before any of them is asked for by itself: what
    /// a function mask, or a vector-by-vector change that was looked at late, comes to.
    ///
    /// - Parameter vectors: One bit a vector, 64 a word. Valid during the call; a copy that is kept makes the next
    ///   change allocate.
    /// - Returns: Whether all of it was carried out. `false` says that nothing was, and then each vector is asked for
    ///   by `perform(_:)`. The usual answer of a sink that has no shorter way.
    mutating func perform(_ batch: MessageBatch, of vectors: [UInt64]) -> Bool
}

extension MessageSink where Self: ~Copyable {
    /// No shorter way.
    public mutating func perform(_ batch: MessageBatch, of vectors: [UInt64]) -> Bool { false }
}

/// What is asked for of several vectors at once.
public enum MessageBatch: UInt8, Equatable, Sendable, BitwiseCopyable {
    /// They come into use next, each by its `use`: the host's vectors for them can be had together. The answer says
    /// nothing.
    case prepare
    /// As `MessageOperation.mask` of each.
    case mask
    /// As `MessageOperation.unmask` of each.
    case unmask
}

/// What a sink that is a closure is asked for.
public enum MessageRequest: Equatable, Sendable {
    /// `MessageSink.perform(_:)`.
    case one(MessageOperation)
    /// `MessageSink.perform(_:of:)`.
    case many(MessageBatch, [UInt64])
}

/// What became of an interrupt that a device raised by its own registers.
public enum MessageRaise: Equatable, Sendable {
    /// Send this message now.
    case send(InterruptMessage)
    /// Masked: the pending bit is set, and `deliver` follows on unmasking.
    case pending
    /// MSI or MSI-X is off, or there is no such vector: nothing keeps it.
    case disabled
}
