internal import CKernel
internal import EventRing
package import InterruptModel
internal import KVM

// Vectors that serve a guest's MSI or MSI-X registers. Unlike others they are counted: whoever looks at a notification
// takes the eventfd's counter, and one that finds nothing new was told before and is dropped. So a pending bit is exact
// at any moment, and each signal passes once, on whichever way is open then.
//
// A vector's life, with the eventfd that the device signals:
//
// - *injected*: the user eventfd. The loop injects the message with KVM_SIGNAL_MSI, so that no interrupt waits until
//   its route is committed.
// - *settled*: routes are committed together, and then the very eventfd that the device signals is bound as irqfd; a
//   new one becomes the user eventfd. The device is not asked, so that coming into use costs one SET_IRQS in all.
// - *masked*: the user eventfd, by a swap if the vector was bypassed; what comes is held.
//
// Here are the effects. When which of them is due says `ServedHost`, to the simulator as well.
extension Mux: ServedHost {
    // MARK: Places

    package func slot(of place: VectorID) -> UInt32? {
        guard place.slot != .max else { return nil }
        return try? entries.locate(place, "looking at a vector")
    }

    package func number(_ slot: UInt32) -> UInt32 { entries[slot].number }

    package subscript(gate slot: UInt32) -> VectorGate {
        get { entries[slot].gate }
        set { entries[slot].gate = newValue }
    }

    package subscript(isSettled slot: UInt32) -> Bool {
        get { entries[slot].route == .guest }
        set { entries[slot].route = newValue ? .guest : .injected }
    }

    package subscript(mayHaveLost slot: UInt32) -> Bool {
        get { entries[slot].mayHaveLost }
        set { entries[slot].mayHaveLost = newValue }
    }

    package subscript(isTakenAway slot: UInt32) -> Bool {
        get { !entries[slot].isAssigned }
        set { entries[slot].isAssigned = !newValue }
    }

    package mutating func makePlace(_ id: DeviceID, _ vector: Vector) throws(MuxError) -> VectorID {
        let device = try locate(id)
        let slot = try makeEntry(id, vector, tag: UInt64(vector.number))
        entries[slot].isServed = true
        entries[slot].isAssigned = true
        entries[slot].route = .injected
        entries[slot].gate.mask()
        entries[slot].raisedBefore = device.raisedCount(vector) ?? 0
        device.connected[Int(vector.index.rawValue)] += 1
        return VectorID(slot: slot, generation: entries[slot].generation)
    }

    package mutating func discardPlace(_ slot: UInt32) {
        devices[Int(entries[slot].device)]?.connected[Int(entries[slot].index.rawValue)] -= 1
        discardEntry(slot)
    }

    package mutating func retirePlace(_ slot: UInt32) {
        guard let device = devices[Int(entries[slot].device)] else { return discardEntry(slot) }
        retire(slot, device)
    }

    /// A served vector is being forgotten; its irqfd is gone.
    mutating func endServing(_ slot: UInt32) {
        guard entries[slot].isServed, let guest else { return }
        forgetUnsettled(slot)
        if entries[slot].route == .guest { guest.settledCount -= 1 }
        if entries[slot].gsi != .max { guest.table.giveBack(entries[slot].gsi, of: guest.owner(slot)) }
    }

    /// Served vectors follow the guest's registers and nobody else.
    func checkNotServed(_ slot: UInt32) throws(MuxError) {
        guard entries[slot].isServed else { return }
        throw MuxError(
            "changing a vector", errno: EBUSY,
            remedy: "it serves the guest's MSI or MSI-X registers: write those instead")
    }

    // MARK: Signals

    package mutating func fresh(_ slot: UInt32) -> UInt64 {
        var count: UInt64 = 0
        // SAFETY: the pointer is valid for the call.
        if unsafe irqmux_eventfd_take(entries[slot].eventfd, &count) == 0 { entries[slot].taken &+= count }
        var total = entries[slot].taken
        // The loop takes counters itself when it spins, and when a poll ended.
        if let source = entries[slot].source, let counts = try? loop.counts(of: source) { total &+= counts.taken }
        defer { entries[slot].accountedSignals = total }
        return total &- entries[slot].accountedSignals
    }

    /// A notification of a served vector passed the gate; `deliver` has counted it.
    @inline(never)
    mutating func forwardServed(_ slot: UInt32) {
        entries[slot].delivered &-= 1
        passFresh(slot)
    }

    /// Holds what is new; false when nothing is.
    @inline(never)
    mutating func holdServed(_ slot: UInt32) -> Bool { holdFresh(slot) }

