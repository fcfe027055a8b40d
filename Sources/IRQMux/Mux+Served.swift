internal import CKernel
internal import EventRing
internal import InterruptModel
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
extension Mux {
    /// In the tag of the timer that commits routes, where a vector's place would be.
    static var settleSlot: UInt32 { .max - 1 }

    // MARK: Signals

    /// Signals that nobody has looked at yet; from now on somebody has.
    mutating func fresh(_ slot: UInt32) -> UInt64 {
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
        if fresh(slot) > 0 { pass(slot) }
    }

    /// Holds what is new; false when nothing is.
    @inline(never)
    mutating func holdServed(_ slot: UInt32) -> Bool {
        let count = fresh(slot)
        guard count > 0 else { return false }
        _ = entries[slot].gate.arrive(count)
        return true
    }

    /// One interrupt into the guest, on the way that is open.
    mutating func pass(_ slot: UInt32) {
        entries[slot].delivered &+= 1
        entries[slot].forwarded &+= 1
        guard entries[slot].route == .injected else {
            _ = irqmux_eventfd_signal(entries[slot].bypass, 1)
            return
        }
        guard let guest,
            case .message(let address, let data, let requester)? = guest.table.wantedRoute(entries[slot].gsi)
        else { return dropInjected(slot) }
        do throws(KVMError) {
            try guest.table.machine.signalMSI(address: address, data: data, deviceID: requester)
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

    /// Whether a masked served vector has something to deliver: its pending bit.
    mutating func isHeld(_ slot: UInt32) -> Bool {
        guard !entries[slot].gate.isOpen else { return false }
        return entries[slot].mayHaveLost || entries[slot].gate.isPending || holdServed(slot)
    }

    /// Whether a vector that is about to be unmasked has lost a signal, for all anybody knows, and has none to deliver
    /// in its place. Asked once.
    mutating func takeLoss(_ slot: UInt32) -> Bool {
        guard entries[slot].mayHaveLost else { return false }
        entries[slot].mayHaveLost = false
        return !isHeld(slot)
    }

    // MARK: Coming and going

    /// Connects vectors for a guest: held, without GSIs yet. One SET_IRQS.
    ///
    /// - Returns: 0, or how many vectors the host could have given: then none is connected.
    mutating func connectServed(
        _ id: DeviceID, _ index: IRQIndex, _ numbers: Range<UInt32>, _ places: inout [VectorID]
    ) throws(MuxError) -> UInt32 {
        let device = try locate(id)
        try prepareServed(id, index, numbers, &places)
        do throws(MuxError) {
            let eventfds = numbers.map { signalled($0, places) }
            let answer: UInt32
            do throws(DeviceError) {
                answer = try device.set(IRQRequest(index, .trigger, start: numbers.lowerBound, .eventfd(eventfds)))
            } catch { throw MuxError(error) }
            if answer > 0 { discardServed(index, numbers, &places) }
            return answer
        } catch {
            discardServed(index, numbers, &places)
            throw error
        }
    }

    /// Places and eventfds for vectors that a SET_IRQS is about to assign.
    mutating func prepareServed(
        _ id: DeviceID, _ index: IRQIndex, _ numbers: some Collection<UInt32>, _ places: inout [VectorID]
    ) throws(MuxError) {
        let device = try locate(id)
        for number in numbers {
            do throws(MuxError) {
                let slot = try makeEntry(id, Vector(index, number), tag: UInt64(number))
                entries[slot].isServed = true
                entries[slot].isAssigned = true
                entries[slot].route = .injected
                entries[slot].gate.mask()
                entries[slot].raisedBefore = device.raisedCount(entries[slot].vector) ?? 0
                places[Int(number)] = VectorID(slot: slot, generation: entries[slot].generation)
                device.connected[Int(index.rawValue)] += 1
            } catch {
                discardServed(index, numbers.prefix { $0 != number }, &places)
                throw error
            }
        }
    }

    /// Takes back what `prepareServed` made.
    mutating func discardServed(
        _ index: IRQIndex, _ numbers: some Collection<UInt32>, _ places: inout [VectorID]
    ) {
        for number in numbers {
            let place = places[Int(number)]
            places[Int(number)] = MessageCarrier.nobody
            guard let slot = try? entries.locate(place, "connecting vectors") else { continue }
            devices[Int(entries[slot].device)]?.connected[Int(index.rawValue)] -= 1
            discardEntry(slot)
        }
    }

    /// A connected vector gets its message and its GSI, and passes from now on.
    mutating func use(_ slot: UInt32, _ message: InterruptMessage, requester: UInt32?) throws(MuxError) {
        if entries[slot].gsi == .max {
            let gsi = try allocateGSI(message: message.address, data: message.data, deviceID: requester)
            if let guest { guest.table.handOver(gsi, to: guest.owner(slot)) }
            entries[slot].gsi = gsi
        } else {
            try setGSI(entries[slot].gsi, to: route(message, requester))
        }
        open(slot, holding: entries[slot].gate.unmask())
        if entries[slot].gate.isOpen { unsettle(slot) }
    }

    /// Signals are held from now on.
    mutating func maskServed(_ slot: UInt32) throws(MuxError) {
        if entries[slot].route == .guest { try point(slot, atBypass: false) }
        entries[slot].gate.mask()
        shut(slot)
        forgetUnsettled(slot)
    }

    /// Signals pass again; what was held does now, once.
    mutating func unmaskServed(_ slot: UInt32) throws(MuxError) {
        // While the host holds it back (`haltServed`), the guest's mask is only taken down.
        guard !entries[slot].gate.isHalted else { return _ = entries[slot].gate.unmask() }
        if entries[slot].route == .guest { try point(slot, atBypass: true) }
        open(slot, holding: entries[slot].gate.unmask())
        if entries[slot].route == .injected { unsettle(slot) }
    }

    /// The host holds signals back, whatever the guest's registers say: the guest's mask goes on being its own.
    mutating func haltServed(_ slot: UInt32) throws(MuxError) {
        if entries[slot].route == .guest { try point(slot, atBypass: false) }
        entries[slot].gate.halt()
        shut(slot)
        forgetUnsettled(slot)
    }

    /// Ends `haltServed`. What was held passes now, once, unless the guest masks the vector.
    mutating func resumeServed(_ slot: UInt32) throws(MuxError) {
        guard entries[slot].gate.isHalted else { return }
        if entries[slot].route == .guest, !entries[slot].gate.isMasked { try point(slot, atBypass: true) }
        open(slot, holding: entries[slot].gate.resume())
        if entries[slot].gate.isOpen, entries[slot].route == .injected { unsettle(slot) }
    }

    /// A vector in use gets another message: until that is committed, the loop injects it.
    mutating func redirect(_ slot: UInt32, _ message: InterruptMessage, requester: UInt32?) throws(MuxError) {
        let guest = try attachedGuest()
        if entries[slot].route == .guest {
            if entries[slot].gate.isOpen { try point(slot, atBypass: false) }
            entries[slot].route = .injected
            guest.settledCount -= 1
        }
        try setGSI(entries[slot].gsi, to: route(message, requester))
        if entries[slot].gate.isOpen { unsettle(slot) }
    }

    private func route(_ message: InterruptMessage, _ requester: UInt32?) -> GSIRoute {
        .message(address: message.address, data: message.data, deviceID: requester)
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
}
