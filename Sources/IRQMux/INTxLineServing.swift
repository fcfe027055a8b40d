internal import CKernel
internal import EventRing
internal import InterruptModel
internal import KVM

// INTx into a guest. With the ways past the mux the device signals an eventfd that is an irqfd, and its own eventfd
// stays in the loop for what is on its way while things change: that is forwarded, by a fan-out to the other one.
// A level makes this simple: whoever unmasks a line that is still asserted fires it again.
extension Mux {
    /// What a VMM's run loop tells of ends of interrupts (``INTxWay/ioapicBroadcast``); for any thread.
    public var endOfInterrupts: EndOfInterruptSink { lines.shared.ends }

    /// Serves a connected INTx to a guest, until `stopServing`. What is in service is acknowledged, so that a device
    /// that still asserts fires again, the new way.
    ///
    /// With the ways past the mux, order is route, then this: a signal without a route is swallowed by KVM.
    /// - Parameters:
    ///   - service: The way with what it needs.
    ///   - choice: What `INTxWay.best` answered, to be told later; without it the owner chose.
    /// - Throws: `ENOENT` when it was disconnected; `EINVAL` for another vector than INTx, a choice of another way, or
    ///   a quiet period of 0; `EBUSY` when it is served already; what KVM_IRQFD and SET_IRQS say (`ENOTTY`: the device
    ///   takes no unmasking eventfd). Then everything is as it was.
    public mutating func serve(
        _ id: VectorID, by service: INTxService, because choice: INTxChoice? = nil
    ) throws(MuxError) {
        let slot = try entries.locate(id, "serving INTx")
        guard entries[slot].index == .intx else {
            throw MuxError("serving INTx", errno: EINVAL, remedy: "only INTx is level-triggered; route other vectors")
        }
        guard entries[slot].way == nil else {
            throw MuxError("serving INTx", errno: EBUSY, remedy: "stop serving the line first")
        }
        guard choice == nil || choice?.way == service.way else {
            throw MuxError("serving INTx", errno: EINVAL, remedy: "give the choice of the way that is asked for")
        }
        if case .mappingToggle(_, 0, _) = service {
            throw MuxError("serving INTx", errno: EINVAL, remedy: "give the guest a quiet period to be done in")
        }
        let line = try INTxLine.make(service, choice?.reason ?? .chosenByOwner, among: lines.shared)
        if service.way.bypasses { try bypass(slot, line, service) } else { line.attachPin() }
        lines.byPlace[Int(entries[slot].device)] = line
        entries[slot].way = service.way
        if unacknowledged == slot { unacknowledged = .max }
        // When the device refuses, the line stays in service and may be acknowledged again.
        try endService(slot)
    }

    /// Ends the service; signals go to `route` from now on. What the guest has not acknowledged by then comes again
    /// there, if the device still asserts. No effect on a line that is not served.
    ///
    /// - Throws: `ENOENT` when it was disconnected; as `route`; what SET_IRQS says. Then the line is still served; if
    ///   it was the last request that failed, which unmasks the device, it is not, and may be acknowledged.
    public mutating func stopServing(_ id: VectorID, route: Route = .handler) throws(MuxError) {
        let slot = try entries.locate(id, "serving INTx")
        guard let way = entries[slot].way else { return }
        if way.bypasses { try leaveBypass(slot, for: route) } else { try setRoute(slot, route) }
        let wasInService = entries[slot].inService
        dropLine(slot)
        guard way.bypasses || wasInService else { return }
        // Until the device is unmasked, it may be acknowledged.
        entries[slot].inService = true
        // Listen first: the unmasking may fire at once.
        if let source = entries[slot].source { try? loop.arm(source) }
        // The owner's mask was the way to the loop so far; from now on it is the device's.
        try setDevice(slot, entries[slot].deviceMasked ? .mask : .unmask)
        entries[slot].inService = false
    }

    /// The device signals the loop again, which goes by `route`.
    private mutating func leaveBypass(_ slot: UInt32, for route: Route) throws(MuxError) {
        do throws(MuxError) {
            try setTrigger(slot, entries[slot].eventfd)
            try setUnmask(slot, -1)
            try setRoute(slot, route)
        } catch {
            // Served as before. What came between was told to the loop, which forwards it.
            guard let line = lines.byPlace[Int(entries[slot].device)] else { throw error }
            if let unmask = try? line.record.preparedUnmask() { try? setUnmask(slot, unmask) }
            if !entries[slot].deviceMasked {
                try? setTrigger(slot, line.trigger)
                // An interrupt that the guest was given before fires again, if the device still asserts.
                try? setDevice(slot, .unmask)
            }
            throw error
        }
    }

    /// How a line is served; `nil` when it is not.
    ///
    /// - Throws: `ENOENT` when it was disconnected.
    public func lineStatus(_ id: VectorID) throws(MuxError) -> INTxLineStatus? {
        let slot = try entries.locate(id, "looking at a vector")
        guard entries[slot].way != nil, let line = lines.byPlace[Int(entries[slot].device)] else { return nil }
        return INTxLineStatus(
            choice: line.choice, gsi: line.gsi, isInService: entries[slot].inService,
            acknowledged: line.record.acknowledgedCount,
            isTrapping: line.isTrapping)
    }

