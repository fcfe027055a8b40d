import IRQMux
import InterruptModel

/// The host below a guest's MSI or MSI-X: the kernel's device (`DeviceInterrupts`), eventfds, the loop that listens,
/// and KVM's routes. It decides nothing: which of its effects are due says the product, by `ServedHost` and
/// `MessageCarrier`.
struct Host {
    /// A vector of the device, and the place that stands for it while there is one: its number is the place's slot.
    struct HostVector {
        // The place.
        var isConnected = false
        var generation: UInt32 = 0
        var gate = VectorGate()
        var isSettled = false
        var mayHaveLost = false
        var isTakenAway = false
        var isAtBypass = false
        /// Which of the two eventfds the loop listens to.
        var side = 0
        /// The other one is an irqfd.
        var hasBypass = false
        /// The user eventfd is bound, and about to become the bypass; what KVM injected then and left in its counter.
        var isUserBound = false
        var leftByKVM: UInt64 = 0
        var wanted: InterruptMessage?
        /// The message in KVM's table, once committed.
        var route: InterruptMessage?
        var isListed = false
        /// The loop was told of the counter; or it does not listen, because too much came.
        var isNotified = false
        var isSilenced = false
        // The device.
        var hasEventFD = false
        /// It had one, while its place is there.
        var wasCutOff = false
        /// How many raises the device's own pending bit stands for.
        var inDevice: UInt64 = 0
        /// The entry of the device's own table was wiped: what it raises goes nowhere.
        var isWiped = false
        /// Raises that no signal will ever tell of: the index was off, the table wiped, or they are in a saved state.
        var adrift: UInt64 = 0
        /// The vector's pending bit may have been lost, so that the guest may be told once for nothing.
        var mayBeTold = false
        /// After a restore: one more for nothing.
        var isKickDue = false
        var ledger = Ledger()
    }

    struct Receipt {
        var vector: Int
        var message: InterruptMessage
        var count: UInt64
        /// It may stand for nothing.
        var isExcused: Bool
    }

    let mutation: Mutation?
    /// MSI or MSI-X.
    let irq: IRQIndex
    var device: DeviceInterrupts
    let rules: IRQPlanRules
    /// The device shares the host's memory, and swaps eventfds without looking at them.
    let offersSwap: Bool
    var vectors: [HostVector]
    /// The counters of the eventfds, two a vector, and which of them nobody can assign any more.
    var counts: [UInt64]
    var closed: [Bool]
    /// Vectors whose next eventfd somebody closes before the kernel has looked at it.
    var doomed: [Bool]
    /// The device could not be switched on when the guest wanted it.
    var wasLate = false
    var receipts: [Receipt] = []
    var descriptors = UInt32.max
    var commitsFail = false
    var hasOverflowed = false
    /// How often what is rare came about.
    var rarities = Rarities()
    /// The last attempt to enable the index was with more vectors, and refused.
    var isRefusedGrowth = false
    /// What the policy did that no guest can see and that is wrong all the same.
    var fault: String?

    /// A raise that comes amid what the host does: the vector, and after how many effects.
    var ambush: (vector: Int, after: UInt32)?
    /// Those that came in this step, and how many of them the reference knows of.
    var struck: [Int] = []
    var struckTold = 0

    init(_ shape: History.Shape, _ mutation: Mutation?) {
        self.mutation = mutation
        irq = shape.kind == .msi ? .msi : .msix
        let isMSI = shape.kind == .msi
        var profile = DeviceProfile(
            hasINTx: false, msiVectors: isMSI ? shape.vectors : 0, msixVectors: isMSI ? 0 : shape.vectors)
        profile.msiHasPendingBits = shape.masks == .everywhere
        profile.hostVectors = shape.hostVectors
        profile.platformGrowsMSIX = shape.grows
        device = DeviceInterrupts(profile)
        var rules = IRQPlanRules()
        rules.growsMSIX = profile.growsMSIX(device.dialect)
        rules.restarts = false
        self.rules = rules
        offersSwap = shape.swaps
        vectors = [HostVector](repeating: HostVector(), count: Int(shape.vectors))
        counts = [UInt64](repeating: 0, count: 2 * Int(shape.vectors))
        closed = [Bool](repeating: false, count: 2 * Int(shape.vectors))
        doomed = [Bool](repeating: false, count: Int(shape.vectors))
        receipts.reserveCapacity(64)
    }

