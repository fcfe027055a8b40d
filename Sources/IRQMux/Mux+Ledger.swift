internal import CKernel
internal import EventRing
public import InterruptModel

// The account. What went into a vector's eventfd is known exactly, because on the hot path nobody reads it: the counter
// keeps the sum, and /proc tells it without disturbing the poll. What the device says it raised comes from the device.
// The two have to agree; if they do not, the difference is unexplained, and somebody has lost or invented an interrupt.
// A bypassed signal is seen by nobody: how many there were is what the device raised and the user eventfd did not get,
// and that must lie between what the device says it raised while it was certainly, and possibly, bypassed.
extension Mux {
    /// The account of one vector. Costs some microseconds, on the loop's thread.
    ///
    /// Signals that are in the eventfd while no notification has been dispatched since the last account are pending. In
    /// a running mux they are under way, and a signal that the device has counted and not yet written is unexplained
    /// for that moment; when the loop has nothing more to do they mean that a notification was lost.
    /// - Throws: `ENOENT` when it was disconnected; `EBADF` or `EINVAL` when its eventfd was closed from outside;
    ///   `ENOENT` or `EACCES` without /proc.
    public mutating func ledger(_ id: VectorID) throws(MuxError) -> Ledger {
        let slot = try entries.locate(id, "accounting for a vector")
        return try account(slot, raisedBy: devices[Int(entries[slot].device)])
    }

    /// The account of a device: of all its vectors, those disconnected since it was attached included.
    ///
    /// - Throws: `ENOENT` when it was detached; otherwise as for a vector.
    public mutating func ledger(_ id: DeviceID) throws(MuxError) -> Ledger {
        let device = try locate(id)
        var sum = device.retired
        for slot in 0..<UInt32(entries.count) where entries[slot].eventfd >= 0 && Int(entries[slot].device) == id.place
        {
            sum.merge(try account(slot, raisedBy: device))
        }
        return sum
    }

    /// How many of a vector's deliveries went where, as of now.
    ///
    /// - Throws: As `ledger`.
    public mutating func deliveries(of id: VectorID) throws(MuxError) -> Deliveries {
        let slot = try entries.locate(id, "accounting for a vector")
        let delivered = try account(slot, raisedBy: devices[Int(entries[slot].device)]).delivered
        let user = entries[slot].delivered &- entries[slot].forwarded
        return Deliveries(toUser: user, intoGuest: delivered &- user)
    }

    /// - Parameter device: Who says how much was raised, where it counts.
    mutating func account(_ slot: UInt32, raisedBy device: AttachedDevice?) throws(MuxError) -> Ledger {
        var (raised, received, bypassed) = try signals(slot, raisedBy: device)
        // By the user eventfd, where the loop tells; what went past it is KVM's, and delivered.
        let signals = received &- bypassed
        let notifications = UInt32(truncatingIfNeeded: seen(slot).notifications)
        let untaken = untakenByGuest(slot)
        let unknown = unknownUntaken(slot, untaken)
        raised &+= unknown
        received &+= unknown
        var ledger = Ledger(raised: raised)
        ledger.delivered = entries[slot].delivered &+ bypassed &- (untaken &- unknown)
        let held: UInt64 = entries[slot].gate.isPending || entries[slot].ready || entries[slot].silenced ? 1 : 0
        var underWay: UInt64 = 0
        if entries[slot].isServed {
            // Every signal that somebody looked at was counted: see Mux+Served.
            underWay = signals &- entries[slot].accountedSignals
        } else if notifications == entries[slot].accountedNotifications {
            underWay = signals &- entries[slot].accountedSignals
        } else {
            entries[slot].accountedNotifications = notifications
            entries[slot].accountedSignals = signals
        }
        ledger.pending = held &+ underWay &+ untaken
        let told = ledger.delivered &+ ledger.pending
        // More told than received would be an invented interrupt: nothing is coalesced then, and the rest shows.
        ledger.coalesced = received > told ? received &- told : 0
        if entries[slot].servedPast { countBypassed(slot, &ledger) }
        return ledger
    }

    /// How many of the signals that the guest did not take are in no account yet: of a device that does not count,
    /// those that it sent past the loop.
    func unknownUntaken(_ slot: UInt32, _ untaken: UInt64) -> UInt64 {
        guard untaken > 0, devices[Int(entries[slot].device)]?.raisedCount(entries[slot].vector) == nil else {
            return 0
        }
        return untaken &- min(untaken, entries[slot].forwarded)
    }

    /// What the device says it raised, and what arrived. The device may be raising meanwhile: what arrived is between
    /// what it said before and what it says after, but for a signal that is just being written. So look again then.
    private func signals(
        _ slot: UInt32, raisedBy device: AttachedDevice?
    ) throws(MuxError) -> (raised: UInt64, received: UInt64, bypassed: UInt64) {
        var raised: UInt64 = 0
        var received: UInt64 = 0
        var bypassed: UInt64 = 0
        for _ in 0..<4 {
            let before = device?.raisedCount(entries[slot].vector)
            received = try signalsReceived(slot)
            guard let before, let after = device?.raisedCount(entries[slot].vector) else {
                return (received, received, 0)
            }
            raised = after &- entries[slot].raisedBefore
            if entries[slot].bypassed.isUsed {
                bypassed = entries[slot].bypassed.total(
                    raised &- min(received, raised), before: before, after: after)
                received &+= bypassed
            }
            if before &- entries[slot].raisedBefore <= received, received <= raised {
                return (received, received, bypassed)
            }
        }
        return (raised, received, bypassed)
    }

    private func signalsReceived(_ slot: UInt32) throws(MuxError) -> UInt64 {
        var waiting: UInt64 = 0
        // SAFETY: the pointer is valid for the call.
        let looked = unsafe irqmux_eventfd_peek(entries[slot].eventfd, &waiting)
        guard looked == 0 else {
            throw MuxError(
                "accounting for a vector", errno: -looked,
                remedy: "/proc must be readable, and nobody but the mux may close its eventfds")
        }
        return seen(slot).taken &+ waiting &+ readAhead(slot)
    }

    /// What the loop has read and not handed out yet.
    private func readAhead(_ slot: UInt32) -> UInt64 {
        guard let source = entries[slot].source else { return 0 }
        do throws(RingError) { return try loop.readAhead(of: source) } catch { return 0 }
    }

    /// How often somebody looked at the eventfd, and the signals that were taken out of it, by the loop and by the mux.
    private func seen(_ slot: UInt32) -> (notifications: UInt64, taken: UInt64) {
        var seen = (notifications: UInt64(entries[slot].silencesEnded), taken: entries[slot].taken)
        guard let source = entries[slot].source else { return seen }
        do throws(RingError) {
            let counts = try loop.counts(of: source)
            seen.notifications &+= counts.notifications
            seen.taken &+= counts.taken
        } catch {
            // The loop does not know the source any more, so nothing came by it.
        }
        return seen
    }
}

/// Where a vector's deliveries went.
public struct Deliveries: Equatable, Sendable {
    /// Handed to the handler, or fanned out.
    public var toUser: UInt64
    /// Written to an irqfd, by the loop or by the device. The guest's local APIC merges those that come while one is
    /// pending there, so its handler may have run less often, and has never run more often.
    public var intoGuest: UInt64

    /// Two counts.
    public init(toUser: UInt64 = 0, intoGuest: UInt64 = 0) {
        self.toUser = toUser
        self.intoGuest = intoGuest
    }
}
