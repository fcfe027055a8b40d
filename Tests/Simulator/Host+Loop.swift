import IRQMux
import InterruptModel

// The device's side of the host, and the loop.
extension Host {
    /// The device raises a vector, of which the guest is to be told if its interrupts are on.
    mutating func raise(_ vector: Int, isOwed: Bool) {
        vectors[vector].ledger.raised += 1
        guard !vectors[vector].isWiped else { return lose(vector, .deviceGone, isOwed) }
        switch device.raise(Vector(irq, UInt32(vector))) {
        case .signal(let eventFD):
            if Self.place(eventFD.number) != user(vector) { judgeHalt(vector) }
            signal(eventFD, standingFor: 1)
        case .pended, .alreadyPending: vectors[vector].inDevice += 1
        case .dropped(let reason): lose(vector, reason, isOwed)
        }
    }

    /// No signal tells of a raise: the guest has its interrupts off, or the host had the device's off for a moment.
    private mutating func lose(_ vector: Int, _ reason: DropReason, _ isOwed: Bool) {
        if isOwed { vectors[vector].adrift += 1 } else { vectors[vector].ledger.drops[reason] += 1 }
    }

    /// A moment between two effects: here the device may raise.
    mutating func strike() {
        guard let (vector, after) = ambush else { return }
        guard after == 0 else { return ambush = (vector, after - 1) }
        ambush = nil
        struck.append(vector)
        raise(vector, isOwed: true)
    }

    /// An eventfd is signalled: KVM injects at once, the loop is told.
    mutating func signal(_ eventFD: AssignedEventFD, standingFor count: UInt64) {
        let place = Self.place(eventFD.number)
        let vector = place / 2
        guard vectors[vector].isConnected else {
            vectors[vector].adrift += count
            return
        }
        let isUser = place == user(vector)
        guard isUser, !vectors[vector].isUserBound else { return injectByRoute(vector, count) }
        counts[place] += count
        if !vectors[vector].isSilenced { vectors[vector].isNotified = true }
    }

    /// The irqfd was signalled.
    mutating func injectByRoute(_ vector: Int, _ count: UInt64) {
        guard let route = vectors[vector].route else {
            // KVM swallows what has no route.
            vectors[vector].ledger.drops[.noGuestRoute] += count
            return
        }
        receive(vector, route, standingFor: count)
    }

    mutating func receive(_ vector: Int, _ message: InterruptMessage, standingFor count: UInt64) {
        guard count > 0 else {
            fault = fault ?? "vector \(vector) was passed for nothing"
            return
        }
        tell(vector, message, standingFor: count)
        if mutation == .deliversTwice, count > 1 {
            receipts.append(Receipt(vector: vector, message: message, count: 1, isExcused: false))
        }
    }

    /// What reaches the guest. It stands for what was lost before it as well.
    mutating func tell(_ vector: Int, _ message: InterruptMessage, standingFor count: UInt64) {
        let standing = count + vectors[vector].adrift
        vectors[vector].adrift = 0
        vectors[vector].ledger.deliverOnce(standingFor: standing)
        receipts.append(
            Receipt(vector: vector, message: message, count: standing, isExcused: takeExcuse(vector, standing)))
    }

    /// What reaches the guest while the host holds it back is wrong, though the guest cannot know.
    mutating func judgeHalt(_ vector: Int) {
        guard vectors[vector].isConnected, vectors[vector].gate.isHalted, struck.isEmpty else { return }
        fault = fault ?? "vector \(vector) reached the guest while the host held it back"
    }

    /// Whether an interrupt may stand for nothing: one kick may be due after a restore, one for what may be lost.
    private mutating func takeExcuse(_ vector: Int, _ standing: UInt64) -> Bool {
        let isExcused = vectors[vector].mayBeTold || vectors[vector].isKickDue
        guard standing == 0 else { return isExcused }
        if !vectors[vector].isKickDue { vectors[vector].mayBeTold = false }
        vectors[vector].isKickDue = false
        return isExcused
    }

    /// So much is held that the loop stops listening.
    static var silenceAfter: UInt64 { 12 }

    /// A turn of the loop: what it was told of passes the gates, or is held. After an overflow everything is looked at.
    mutating func turn() {
        if hasOverflowed {
            hasOverflowed = false
            if mutation != .staysDeafAfterOverflow {
                for index in vectors.indices where vectors[index].isConnected && !vectors[index].isSilenced {
                    vectors[index].isNotified = vectors[index].isNotified || counts[user(index)] > 0
                }
            }
        }
        for index in vectors.indices where vectors[index].isNotified {
            vectors[index].isNotified = false
            let slot = UInt32(index)
            let isLet = mutation == .deliversWhileHalted && vectors[index].gate.isHalted
            if vectors[index].gate.isOpen || isLet {
                passFresh(slot)
            } else if holdFresh(slot), vectors[index].gate.held >= Self.silenceAfter {
                vectors[index].isSilenced = true
            }
        }
    }

