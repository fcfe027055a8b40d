internal import CKernel
internal import EventRing
package import InterruptModel
internal import KVM

/// An eventfd that the loop listens to already, before it is a vector's. The loop's thread has it for a moment.
package struct SpareEventFD {
    let eventfd: Int32
    let source: SourceID
}

/// What is to become a vector's bypass. The loop's thread has it for a moment.
package struct VectorBinding {
    let binding: GuestBinding
}

// The effects of giving a served vector its route. When they are due says `ServedHost`.
extension Mux {
    /// In the tag of the timer that commits routes, where a vector's place would be.
    static var settleSlot: UInt32 { .max - 1 }

    // MARK: What is wanted

    package mutating func want(
        _ message: InterruptMessage, requester: UInt32?, _ slot: UInt32
    ) throws(MuxError) {
        guard entries[slot].gsi == .max else {
            let route = GSIRoute.message(address: message.address, data: message.data, deviceID: requester)
            return try setGSI(entries[slot].gsi, to: route)
        }
        let gsi = try allocateGSI(message: message.address, data: message.data, deviceID: requester)
        if let guest { guest.table.handOver(gsi, to: guest.owner(slot)) }
        entries[slot].gsi = gsi
    }

    package func wanted(_ slot: UInt32) -> (message: InterruptMessage, requester: UInt32?)? {
        guard let guest, entries[slot].gsi != .max,
            case .message(let address, let data, let requester)? = guest.table.wantedRoute(entries[slot].gsi)
        else { return nil }
        return (InterruptMessage(address: address, data: data), requester)
    }

    package mutating func commitWanted() throws(MuxError) { _ = try attachedGuest().table.commit() }

    // MARK: Who waits for it

    package mutating func listUnsettled(_ slot: UInt32) {
        guard let guest else { return }
        let bit: UInt64 = 1 << UInt64(slot & 63)
        guard guest.unsettled[Int(slot >> 6)] & bit == 0 else { return }
        guest.unsettled[Int(slot >> 6)] |= bit
        guest.unsettledCount += 1
    }

    package mutating func forgetUnsettled(_ slot: UInt32) {
        guard let guest else { return }
        let bit: UInt64 = 1 << UInt64(slot & 63)
        guard guest.unsettled[Int(slot >> 6)] & bit != 0 else { return }
        guest.unsettled[Int(slot >> 6)] &= ~bit
        guest.unsettledCount -= 1
    }

    package func nextListed(from slot: UInt32) -> UInt32? {
        guard let guest else { return nil }
        var mask = UInt64.max << UInt64(slot & 63)
        for word in Int(slot >> 6)..<max(Int(slot >> 6), guest.unsettled.count) {
            let bits = guest.unsettled[word] & mask
            if bits != 0 { return UInt32(word * 64 + bits.trailingZeroBitCount) }
            mask = .max
        }
        return nil
    }

    package var listedCount: Int { guest?.unsettledCount ?? 0 }

    package var settledCount: Int {
        get { guest?.settledCount ?? 0 }
        set { guest?.settledCount = newValue }
    }

    /// How many vectors of guests' MSI and MSI-X registers are open and still served by the loop, because their routes
    /// have not been committed yet, or could not be.
    public var routesWaiting: Int { guest?.unsettledCount ?? 0 }

    /// Why the last batch of routes could not be committed, or a vector not be moved past the loop; `nil` when the last
    /// one was whole. Nothing is lost meanwhile: such vectors are injected by the loop, and tried again by themselves.
    public var routesRefused: MuxError? { guest?.settleError }

    // MARK: When

    package mutating func settleLater() {
        guard let guest, guest.settleTimer == nil else { return }
        guest.settleMark = guest.unsettledCount
        do throws(RingError) {
            guest.settleTimer = try loop.addTimer(
                after: options.routeBatchDelay, tag: Self.vectorTag | UInt64(Self.settleSlot))
        } catch {
            // No timer is left: then the batch ends here.
            settleServed()
        }
    }

    /// The timer fired: commit, unless more came meanwhile, which may go on.
    mutating func settleDue() {
        guard let guest else { return }
        guest.settleTimer = nil
        guard guest.unsettledCount > 0 else { return }
        guard let mark = guest.settleMark, guest.unsettledCount != mark else { return settleServed() }
        settleLater()
    }

    package mutating func stopSettling() {
        guard let guest, let timer = guest.settleTimer else { return }
        try? loop.removeTimer(timer)
        guest.settleTimer = nil
    }

    /// What could not be moved is tried again: after twice the delay of a batch, then four times, up to a thousand
    /// times. Places in the loop that are coming free do so with the next waits, and then it is tried at once.
    package mutating func retryLater(_ error: MuxError) {
        guard let guest else { return }
        let isShortOfPlaces = error.errno == ENOSPC && loop.room > 0
        guest.settleError = isShortOfPlaces ? nil : error
        guest.settleFailures = isShortOfPlaces ? 0 : guest.settleFailures &+ 1
        guard guest.settleTimer == nil, guest.table.lost == 0 else { return }
        let (delay, overflow) = options.routeBatchDelay.multipliedReportingOverflow(
            by: 1 << min(guest.settleFailures, 10))
        guest.settleMark = nil
        // Without a timer it waits for the next batch.
        guest.settleTimer = try? loop.addTimer(
            after: isShortOfPlaces ? 0 : overflow ? .max : delay, tag: Self.vectorTag | UInt64(Self.settleSlot))
    }

    package mutating func settledAll() {
        guest?.settleFailures = 0
        guest?.settleError = nil
    }

    package var loopRoom: Int { loop.room }

    // MARK: Past the loop

    package mutating func makeSpare(_ slot: UInt32) throws(MuxError) -> SpareEventFD {
        do throws(RingError) {
            let eventfd = try EventFD()
            let source = try loop.add(eventfd.number, tag: Self.vectorTag | UInt64(slot))
            return SpareEventFD(eventfd: eventfd.release(), source: source)
        } catch { throw MuxError(error) }
    }

    package mutating func drop(_ spare: SpareEventFD) {
        try? loop.remove(spare.source)
        _ = irqmux_close(spare.eventfd)
    }

    package mutating func bind(_ slot: UInt32) throws(MuxError) -> VectorBinding {
        VectorBinding(binding: try attachedGuest().bind(entries[slot].eventfd, entries[slot].gsi, slot))
    }

    package mutating func install(_ binding: VectorBinding, _ spare: SpareEventFD, _ slot: UInt32) {
        guard let guest else { return }
        if let former = entries[slot].source {
            if let counts = try? loop.counts(of: former) {
                entries[slot].taken &+= counts.taken
                entries[slot].silencesEnded &+= UInt32(truncatingIfNeeded: counts.notifications)
            }
            try? loop.remove(former)
        }
        entries[slot].source = spare.source
        install(binding.binding, slot, of: guest)
        entries[slot].eventfd = spare.eventfd
    }
}
