internal import CKernel
internal import EventRing
internal import InterruptModel

// Routes into the guest. A vector that has, or had, one owns two eventfds: the loop listens to the user eventfd all the
// time, and the bypass eventfd is bound as irqfd all the time. Which of them the device signals is all that a switch
// changes, so there is no moment at which a signal finds nobody: what went to the user eventfd before the swap comes
// through the loop, which acts on it by the route of that moment; what goes to the bypass eventfd is in the guest
// before the device's write returns.
extension Mux {
    /// Readies the eventfds for `route`, which is about to become the vector's. Throws with everything as it was.
    mutating func takeGuestPath(_ slot: UInt32, _ route: Route) throws(MuxError) {
        guard route.gsi != nil || entries[slot].bypass >= 0 else { return }
        let isBypassed: Bool
        if case .guest = route { isBypassed = !entries[slot].gate.isMasked } else { isBypassed = false }
        guard let gsi = route.gsi, entries[slot].boundGSI != gsi else {
            return try point(slot, atBypass: isBypassed)
        }
        guard entries[slot].index != .intx else {
            throw MuxError(
                "routing into the guest", errno: EINVAL,
                remedy: "a level-triggered line needs the guest's acknowledgement: route it as an INTx line")
        }
        let guest = try attachedGuest()
        let owner = guest.owner(slot)
        try guest.table.claim(gsi, for: owner)
        // A new eventfd for a new GSI, so that the device goes from one irqfd to the other in one step.
        let new: GuestBinding
        do throws(MuxError) { new = try guest.makeBinding(gsi, slot) } catch {
            guest.table.release(gsi, of: owner)
            throw error
        }
        do throws(MuxError) { try point(slot, to: isBypassed ? new.number : nil) } catch {
            new.unbind()
            throw error
        }
        unbind(slot)
        install(new, slot, of: guest)
    }

    /// Lets the device signal the bypass eventfd or the user eventfd. No effect when it does.
    mutating func point(_ slot: UInt32, atBypass isBypassed: Bool) throws(MuxError) {
        guard entries[slot].bypassed.isLive != isBypassed, entries[slot].bypass >= 0 else { return }
        try point(slot, to: isBypassed ? entries[slot].bypass : nil)
    }

    /// One SET_IRQS of one vector: from what the device signals to `target`, or to the user eventfd.
    private mutating func point(_ slot: UInt32, to target: Int32?) throws(MuxError) {
        guard target != nil || entries[slot].bypassed.isLive else { return }
        guard entries[slot].isAssigned, let device = devices[Int(entries[slot].device)] else {
            // Connecting: the first SET_IRQS, of the whole range, will do it.
            if target != nil { entries[slot].bypassed.begin(before: 0, after: 0) }
            return
        }
        let before = device.raisedCount(entries[slot].vector) ?? 0
        let vector = entries[slot].vector
        do throws(DeviceError) { try device.point(vector, at: target ?? entries[slot].eventfd) } catch {
            // The refusal may have taken the vector's eventfd away: give it back. A device that refuses this too is
            // told of by the first error.
            try? device.point(vector, at: signalled(slot))
            throw MuxError(error)
        }
        let after = device.raisedCount(entries[slot].vector) ?? 0
        entries[slot].bypassed.end(before: before, after: after)
        if target != nil { entries[slot].bypassed.begin(before: before, after: after) }
    }

    /// The eventfd that the device is to signal.
    func signalled(_ slot: UInt32) -> Int32 {
        entries[slot].bypassed.isLive ? entries[slot].bypass : entries[slot].eventfd
    }

    /// The first SET_IRQS was carried out.
    mutating func beginAssigned(_ slot: UInt32, _ device: AttachedDevice) {
        entries[slot].isAssigned = true
        guard entries[slot].bypassed.isLive else { return }
        let before = entries[slot].raisedBefore
        entries[slot].bypassed.begin(
            before: before, after: max(before, device.raisedCount(entries[slot].vector) ?? 0))
    }

    // MARK: Forwarding

    /// One notification, or several that were held, into the guest. The irqfd takes it before the write returns.
    @inline(__always)
    mutating func forward(_ slot: UInt32) {
        if entries[slot].isServed { return forwardServed(slot) }
        entries[slot].forwarded &+= 1
        guard entries[slot].stages.isOn else {
            _ = irqmux_eventfd_signal(entries[slot].bypass, 1)
            return
        }
        forwardMeasured(slot)
    }

    /// What was held while the gate was shut goes into the guest at once, as one.
    mutating func forwardHeld(_ slot: UInt32) {
        entries[slot].delivered &+= 1
        entries[slot].forwarded &+= 1
        _ = irqmux_eventfd_signal(entries[slot].bypass, 1)
    }

    // MARK: Ending

    /// Signals that nobody took out of the bypass eventfd: the machine behind its irqfd is gone.
    func untakenByGuest(_ slot: UInt32) -> UInt64 {
        guard entries[slot].bypass >= 0 else { return 0 }
        var count: UInt64 = 0
        // SAFETY: the pointer is valid for the call.
        return unsafe irqmux_eventfd_peek(entries[slot].bypass, &count) == 0 ? count : 0
    }

    /// When a vector leaves a guest that is gone: what the guest never took goes the new way, as one.
    mutating func recoverUntaken(_ slot: UInt32) {
        guard entries[slot].bypass >= 0, !entries[slot].route.isIntoGuest else { return }
        var count: UInt64 = 0
        // SAFETY: the pointer is valid for the call. A bound irqfd's counter is always 0.
        guard unsafe irqmux_eventfd_take(entries[slot].bypass, &count) == 0, count > 0 else { return }
        let unknown = unknownUntaken(slot, count)
        entries[slot].delivered &-= count &- unknown
        entries[slot].forwarded &-= count &- unknown
        entries[slot].taken &+= unknown
        entries[slot].accountedSignals &+= unknown
        if entries[slot].gate.arrive(1) > 0 { open(slot, holding: 1) }
    }
}
