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
    var device: DeviceInterrupts
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
        var profile = DeviceProfile(hasINTx: false, msiVectors: 0, msixVectors: shape.vectors)
        profile.hostVectors = shape.hostVectors
        profile.platformGrowsMSIX = shape.grows
        device = DeviceInterrupts(profile)
        vectors = [HostVector](repeating: HostVector(), count: Int(shape.vectors))
        receipts.reserveCapacity(64)
    }

    // MARK: What the guest's registers ask for

    mutating func perform(_ operation: MessageOperation) -> Bool {
        switch operation {
        case .enable: return set(0, [-1]) || mutation == .ignoresRefusals
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
            let standing = max(vectors[vector].inMachine, 1)
            vectors[vector].inMachine = 0
            if vectors[vector].gate.isOpen {
                receive(vector, message, standingFor: standing)
            } else {
                hold(vector, standing)
            }
            return true
        }
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
        receive(vector, vectors[vector].message, standingFor: released)
        return true
    }

    mutating func disable() {
        let request =
            mutation == .firesInsteadOfDisabling
            ? IRQRequest(.msix, .trigger, .none(count: UInt32(vectors.count)))
            : IRQRequest(.msix, .trigger, .none(count: 0))
        take(device.apply(request) { _ in .notOpen })
        for index in vectors.indices {
            if mutation != .survivesReset {
                vectors[index].ledger.drops[.disabled] += vectors[index].waiting
                vectors[index].waiting = 0
                vectors[index].isNotified = false
            }
            vectors[index].ledger.drops[.disabled] += vectors[index].gate.discard() + vectors[index].inMachine
            vectors[index].inMachine = 0
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

    /// Makes a vector signal what it should. False when nothing could be assigned: the device keeps it then.
    @discardableResult
    mutating func arrange(_ vector: Int) -> Bool {
        let trigger = wanted(vector)
        guard trigger != vectors[vector].trigger else { return true }
        let number = trigger == .none ? -1 : Int32(100 + 2 * vector + (trigger == .bypass ? 1 : 0))
        let isDone =
            device.isAllocated(Vector(.msix, UInt32(vector))) || device.profile.growsMSIX(device.dialect)
            ? set(UInt32(vector), [number])
            : restart(adding: vector, number)
        vectors[vector].trigger = isDone ? trigger : .none
        return isDone
    }

    /// The index cannot grow: it is switched off and on with one vector more, and what pends in the device is kept.
    private mutating func restart(adding vector: Int, _ number: Int32) -> Bool {
        restarts += 1
        let former = device.allocatedVectors
        for index in vectors.indices where vectors[index].inDevice > 0 && mutation != .growthLosesPending {
            // That of a vector not in use waits until it is; nobody may be told of it before.
            vectors[index].waiting += vectors[index].inDevice
            vectors[index].isNotified = vectors[index].isInUse
            vectors[index].inDevice = 0
        }
        take(device.apply(IRQRequest(.msix, .trigger, .none(count: 0))) { _ in .notOpen })
        var numbers = vectors.indices.map { index in
            switch vectors[index].trigger {
            case .none: Int32(-1)
            case .user: Int32(100 + 2 * index)
            case .bypass: Int32(101 + 2 * index)
            }
        }
        numbers[vector] = number
        let isDone = set(0, Array(numbers[0...vector]))
        // What it had before it gets back; a number that is bad by now costs its vector the eventfd.
        if !isDone {
            _ = set(0, [Int32](repeating: -1, count: Int(former)))
            for index in 0..<Int(former) where vectors[index].trigger != .none {
                if !set(UInt32(index), [numbers[index]]) { vectors[index].trigger = .none }
            }
        }
        return isDone
    }

    private mutating func set(_ start: UInt32, _ numbers: [Int32]) -> Bool {
        let closed = { [vectors] (number: Int32) -> Bool in
            let vector = vectors[Int(number - 100) / 2]
            return number & 1 == 0 ? vector.isUserClosed : vector.isBypassClosed
        }
        let outcome = device.apply(IRQRequest(.msix, .trigger, start: start, .eventfd(numbers))) { number in
            closed(number) ? .notOpen : .eventFD(identity: UInt64(number))
        }
        take(outcome)
        return outcome.verdict == .done
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