    /// Who serves the guest's registers on this host.
    func makeCarrier() -> MessageCarrier {
        MessageCarrier(
            DeviceID(rawValue: 0), irq, count: UInt32(vectors.count), isFixed: irq == .msi || !rules.growsMSIX)
    }

    /// What the guest's registers ask for.
    mutating func perform(_ request: MessageRequest, _ carrier: inout MessageCarrier) -> Bool {
        let isDone = carrier.perform(request, on: &self)
        if case .one(.enable) = request {
            if isDone, wasLate { excuse() }
            wasLate = !isDone
        }
        if request == .one(.disable) { giveUp() }
        return isDone
    }

    /// The guest switched its interrupts off: what was lost is nobody's any more.
    mutating func giveUp() {
        for index in vectors.indices {
            vectors[index].ledger.drops[.disabled] += vectors[index].adrift
            vectors[index].adrift = 0
            vectors[index].mayBeTold = false
            vectors[index].isKickDue = false
        }
    }

    // MARK: Effects of SET_IRQS

    /// The number of an eventfd, from its place in `counts`.
    static func number(_ place: Int) -> Int32 { Int32(100 + place) }

    /// The place of an eventfd.
    static func place(_ number: Int32) -> Int { Int(number - 100) }

    func user(_ vector: Int) -> Int { 2 * vector + vectors[vector].side }

    func bypass(_ vector: Int) -> Int { 2 * vector + (1 - vectors[vector].side) }

    /// One request, as the kernel carries it out.
    mutating func carryOut(_ asked: IRQRequest) throws(DeviceError) -> UInt32 {
        strike()
        defer { strike() }
        var request = asked
        if mutation == .firesInsteadOfDisabling, request.data == .none(count: 0) {
            request.data = .none(count: UInt32(vectors.count))
        }
        if case .eventfd(let numbers) = request.data { request.data = .eventfd(numbers.map { disobey($0) }) }
        let outcome = device.apply(request) { [closed] number in
            closed[Self.place(number)] ? .notOpen : .eventFD(identity: UInt64(number))
        }
        note(asked, outcome)
        take(outcome)
        guard mutation != .ignoresRefusals else { return 0 }
        switch outcome.verdict {
        case .done: return 0
        case .available(let count): return count
        case .refused(let errno):
            // Halfway it may have let go what it then had again.
            for number in asked.start..<asked.start + UInt32(asked.count) { vectors[Int(number)].mayBeTold = true }
            throw DeviceError("SET_IRQS", errno: errno)
        }
    }

    /// The eventfd that a vector is given: another one than it should in hosts that mask in wrong ways.
    mutating func disobey(_ number: Int32) -> Int32 {
        guard mutation == .masksOnlyInTheTable || mutation == .masksByRemovingTheRoute, number >= 0 else {
            return number
        }
        let vector = Self.place(number) / 2
        guard vectors[vector].isAtBypass, Self.place(number) == user(vector) else { return number }
        if mutation == .masksByRemovingTheRoute { vectors[vector].route = nil }
        return Self.number(bypass(vector))
    }

    /// What a request did besides its answer.
    private mutating func take(_ outcome: Outcome) {
        for change in outcome.changes {
            switch change {
            case .signalled(let vector, let eventFD): fire(Int(vector.number), eventFD)
            case .pendingDropped(let vector):
                let index = Int(vector.number)
                vectors[index].adrift += vectors[index].inDevice
                vectors[index].inDevice = 0
            case .assigned(let vector, _):
                // Whatever it was without one for.
                if vectors[Int(vector.number)].wasCutOff { vectors[Int(vector.number)].mayBeTold = true }
                vectors[Int(vector.number)].wasCutOff = false
                vectors[Int(vector.number)].hasEventFD = true
                vectors[Int(vector.number)].isWiped = false
            case .released(let vector, _): vectors[Int(vector.number)].hasEventFD = false
            case .disabled:
                for index in vectors.indices {
                    vectors[index].mayBeTold = true
                    vectors[index].isWiped = false
                }
            default: break
            }
        }
        for case .released(let vector, _) in outcome.changes where !vectors[Int(vector.number)].hasEventFD {
            vectors[Int(vector.number)].mayBeTold = true
            vectors[Int(vector.number)].wasCutOff = vectors[Int(vector.number)].isConnected
        }
    }

    /// The device's own pending bit fires.
    mutating func fire(_ vector: Int, _ eventFD: AssignedEventFD) {
        let standing = vectors[vector].inDevice
        vectors[vector].inDevice = 0
        signal(eventFD, standingFor: max(standing, 1))
    }
}
