import InterruptModel

// The device's side of the host, and the loop.
extension Host {
    /// The device raises a vector.
    mutating func raise(_ vector: Int) {
        vectors[vector].ledger.raised += 1
        if isWiped {
            vectors[vector].ledger.drops[.deviceGone] += 1
            return
        }
        switch device.raise(Vector(irq, UInt32(vector))) {
        case .signal(let eventFD): signal(eventFD, standingFor: 1)
        case .pended, .alreadyPending: vectors[vector].inDevice += 1
        case .dropped(let reason): vectors[vector].ledger.drops[reason] += 1
        }
    }

    /// An eventfd is signalled: KVM injects at once, the loop is told.
    mutating func signal(_ eventFD: AssignedEventFD, standingFor count: UInt64) {
        let vector = Int(eventFD.number - 100) / 2
        guard eventFD.number & 1 == 1 else {
            vectors[vector].waiting += count
            vectors[vector].isNotified = true
            return
        }
        guard let route = vectors[vector].route else {
            // KVM swallows what has no route.
            vectors[vector].ledger.drops[.noGuestRoute] += count
            return
        }
        receive(vector, route, standingFor: count)
    }

    mutating func receive(_ vector: Int, _ message: InterruptMessage, standingFor count: UInt64) {
        guard count > 0 else { return }
        tell(vector, message, standingFor: count)
        if mutation == .deliversTwice, count > 1 {
            receipts.append(Receipt(vector: vector, message: message, count: 1))
        }
    }

    /// A gate may have opened: what it held reaches the guest, and a kick that waited for it.
    mutating func release(_ vector: Int, _ count: UInt64) {
        receive(vector, vectors[vector].message, standingFor: count)
        guard vectors[vector].isKickHeld, vectors[vector].gate.isOpen else { return }
        vectors[vector].isKickHeld = false
        if count == 0 { tell(vector, vectors[vector].message, standingFor: 0) }
    }

    /// What reaches the guest; a kick stands for nothing.
    mutating func tell(_ vector: Int, _ message: InterruptMessage, standingFor count: UInt64) {
        vectors[vector].ledger.deliverOnce(standingFor: count)
        receipts.append(Receipt(vector: vector, message: message, count: count))
    }

    mutating func hold(_ vector: Int, _ count: UInt64) {
        guard count > 0 else { return }
        // What is put back was never told, so it is held as if it had just come.
        let passed = vectors[vector].gate.arrive(count)
        receive(vector, vectors[vector].message, standingFor: passed)
    }

    /// A turn of the loop: what it was told of passes the gates, or is held. After an overflow everything is looked at.
    mutating func turn() {
        if hasOverflowed {
            hasOverflowed = false
            if mutation != .staysDeafAfterOverflow {
                for index in vectors.indices where vectors[index].isInUse && vectors[index].waiting > 0 {
                    vectors[index].isNotified = true
                }
            }
        }
        for index in vectors.indices where vectors[index].isNotified {
            vectors[index].isNotified = false
            let count = vectors[index].waiting
            vectors[index].waiting = 0
            if mutation == .deliversWhileHalted, vectors[index].gate.isHalted {
                receive(index, vectors[index].message, standingFor: count)
                continue
            }
            receive(index, vectors[index].message, standingFor: vectors[index].gate.arrive(count))
        }
    }

    /// All due routes, in one commit.
    mutating func commit() {
        guard !commitsFail else { return }
        for index in vectors.indices where vectors[index].isRouteDue {
            vectors[index].route = vectors[index].message
            vectors[index].isRouteDue = false
            arrange(index)
        }
    }

    mutating func park(_ vector: Int, _ parked: Bool) {
        if parked {
            vectors[vector].gate.park()
            arrange(vector)
        } else {
            let released = vectors[vector].gate.unpark()
            arrange(vector)
            release(vector, released)
        }
    }

    mutating func halt(_ vector: Int, _ halted: Bool) {
        if halted {
            vectors[vector].gate.halt()
            arrange(vector)
        } else {
            let released = vectors[vector].gate.resume()
            arrange(vector)
            release(vector, released)
        }
    }

    /// The completion queue overflowed: what the loop was to be told is gone, the counters are not.
    mutating func overflow() {
        hasOverflowed = true
        for index in vectors.indices { vectors[index].isNotified = false }
    }

    mutating func close(_ vector: Int, bypass: Bool) {
        if bypass { vectors[vector].isBypassClosed = true } else { vectors[vector].isUserClosed = true }
    }

    /// Function-level reset: pending bits of the device go, what it signals stays.
    mutating func resetDevice() {
        _ = device.reset()
        for index in vectors.indices {
            vectors[index].ledger.drops[.deviceGone] += vectors[index].inDevice
            vectors[index].inDevice = 0
        }
    }

    /// The device lost its own table without VFIO: until every vector is assigned again, what it raises goes nowhere.
    /// Assigning again writes the messages anew (docs/vfio-semantics.md, B.3).
    mutating func backdoorReset() {
        isWiped = true
        guard mutation != .noRepairAfterBackdoorReset else { return }
        for index in vectors.indices where vectors[index].trigger != .none {
            rewrite(index)
        }
        isWiped = false
    }

    /// Descriptors are there again, closed eventfds are made anew, commits go through.
    mutating func heal() {
        descriptors = .max
        commitsFail = false
        for index in vectors.indices {
            vectors[index].isUserClosed = false
            vectors[index].isBypassClosed = false
            arrange(index)
        }
    }

    /// Whether nothing keeps what the vector raises from the guest, once the loop has had its turn.
    func isFlowing(_ vector: Int) -> Bool {
        vectors[vector].isInUse && vectors[vector].gate.isOpen && vectors[vector].trigger != .none && !isWiped
    }

    /// Everything that is held is the machine's now, and the host is as if the process had just begun.
    mutating func moveIntoMachine() {
        var kept: [UInt64] = []
        for index in vectors.indices {
            kept.append(
                vectors[index].inMachine + vectors[index].waiting + vectors[index].gate.discard()
                    + vectors[index].inDevice)
            vectors[index].waiting = 0
            vectors[index].isNotified = false
            vectors[index].inDevice = 0
            vectors[index].inMachine = 0
        }
        disable()
        for index in vectors.indices { vectors[index].inMachine = kept[index] }
    }

    /// Which of the 64 vectors from `first` on have something kept for them.
    func kept(from first: Int) -> UInt64 {
        guard mutation != .pendingBitsAlwaysRead0 else { return 0 }
        var bits: UInt64 = 0
        for index in first..<min(first + 64, vectors.count) {
            let this = vectors[index]
            let isKept = this.waiting > 0 || this.gate.isPending || device.isPending(Vector(irq, UInt32(index)))
            if isKept { bits |= 1 << UInt64(index - first) }
        }
        return bits
    }

    /// The account of a vector, with what is still held.
    func ledger(_ vector: Int) -> Ledger {
        var ledger = vectors[vector].ledger
        let this = vectors[vector]
        ledger.pending = this.waiting + this.gate.held + this.inDevice + this.inMachine
        return ledger
    }
}