    package mutating func signalIRQFD(_ slot: UInt32, standingFor count: UInt64) {
        countInjected(slot)
        _ = irqmux_eventfd_signal(entries[slot].bypass, 1)
    }

    package mutating func countInjected(_ slot: UInt32) {
        entries[slot].delivered &+= 1
        entries[slot].forwarded &+= 1
    }

    package mutating func inject(_ slot: UInt32, standingFor count: UInt64) {
        countInjected(slot)
        guard let guest, let (message, requester) = wanted(slot) else { return dropInjected(slot) }
        do throws(KVMError) {
            try guest.table.machine.signalMSI(address: message.address, data: message.data, deviceID: requester)
        } catch {
            _ = guest.table.take(error)
            dropInjected(slot)
        }
    }

    /// The guest could not be told, and never will be: the signal goes from the vector's account to the device's drops.
    private mutating func dropInjected(_ slot: UInt32) {
        entries[slot].delivered &-= 1
        entries[slot].forwarded &-= 1
        entries[slot].taken &-= 1
        entries[slot].accountedSignals &-= 1
        entries[slot].raisedBefore &+= 1
        var lost = Ledger(raised: 1)
        lost.drops[.noGuestRoute] = 1
        devices[Int(entries[slot].device)]?.retired.merge(lost)
    }

    package mutating func listenAgain(_ slot: UInt32) -> UInt64 {
        guard entries[slot].silenced else { return 0 }
        endSilence(slot)
        return fresh(slot)
    }

    package mutating func send(
        _ message: InterruptMessage, requester: UInt32?, for vector: UInt32
    ) throws(MuxError) {
        let guest = try attachedGuest()
        do throws(KVMError) {
            try guest.table.machine.signalMSI(address: message.address, data: message.data, deviceID: requester)
        } catch { throw guest.table.take(error) }
    }

    package mutating func noteKick(_ slot: UInt32) {
        devices[Int(entries[slot].device)]?.kicked[entries[slot].index] &+= 1
    }

    package mutating func settleOwed(_ id: DeviceID) {
        guard let attached = try? locate(id) else { return }
        attached.retired.pending &-= 1
        attached.retired.delivered &+= 1
    }

    package mutating func dropOwed(_ id: DeviceID, _ count: UInt64) {
        guard let attached = try? locate(id) else { return }
        attached.retired.pending &-= count
        attached.retired.drops[.disabled] &+= count
    }

    // MARK: The device

    package func eventFD(_ slot: UInt32, atBypass isBypassed: Bool) -> Int32 {
        isBypassed ? entries[slot].bypass : entries[slot].eventfd
    }

    package func isAtBypass(_ slot: UInt32) -> Bool { entries[slot].bypassed.isLive }

    package mutating func set(_ request: IRQRequest, on id: DeviceID) throws(DeviceError) -> UInt32 {
        let device: AttachedDevice
        do throws(MuxError) { device = try locate(id) } catch {
            throw DeviceError("using a device", errno: ENOENT, remedy: "the device was detached")
        }
        return try device.set(request)
    }

    package mutating func assign(
        _ slot: UInt32, _ eventFD: Int32, atBypass isBypassed: Bool, anew isAnew: Bool
    ) throws(DeviceError) {
        guard let device = devices[Int(entries[slot].device)] else { return }
        let vector = Vector(entries[slot].index, entries[slot].number)
        let before = device.raisedCount(vector) ?? 0
        try device.point(vector, at: eventFD, anew: isAnew)
        notePointed(slot, atBypass: isBypassed, before: before, after: device.raisedCount(vector) ?? 0)
    }

    package mutating func swap(_ slot: UInt32, for eventFD: Int32) -> Bool {
        devices[Int(entries[slot].device)]?.swap(entries[slot].vector, for: eventFD) ?? false
    }

    package func connectingRules(_ id: DeviceID) -> IRQPlanRules {
        (try? locate(id))?.connectingRules ?? IRQPlanRules()
    }

    package func raisedCount(_ slot: UInt32) -> UInt64 {
        devices[Int(entries[slot].device)]?.raisedCount(entries[slot].vector) ?? 0
    }

    package func keepsPending(_ slot: UInt32) -> Bool {
        switch entries[slot].index {
        case .msix: true
        default: false
        }
    }

    package mutating func notePointed(_ slot: UInt32, atBypass isBypassed: Bool, before: UInt64, after: UInt64) {
        entries[slot].bypassed.end(before: before, after: after)
        if isBypassed { entries[slot].bypassed.begin(before: before, after: after) }
    }
}
