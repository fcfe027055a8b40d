import IRQMux
import InterruptModel

// The effects that the product's policy asks for, on models.
extension Host: ServedHost {
    // MARK: Places

    mutating func makePlace(_ device: DeviceID, _ vector: Vector) throws(MuxError) -> VectorID {
        strike()
        guard descriptors > 0 else { throw Self.noDescriptors }
        if descriptors != .max { descriptors -= 1 }
        let index = Int(vector.number)
        vectors[index].isConnected = true
        vectors[index].generation += 1
        vectors[index].gate = VectorGate(masked: true)
        vectors[index].isNotified = counts[2 * index] > 0
        for place in 2 * index..<2 * index + 2 { closed[place] = false }
        closed[user(index)] = doomed[index]
        doomed[index] = false
        return VectorID(rawValue: UInt64(vectors[index].generation) << 32 | UInt64(index))
    }

    mutating func discardPlace(_ slot: UInt32) {
        let vector = Int(slot)
        // It never signalled anything; had it, nobody would ever be told.
        vectors[vector].adrift += takeEverything(vector) + vectors[vector].gate.discard()
        forget(vector)
    }

    mutating func retirePlace(_ slot: UInt32) {
        let vector = Int(slot)
        if mutation != .survivesReset { vectors[vector].ledger.drops[.disabled] += takeEverything(vector) }
        vectors[vector].ledger.drops[.disabled] += vectors[vector].gate.discard()
        forget(vector)
    }

    func slot(of place: VectorID) -> UInt32? {
        let slot = UInt32(truncatingIfNeeded: place.rawValue)
        guard slot < UInt32(vectors.count), vectors[Int(slot)].isConnected,
            UInt64(vectors[Int(slot)].generation) == place.rawValue >> 32
        else { return nil }
        return slot
    }

    func number(_ slot: UInt32) -> UInt32 { slot }

    subscript(gate slot: UInt32) -> VectorGate {
        get { vectors[Int(slot)].gate }
        set {
            strike()
            vectors[Int(slot)].gate = newValue
        }
    }

    subscript(isSettled slot: UInt32) -> Bool {
        get { vectors[Int(slot)].isSettled }
        set { vectors[Int(slot)].isSettled = newValue }
    }

    subscript(mayHaveLost slot: UInt32) -> Bool {
        get { vectors[Int(slot)].mayHaveLost }
        set { vectors[Int(slot)].mayHaveLost = newValue && mutation != .growthLosesPending }
    }

    subscript(isTakenAway slot: UInt32) -> Bool {
        get { vectors[Int(slot)].isTakenAway }
        set { vectors[Int(slot)].isTakenAway = newValue }
    }

    private mutating func takeEverything(_ vector: Int) -> UInt64 {
        defer {
            counts[2 * vector] = 0
            counts[2 * vector + 1] = 0
        }
        return counts[2 * vector] + counts[2 * vector + 1]
    }

    private mutating func forget(_ vector: Int) {
        if descriptors != .max { descriptors += vectors[vector].hasBypass ? 2 : 1 }
        let former = vectors[vector]
        vectors[vector] = HostVector()
        vectors[vector].generation = former.generation
        vectors[vector].hasEventFD = former.hasEventFD
        vectors[vector].inDevice = former.inDevice
        vectors[vector].isWiped = former.isWiped
        vectors[vector].adrift = former.adrift
        vectors[vector].mayBeTold = former.mayBeTold
        vectors[vector].isKickDue = former.isKickDue
        vectors[vector].ledger = former.ledger
    }

    private static var noDescriptors: MuxError { MuxError("eventfd", errno: 24) }

    // MARK: Signals

    mutating func fresh(_ slot: UInt32) -> UInt64 {
        strike()
        defer { strike() }
        let place = user(Int(slot))
        let count = counts[place] + vectors[Int(slot)].leftByKVM
        counts[place] = 0
        vectors[Int(slot)].leftByKVM = 0
        return count
    }

    mutating func signalIRQFD(_ slot: UInt32, standingFor count: UInt64) {
        strike()
        judgeHalt(Int(slot))
        injectByRoute(Int(slot), count)
    }

    mutating func inject(_ slot: UInt32, standingFor count: UInt64) {
        strike()
        guard let message = vectors[Int(slot)].wanted else {
            fault = fault ?? "vector \(slot) is to be injected without a message"
            return
        }
        judgeHalt(Int(slot))
        receive(Int(slot), message, standingFor: count)
    }

    mutating func listenAgain(_ slot: UInt32) -> UInt64 {
        guard vectors[Int(slot)].isSilenced else { return 0 }
        vectors[Int(slot)].isSilenced = false
        return fresh(slot)
    }

    mutating func openServed(_ slot: UInt32, holding held: UInt64) {
        passHeld(slot, mutation == .dropsPendingOnUnmask ? 0 : held)
    }

