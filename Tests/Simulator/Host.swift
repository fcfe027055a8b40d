import InterruptModel

/// The host below a guest's MSI-X: the kernel's device (`DeviceInterrupts`), eventfds, the loop that listens, KVM's
/// routes, and one `VectorGate` a vector, arranged as the mux arranges them.
///
/// A vector signals its bypass eventfd while nothing holds it and KVM has its message, and its user eventfd otherwise.
struct Host: MessageSink {
    enum Trigger { case none, user, bypass }

    struct HostVector {
        var isInUse = false
        var gate = VectorGate()
        var message = InterruptMessage(address: 0, data: 0)
        /// The message in KVM's table, once committed.
        var route: InterruptMessage?
        var isRouteDue = false
        var trigger = Trigger.none
        /// How many raises the user eventfd's counter stands for.
        var waiting: UInt64 = 0
        /// The loop was told of the counter.
        var isNotified = false
        /// How many raises the device's own pending bit stands for.
        var inDevice: UInt64 = 0
        /// How many raises the machine's own pending bit stands for, after a restore.
        var inMachine: UInt64 = 0
        /// After a restore: the guest is to be told once, for nothing that is known.
        var isKickHeld = false
        var isUserClosed = false
        var isBypassClosed = false
        var ledger = Ledger()
    }

    struct Receipt {
        var vector: Int
        var message: InterruptMessage
        var count: UInt64
    }

    let mutation: Mutation?
    /// MSI or MSI-X.
    let irq: IRQIndex
    var device: DeviceInterrupts
    /// What the host knows of the device's assignments, and what its requests can carry.
    var assignments = IRQAssignments()
    let rules: IRQPlanRules
    var vectors: [HostVector]
    var receipts: [Receipt] = []
    var descriptors = UInt32.max
    var commitsFail = false
    var hasOverflowed = false
    /// Entries of the device's own table that were wiped: what it raises goes nowhere.
    var isWiped = false
    var restarts = 0

    init(_ shape: History.Shape, _ mutation: Mutation?) {
        self.mutation = mutation
        irq = shape.kind == .msi ? .msi : .msix
        let isMSI = shape.kind == .msi
        var profile = DeviceProfile(
            hasINTx: false, msiVectors: isMSI ? shape.vectors : 0, msixVectors: isMSI ? 0 : shape.vectors)
        profile.msiHasPendingBits = true
        profile.hostVectors = shape.hostVectors
        profile.platformGrowsMSIX = shape.grows
        device = DeviceInterrupts(profile)
        var rules = IRQPlanRules()
        rules.growsMSIX = profile.growsMSIX(device.dialect)
        self.rules = rules
        vectors = [HostVector](repeating: HostVector(), count: Int(shape.vectors))
        receipts.reserveCapacity(64)
    }

    // MARK: What the guest's registers ask for

    mutating func perform(_ operation: MessageOperation) -> Bool {
        switch operation {
        case .enable(let count): return enable(max(count, 1)) || mutation == .ignoresRefusals
        case .disable:
            disable()
            return true
        case .use(let vector, let message): return use(Int(vector), message) || mutation == .ignoresRefusals
        case .mask(let vector):
            let vector = Int(vector)
            vectors[vector].gate.mask()
            if mutation == .masksByRemovingTheRoute { vectors[vector].route = nil }
            // When nothing can be assigned the device itself keeps what it raises: that masks as well.
            arrange(vector)
            return true
        case .unmask(let vector): return unmask(Int(vector))
        case .message(let vector, let message):
            vectors[Int(vector)].message = message
            vectors[Int(vector)].isRouteDue = true
            // Until KVM has the new message the vector is served past its irqfd.
            arrange(Int(vector))
            return true
        case .deliver(let vector, let message):
            let vector = Int(vector)
            let standing = vectors[vector].inMachine
            vectors[vector].inMachine = 0
            if vectors[vector].gate.isOpen {
                tell(vector, message, standingFor: standing)
            } else {
                hold(vector, standing)
                vectors[vector].isKickHeld = standing == 0
            }
            return true
        }
    }