    /// The guest has ended the interrupt of a pin: the pin goes low, and every line on it that is in service is
    /// unmasked. Devices that still assert fire again. For the ways on the mux's thread (user EOI, mapping toggle).
    ///
    /// - Throws: What SET_IRQS says; the other lines are unmasked all the same.
    public mutating func endOfInterrupt(gsi: UInt32) throws(MuxError) {
        _ = endPin(gsi)
        try endServices(onPin: gsi)
    }

    /// The pin goes low. `false` when no line of this mux drives it.
    func endPin(_ gsi: UInt32) -> Bool {
        for case .some(let line) in lines.byPlace where line.gsi == gsi && line.drivesPin {
            line.endPin()
            return true
        }
        return false
    }

    /// Unmasks every line of this mux that is on the pin and in service.
    mutating func endServices(onPin gsi: UInt32) throws(MuxError) {
        var refusal: MuxError?
        for slot in 0..<UInt32(entries.count) where entries[slot].inService && entries[slot].eventfd >= 0 {
            guard let line = lines.byPlace[Int(entries[slot].device)], line.gsi == gsi else { continue }
            do throws(MuxError) { try endService(slot) } catch { refusal = error }
        }
        if let refusal { throw refusal }
    }

    // MARK: Steps

    private mutating func bypass(_ slot: UInt32, _ line: INTxLine, _ service: INTxService) throws(MuxError) {
        let record = line.record
        let unmask = try record.preparedUnmask()
        try line.bind(resample: line.choice.way == .kernelResample ? unmask : nil)
        let trigger = line.trigger
        if case .ioapicBroadcast(_, let gsi, let vector) = service { record.publish(gsi: gsi, vector: vector) }
        do throws(MuxError) {
            try setUnmask(slot, unmask)
            // A masked line stays with the loop, which holds what comes, and needs no mask in the device any more.
            if !entries[slot].deviceMasked { try setTrigger(slot, trigger) }
            if entries[slot].inService || entries[slot].deviceMasked { try setDevice(slot, .unmask) }
            // What is held, or on its way to the loop, goes to the guest as well.
            try setRoute(slot, .fanOut([trigger]))
        } catch {
            record.withdraw()
            try? setUnmask(slot, -1)
            try? setTrigger(slot, entries[slot].eventfd)
            // What the guest was given meanwhile, nobody will acknowledge: it fires again.
            try? setDevice(slot, entries[slot].deviceMasked ? .mask : .unmask)
            throw error
        }
        entries[slot].inService = false
        if let source = entries[slot].source { try? loop.arm(source) }
        entries[slot].servedPast = true
    }

    /// Forgets a line: the irqfd is deassigned, the pin let go, mappings turned on. The device is not asked.
    mutating func dropLine(_ slot: UInt32) {
        guard entries[slot].way != nil else { return }
        let place = Int(entries[slot].device)
        entries[slot].way = nil
        guard let line = lines.byPlace[place] else { return }
        line.record.withdraw()
        line.leavePin()
        restoreMappings(line)
        lines.byPlace[place] = nil
        line.unbind()
    }

    /// A route of one's own would send what is held past the guest.
    func checkNotBypassed(_ slot: UInt32) throws(MuxError) {
        guard entries[slot].way?.bypasses == true else { return }
        throw MuxError("routing a vector", errno: EBUSY, remedy: "stop serving the line, with the route it is to have")
    }

    /// Adds to an account what went past the loop: what the device raised and the loop did not receive. KVM takes it
    /// at once; what it has not taken is in the eventfd.
    func countBypassed(_ slot: UInt32, _ ledger: inout Ledger) {
        guard ledger.unexplained > 0 else { return }
        let passed = UInt64(ledger.unexplained)
        var waiting: UInt64 = 0
        if let trigger = lines.byPlace[Int(entries[slot].device)]?.trigger, trigger >= 0 {
            // SAFETY: the pointer is valid for the call.
            _ = unsafe irqmux_eventfd_peek(trigger, &waiting)
        }
        waiting = min(waiting, passed)
        ledger.pending &+= waiting
        ledger.delivered &+= passed &- waiting
    }

    mutating func setTrigger(_ slot: UInt32, _ eventfd: Int32) throws(MuxError) {
        try ask(slot, IRQRequest(.intx, .trigger, .eventfd([eventfd])))
    }

    private mutating func setUnmask(_ slot: UInt32, _ eventfd: Int32) throws(MuxError) {
        try ask(slot, IRQRequest(.intx, .unmask, .eventfd([eventfd])))
    }

    private mutating func ask(_ slot: UInt32, _ request: IRQRequest) throws(MuxError) {
        guard let device = devices[Int(entries[slot].device)] else { return }
        do throws(DeviceError) { _ = try device.set(request) } catch { throw MuxError(error) }
    }
}
