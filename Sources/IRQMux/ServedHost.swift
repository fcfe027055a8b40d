package import InterruptModel

/// What serves the vectors of guests' MSI or MSI-X registers: looks and effects, each of which is one thing.
///
/// What is done in which order, and what follows a refusal, is decided in the extensions of this protocol and in
/// `MessageCarrier`, and nowhere else: `Mux` carries the effects out on io_uring, KVM and SET_IRQS, the simulator on
/// models of them. A place of a vector is named by its slot once it was found. Belongs to one thread; used generically,
/// and specialised for the mux, so that an effect costs what it does.
package protocol ServedHost: ~Copyable {
    /// An eventfd that the loop listens to already, before it is a vector's.
    associatedtype Spare
    /// An eventfd that KVM listens to, before it is a vector's.
    associatedtype Binding

    // MARK: Places

    /// A new place: an eventfd that is listened to, masked, its messages injected by the loop.
    mutating func makePlace(_ device: DeviceID, _ vector: Vector) throws(MuxError) -> VectorID
    /// Forgets a place whose vector never came to signal anything.
    mutating func discardPlace(_ slot: UInt32)
    /// Forgets a place, what it holds dropped by name. Its index was disabled.
    mutating func retirePlace(_ slot: UInt32)
    /// The slot of a place that is there.
    func slot(of place: VectorID) -> UInt32?
    /// The number of a place's vector.
    func number(_ slot: UInt32) -> UInt32
    /// Whether signals pass, and what is held.
    subscript(gate slot: UInt32) -> VectorGate { get set }
    /// The vector's route is committed and its bypass bound: it goes past the loop while its gate is open.
    subscript(isSettled slot: UInt32) -> Bool { get set }
    /// The vector's index was off for a moment, or it had no eventfd: what the device raised then nobody knows.
    subscript(mayHaveLost slot: UInt32) -> Bool { get set }
    /// After a refusal the device signals nothing for the vector, and keeps what it raises where it can.
    subscript(isTakenAway slot: UInt32) -> Bool { get set }

    // MARK: Signals

    /// Signals that nobody has looked at yet; from now on somebody has.
    mutating func fresh(_ slot: UInt32) -> UInt64
    /// One interrupt by the vector's irqfd, for so many signals.
    mutating func signalIRQFD(_ slot: UInt32, standingFor count: UInt64)
    /// One interrupt by the wanted message, for so many signals.
    mutating func inject(_ slot: UInt32, standingFor count: UInt64)
    /// Listens again where that was stopped because too much came. Returns what came meanwhile.
    mutating func listenAgain(_ slot: UInt32) -> UInt64
    /// The gate may be open: what it held passes, once. By default `passHeld`; a simulated host may get it wrong.
    mutating func openServed(_ slot: UInt32, holding held: UInt64)
    /// Sends a message of nobody's signal.
    mutating func send(_ message: InterruptMessage, requester: UInt32?, for vector: UInt32) throws(MuxError)
    /// The vector was sent a message of nobody's signal, and not for an access of the guest's, whose carrier counts.
    mutating func noteKick(_ slot: UInt32)
    /// A message that a restored state owed was sent, or will be with the vector's other signals.
    mutating func settleOwed(_ device: DeviceID)
    /// So many messages that a restored state owed never will be.
    mutating func dropOwed(_ device: DeviceID, _ count: UInt64)

    // MARK: The device

    /// The eventfd that the vector signals past the loop, or the one that the loop listens to; −1 where there is none.
    func eventFD(_ slot: UInt32, atBypass isBypassed: Bool) -> Int32
    /// The device signals the bypass eventfd.
    func isAtBypass(_ slot: UInt32) -> Bool
    /// One SET_IRQS. Returns how many vectors could be had where there are too few, otherwise 0.
    mutating func set(_ request: IRQRequest, on device: DeviceID) throws(DeviceError) -> UInt32
    /// Lets one vector signal an eventfd, or nothing (−1): one SET_IRQS, or the device's shorter way, unless it is to
    /// be assigned anew. When that is done it is noted, as by `notePointed`.
    mutating func assign(
        _ slot: UInt32, _ eventFD: Int32, atBypass isBypassed: Bool, anew isAnew: Bool
    ) throws(DeviceError)
    /// The device's shorter way alone, if it has one.
    mutating func swap(_ slot: UInt32, for eventFD: Int32) -> Bool
    /// What one request can carry. An index is not restarted behind anybody's back.
    func connectingRules(_ device: DeviceID) -> IRQPlanRules
    /// What the device has raised; 0 where it does not count.
    func raisedCount(_ slot: UInt32) -> UInt64
    /// Whether the device is known to keep, in a pending bit, what it raises while the vector has no eventfd. Every
    /// MSI-X does; of MSI only one with mask bits, and that is not known here.
    func keepsPending(_ slot: UInt32) -> Bool
    /// The device signals the bypass eventfd or the user eventfd from now on; its counts around the change.
    mutating func notePointed(_ slot: UInt32, atBypass isBypassed: Bool, before: UInt64, after: UInt64)

    // MARK: The guest's routes

    /// Wants a message for the vector's interrupt, which is allocated where there is none.
    mutating func want(_ message: InterruptMessage, requester: UInt32?, _ slot: UInt32) throws(MuxError)
    /// The message that is wanted, committed or not; `nil` before the first.
    func wanted(_ slot: UInt32) -> (message: InterruptMessage, requester: UInt32?)?
    /// Commits what is wanted.
    mutating func commitWanted() throws(MuxError)
    /// Puts a vector on the list of those that wait for their routes. Twice is once.
    mutating func listUnsettled(_ slot: UInt32)
    /// Takes it off.
    mutating func forgetUnsettled(_ slot: UInt32)
    /// The first on the list from `slot` on.
    func nextListed(from slot: UInt32) -> UInt32?
    /// How many are listed.
    var listedCount: Int { get }
    /// How many are settled.
    var settledCount: Int { get set }
    /// Settles what is listed when nothing was added for a while.
    mutating func settleLater()
    /// Not later any more, but now.
    mutating func stopSettling()
    /// Some could not be settled: again after a while.
    mutating func retryLater(_ error: MuxError)
    /// All were settled.
    mutating func settledAll()
    /// How many places the loop has left.
    var loopRoom: Int { get }
    /// An eventfd that is to become the vector's user eventfd, and is listened to.
    mutating func makeSpare(_ slot: UInt32) throws(MuxError) -> Spare
    /// It is not.
    mutating func drop(_ spare: Spare)
    /// Binds the user eventfd, which the device goes on signalling, as irqfd. What it holds KVM injects, once.
    mutating func bind(_ slot: UInt32) throws(MuxError) -> Binding
    /// Signals that somebody looked at were injected by KVM, as one.
    mutating func countInjected(_ slot: UInt32)
    /// What was bound becomes the bypass eventfd, the spare one the user eventfd.
    mutating func install(_ binding: Binding, _ spare: Spare, _ slot: UInt32)
}

extension ServedHost where Self: ~Copyable {
    /// Not counted.
    package mutating func noteKick(_ slot: UInt32) {}

    /// As it is to be.
    package mutating func openServed(_ slot: UInt32, holding held: UInt64) { passHeld(slot, held) }
}