    /// MSI has all its vectors from the beginning, for it cannot grow: the largest power of two that the host has.
    private mutating func enable(_ count: UInt32) -> Bool {
        var count = count
        while count > 0 {
            var wanted = assignments
            wanted.assign(irq, [Int32](repeating: -1, count: Int(count)))
            if change(to: wanted) { return true }
            count /= 2
        }
        return false
    }

    private mutating func use(_ vector: Int, _ message: InterruptMessage) -> Bool {
        guard descriptors >= 2 else { return false }
        let before = vectors[vector]
        vectors[vector].isInUse = true
        vectors[vector].gate = VectorGate(parked: before.gate.isParked)
        if before.gate.isHalted { vectors[vector].gate.halt() }
        vectors[vector].message = message
        vectors[vector].isRouteDue = true
        vectors[vector].isUserClosed = false
        vectors[vector].isBypassClosed = false
        guard arrange(vector) else {
            vectors[vector].isInUse = false
            vectors[vector].isRouteDue = false
            vectors[vector].isNotified = false
            return false
        }
        if descriptors != .max { descriptors -= 2 }
        vectors[vector].isNotified = vectors[vector].waiting > 0
        return true
    }

    private mutating func unmask(_ vector: Int) -> Bool {
        let forgets = mutation == .dropsPendingOnUnmask
        let released = forgets ? vectors[vector].gate.unmaskDropping() : vectors[vector].gate.unmask()
        guard arrange(vector) else {
            vectors[vector].gate.mask()
            hold(vector, released)
            return false
        }
        release(vector, released)
        return true
    }

    mutating func disable() {
        if mutation == .firesInsteadOfDisabling {
            take(device.apply(IRQRequest(irq, .trigger, .none(count: UInt32(vectors.count)))) { _ in .notOpen })
        } else {
            var wanted = assignments
            wanted.disable()
            _ = change(to: wanted)
        }
        for index in vectors.indices {
            if mutation != .survivesReset {
                vectors[index].ledger.drops[.disabled] += vectors[index].waiting
                vectors[index].waiting = 0
                vectors[index].isNotified = false
            }
            vectors[index].ledger.drops[.disabled] += vectors[index].gate.discard() + vectors[index].inMachine
            vectors[index].inMachine = 0
            vectors[index].isKickHeld = false
            if vectors[index].isInUse, descriptors != .max { descriptors += 2 }
            vectors[index].isInUse = false
            vectors[index].route = nil
            vectors[index].isRouteDue = false
            vectors[index].trigger = .none
            _ = vectors[index].gate.unmask()
        }
    }

    // MARK: Which eventfd a vector signals

    private func wanted(_ vector: Int) -> Trigger {
        let this = vectors[vector]
        guard this.isInUse else { return .none }
        let isCurrent = this.route == this.message || mutation == .usesAStaleRoute && this.route != nil
        if mutation == .masksByRemovingTheRoute, this.trigger == .bypass { return .bypass }
        let isOpen = mutation == .masksOnlyInTheTable ? !this.gate.isParked && !this.gate.isHalted : this.gate.isOpen
        return isOpen && isCurrent && !isDead(this.isBypassClosed) ? .bypass : .user
    }

    private func isDead(_ closed: Bool) -> Bool { closed && mutation != .ignoresRefusals }

    /// Makes a vector signal what it should. False when that could not be assigned: then it signals nothing, and the
    /// device keeps what it raises.
    @discardableResult
    mutating func arrange(_ vector: Int) -> Bool {
        let trigger = wanted(vector)
        guard trigger != vectors[vector].trigger else { return true }
        guard irq == .msix || vector < Int(assignments.allocated) else { return false }
        guard !set(UInt32(vector), number(vector, trigger)) else {
            vectors[vector].trigger = trigger
            return true
        }
        // What was there before was put back where that could be done, and it is not what should be.
        if vectors[vector].trigger != .none { _ = set(UInt32(vector), -1) }
        vectors[vector].trigger = .none
        return false
    }