    mutating func send(_ message: InterruptMessage, requester: UInt32?, for vector: UInt32) throws(MuxError) {
        strike()
        judgeHalt(Int(vector))
        if mutation == .growthLosesPending, !vectors[Int(vector)].isKickDue { return }
        tell(Int(vector), message, standingFor: 0)
    }

    mutating func settleOwed(_ device: DeviceID) {}

    mutating func dropOwed(_ device: DeviceID, _ count: UInt64) {}

    // MARK: The device

    func eventFD(_ slot: UInt32, atBypass isBypassed: Bool) -> Int32 {
        guard isBypassed else { return Self.number(user(Int(slot))) }
        return vectors[Int(slot)].hasBypass ? Self.number(bypass(Int(slot))) : -1
    }

    func isAtBypass(_ slot: UInt32) -> Bool { vectors[Int(slot)].isAtBypass }

    mutating func set(_ request: IRQRequest, on device: DeviceID) throws(DeviceError) -> UInt32 {
        try carryOut(request)
    }

    mutating func assign(
        _ slot: UInt32, _ eventFD: Int32, atBypass isBypassed: Bool, anew isAnew: Bool
    ) throws(DeviceError) {
        if isAnew || !swap(slot, for: eventFD) {
            _ = try carryOut(IRQRequest(irq, .trigger, start: slot, .eventfd([eventFD])))
        }
        vectors[Int(slot)].isAtBypass = isBypassed
    }

    mutating func swap(_ slot: UInt32, for eventFD: Int32) -> Bool {
        strike()
        guard offersSwap else { return false }
        let given = disobey(eventFD)
        let assigned = AssignedEventFD(number: given, identity: UInt64(given))
        guard let (_, fires) = device.swap(Vector(irq, slot), for: assigned) else { return false }
        if fires { fire(Int(slot), assigned) }
        strike()
        return true
    }

    func connectingRules(_ device: DeviceID) -> IRQPlanRules { rules }

    func raisedCount(_ slot: UInt32) -> UInt64 { vectors[Int(slot)].ledger.raised }

    func keepsPending(_ slot: UInt32) -> Bool { irq == .msix }

    mutating func notePointed(_ slot: UInt32, atBypass isBypassed: Bool, before: UInt64, after: UInt64) {
        vectors[Int(slot)].isAtBypass = isBypassed
    }

    // MARK: Routes

    mutating func want(_ message: InterruptMessage, requester: UInt32?, _ slot: UInt32) throws(MuxError) {
        vectors[Int(slot)].wanted = message
    }

    func wanted(_ slot: UInt32) -> (message: InterruptMessage, requester: UInt32?)? {
        vectors[Int(slot)].wanted.map { ($0, nil) }
    }

    mutating func commitWanted() throws(MuxError) {
        strike()
        guard !commitsFail else { throw MuxError("KVM_SET_GSI_ROUTING", errno: 12) }
        for index in vectors.indices where vectors[index].isConnected {
            if mutation == .usesAStaleRoute, vectors[index].route != nil { continue }
            vectors[index].route = vectors[index].wanted
        }
        strike()
    }

    mutating func listUnsettled(_ slot: UInt32) { vectors[Int(slot)].isListed = true }

    mutating func forgetUnsettled(_ slot: UInt32) { vectors[Int(slot)].isListed = false }

    func nextListed(from slot: UInt32) -> UInt32? {
        for index in Int(slot)..<max(Int(slot), vectors.count) where vectors[index].isListed { return UInt32(index) }
        return nil
    }

    var listedCount: Int { vectors.count { $0.isListed } }

    var settledCount: Int {
        get { vectors.count { $0.isSettled } }
        set {}
    }

    // Later is when a step says so.
    mutating func settleLater() {}
    mutating func stopSettling() {}
    mutating func retryLater(_ error: MuxError) {}
    mutating func settledAll() {}

    var loopRoom: Int { 64 }

    mutating func makeSpare(_ slot: UInt32) throws(MuxError) {
        strike()
        guard descriptors > 0 else { throw Self.noDescriptors }
        if descriptors != .max { descriptors -= 1 }
    }

    mutating func drop(_ spare: Void) { if descriptors != .max { descriptors += 1 } }

    mutating func bind(_ slot: UInt32) throws(MuxError) {
        strike()
        let place = user(Int(slot))
        guard !closed[place] else { throw MuxError("KVM_IRQFD", errno: 9) }
        vectors[Int(slot)].isUserBound = true
        // KVM injects what the counter holds, as one, and leaves it there.
        let count = counts[place]
        counts[place] = 0
        if count > 0 { injectByRoute(Int(slot), count) }
        vectors[Int(slot)].leftByKVM = count
        strike()
    }

    mutating func countInjected(_ slot: UInt32) {}

    mutating func install(_ binding: Void, _ spare: Void, _ slot: UInt32) {
        strike()
        vectors[Int(slot)].side = 1 - vectors[Int(slot)].side
        vectors[Int(slot)].hasBypass = true
        vectors[Int(slot)].isUserBound = false
    }
}