    /// The completion queue overflowed: what the loop was to be told is gone, the counters are not.
    mutating func overflow() {
        hasOverflowed = true
        for index in vectors.indices { vectors[index].isNotified = false }
    }

    /// The host holds one vector back, or does not any more.
    mutating func halt(_ vector: Int, _ halted: Bool) {
        guard vectors[vector].isConnected else { return }
        do throws(MuxError) {
            if halted { try haltServed(UInt32(vector)) } else { try resumeServed(UInt32(vector)) }
        } catch {
            // Whoever asked is told.
        }
    }

    /// The host holds the whole device back, or does not any more.
    mutating func haltAll(_ halted: Bool) { for vector in vectors.indices { halt(vector, halted) } }

    /// Somebody closes an eventfd of a vector: of one that has none yet the first one, as soon as it is made.
    mutating func close(_ vector: Int, bypass isBypass: Bool) {
        guard vectors[vector].isConnected else { return doomed[vector] = !isBypass }
        closed[isBypass ? bypass(vector) : user(vector)] = true
    }

    /// Function-level reset: pending bits of the device go, what it signals stays.
    mutating func resetDevice() {
        _ = device.reset()
        for index in vectors.indices {
            vectors[index].ledger.drops[.deviceGone] += vectors[index].inDevice
            vectors[index].inDevice = 0
        }
    }

    /// The device lost its own table and its pending bits without VFIO: until a vector is assigned again, what it
    /// raises goes nowhere.
    /// Assigning again writes the messages anew (docs/vfio-semantics.md, B.3).
    mutating func wipe() {
        _ = device.reset()
        for index in vectors.indices {
            vectors[index].adrift += vectors[index].inDevice
            vectors[index].inDevice = 0
            if vectors[index].hasEventFD { vectors[index].isWiped = true }
        }
        excuse()
    }

    /// A vector in use signals nothing, and nobody asked for that.
    var isCutOff: Bool { vectors.contains { $0.isConnected && $0.gate.isOpen && !$0.hasEventFD } }

    /// Vectors are connected, and the device's index is off: after a failed growth it is to be on again with what it
    /// can have.
    var isOffInUse: Bool {
        guard vectors.contains(where: { $0.isConnected }) else { return false }
        return device.activeType != irq
    }

    /// Repair tells every vector once, whether something was lost or not.
    mutating func excuse() { for index in vectors.indices { vectors[index].mayBeTold = true } }

    /// Descriptors are there again, closed eventfds are as good as new, commits go through.
    mutating func heal() {
        descriptors = .max
        commitsFail = false
        for place in closed.indices { closed[place] = false }
        for vector in doomed.indices { doomed[vector] = false }
    }

    /// Everything that is held is the machine's now, and the host is as if the process had just begun. What pends in
    /// the device, of vectors that nobody ever used, goes with the device.
    mutating func moveIntoMachine(_ carrier: inout MessageCarrier) -> [UInt64] {
        var kept: [UInt64] = []
        var pending: [UInt64] = []
        for index in vectors.indices {
            let waiting = counts[2 * index] + counts[2 * index + 1]
            kept.append(vectors[index].adrift + waiting + vectors[index].gate.discard())
            pending.append(vectors[index].inDevice)
            counts[2 * index] = 0
            counts[2 * index + 1] = 0
            vectors[index].adrift = 0
            vectors[index].inDevice = 0
        }
        let mayBeTold = vectors.map { $0.mayBeTold || $0.isKickDue }
        _ = perform(.one(.disable), &carrier)
        carrier = makeCarrier()
        for index in vectors.indices {
            vectors[index].adrift = kept[index]
            // Another signal may come first, and tells of it as well.
            vectors[index].isKickDue = mayBeTold[index] || kept[index] > 0 || wasLate
        }
        wasLate = false
        return pending
    }

    /// The device has arrived, with what pended in it.
    mutating func arrive(_ pending: [UInt64]) {
        for index in vectors.indices {
            vectors[index].ledger.raised -= pending[index]
            for _ in 0..<pending[index] { raise(index, isOwed: true) }
        }
    }

    /// Whether a pending bit may say 1 for what may have been lost, or either for what came just now.
    func isInDoubt(_ vector: Int) -> Bool {
        vectors[vector].mayBeTold || vectors[vector].isKickDue || vectors[vector].wasCutOff || struck.contains(vector)
    }

    /// The account of a vector, with what is still held.
    func ledger(_ vector: Int) -> Ledger {
        var ledger = vectors[vector].ledger
        let this = vectors[vector]
        ledger.pending = counts[2 * vector] + counts[2 * vector + 1] + this.gate.held + this.inDevice + this.adrift
        return ledger
    }
}