    func number(_ vector: Int, _ trigger: Trigger) -> Int32 {
        trigger == .none ? -1 : Int32(100 + 2 * vector + (trigger == .bypass ? 1 : 0))
    }

    /// One vector's eventfd, by the product's transactions: an index that cannot grow is switched off and on with one
    /// vector more, and a refusal puts everything back.
    private mutating func set(_ vector: UInt32, _ number: Int32) -> Bool {
        var wanted = assignments
        wanted.assign(irq, start: vector, [number])
        if !rules.growsMSIX, IRQPlan(from: assignments, to: wanted, rules).restarts { keepPending() }
        return change(to: wanted)
    }

    /// What pends in the device would be lost when the index is switched off: it is read and kept.
    private mutating func keepPending() {
        restarts += 1
        for index in vectors.indices where vectors[index].inDevice > 0 && mutation != .growthLosesPending {
            // That of a vector not in use waits until it is; nobody may be told of it before.
            vectors[index].waiting += vectors[index].inDevice
            vectors[index].isNotified = vectors[index].isInUse
            vectors[index].inDevice = 0
        }
    }

    private mutating func change(to wanted: IRQAssignments) -> Bool {
        var state = assignments
        var isDone = true
        do throws(IRQChangeError) {
            try state.change(to: wanted, rules: rules) { (request) throws(DeviceError) in try carryOut(request) }
        } catch { isDone = false }
        let (former, wasEnabled) = (assignments.allocated, assignments.active != nil)
        assignments = state
        if !isDone, wasEnabled, wanted.active != nil, assignments.active == nil { salvage(former) }
        return isDone
    }

    /// The index was switched off to grow, and one of the eventfds it had is bad by now, so that neither the new state
    /// nor the old one can be had as a whole: each vector gets back what it can.
    private mutating func salvage(_ former: UInt32) {
        var wanted = assignments
        wanted.assign(irq, [Int32](repeating: -1, count: Int(former)))
        _ = change(to: wanted)
        for index in vectors.indices where vectors[index].trigger != .none {
            if !set(UInt32(index), number(index, vectors[index].trigger)) { vectors[index].trigger = .none }
        }
    }

    private mutating func carryOut(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        let outcome = device.apply(request) { [vectors] number in
            let vector = vectors[Int(number - 100) / 2]
            let isClosed = number & 1 == 0 ? vector.isUserClosed : vector.isBypassClosed
            return isClosed ? .notOpen : .eventFD(identity: UInt64(number))
        }
        take(outcome)
        switch outcome.verdict {
        case .done: return 0
        case .available(let count): return count
        case .refused(let errno): throw DeviceError("SET_IRQS", errno: errno)
        }
    }

    /// Assigns what is assigned once more, which writes the device's own table anew.
    mutating func rewrite(_ vector: Int) {
        let request = IRQRequest(
            irq, .trigger, start: UInt32(vector), .eventfd([number(vector, vectors[vector].trigger)]))
        do throws(DeviceError) { _ = try carryOut(request) } catch {
            // It is closed by now, and the vector has none: the next change begins from there.
            var wanted = assignments
            wanted.remove(irq, UInt32(vector)..<UInt32(vector) + 1)
            assignments = wanted
            vectors[vector].trigger = .none
        }
    }

    /// What a request did besides its answer.
    private mutating func take(_ outcome: Outcome) {
        for change in outcome.changes {
            switch change {
            case .signalled(let vector, let eventFD):
                let index = Int(vector.number)
                let standing = vectors[index].inDevice
                vectors[index].inDevice = 0
                signal(eventFD, standingFor: max(standing, 1))
            case .pendingDropped(let vector):
                let index = Int(vector.number)
                vectors[index].ledger.drops[.disabled] += vectors[index].inDevice
                vectors[index].inDevice = 0
            default: break
            }
        }
    }
}

extension VectorGate {
    /// What a gate would do that forgets.
    fileprivate mutating func unmaskDropping() -> UInt64 {
        _ = discard()
        return unmask()
    }
}
