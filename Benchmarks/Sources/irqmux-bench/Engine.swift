/// One way of listening to n eventfds, as the harness drives it; all calls on the reader's thread.
///
/// The C engines come through `CEngine`, irqmux's own loop through `EventLoopEngine`. What each call means stands in
/// `bench_engine.h`.
protocol Engine: AnyObject {
    func arm() throws
    func disarm() throws
    func drain(until total: UInt64) throws
    func spin(until total: UInt64) throws
    func block(until total: UInt64) throws
}

/// What an engine can be measured at.
struct Abilities: OptionSet, Hashable, Sendable {
    let rawValue: Int
    static let drain = Abilities(rawValue: 1)
    static let spin = Abilities(rawValue: 2)
    static let block = Abilities(rawValue: 4)
    /// To stop and resume a vector that is routed into a guest.
    static let mask = Abilities(rawValue: 8)
    /// Everything a mux can.
    static let mux = Abilities(rawValue: 16)
    /// To do so by a guest's write to its MSI-X table.
    static let maskTable = Abilities(rawValue: 32)
    /// To hand a vector's interrupts to a handler.
    static let callback = Abilities(rawValue: 64)
}

/// An engine that can be made: its name, what it can do, and how to make one.
struct EngineKind: Sendable {
    var name: String
    var about: String
    var abilities: Abilities
    /// The most sources it listens to.
    var largest: Int
    /// Why it cannot be used here; nil when it can.
    var missing: String?
    /// Makes one for a case that needs the ability.
    var make: @Sendable (Sources, Abilities) throws -> any Engine
}

/// An engine's call failed.
struct EngineError: Error, CustomStringConvertible {
    var engine: String
    var operation: String
    var errno: Int32
    var description: String { "\(engine): \(operation): errno \(errno)" }
}
