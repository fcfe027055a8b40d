internal import CKernel
internal import EventRing
public import InterruptModel

// Devices and their vectors. Connecting is all or nothing: either every vector of the range is assigned and listened
// to, or everything is as it was.
extension Mux {
    /// Attaches a device. Nothing is asked of it before `connect`; from then on its interrupts are the mux's to assign.
    ///
    /// - Throws: `ENOSPC` when there are `MuxOptions.devices` already.
    public mutating func attach<Device: InterruptDevice & ~Copyable>(
        _ device: consuming Device
    ) throws(MuxError) -> DeviceID {
        guard let place = devices.firstIndex(where: { $0 == nil }) else {
            throw MuxError("attaching a device", errno: ENOSPC, remedy: "make the mux with more MuxOptions.devices")
        }
        deviceGeneration &+= 1
        devices[place] = AttachedDeviceOf(device, generation: deviceGeneration)
        return DeviceID(place: place, generation: deviceGeneration)
    }

    /// Disconnects what is connected of a device and lets it go.
    ///
    /// - Returns: The accounts of all its vectors since it was attached; what was still held is dropped by name.
    /// - Throws: `ENOENT` when it was detached before. A device that refuses to be disabled is let go all the same.
    @discardableResult
    public mutating func detach(_ id: DeviceID) throws(MuxError) -> Ledger {
        let device = try locate(id)
        endShortcuts(device)
        for index in IRQIndex.allCases { try? disconnectAll(id, index) }
        devices[id.place] = nil
        return device.retired
    }

    /// Assigns an eventfd to each vector of a range, listens to all of them, and routes them. One SET_IRQS, unless the
    /// device's requests carry fewer eventfds (``IRQPlanRules``).
    ///
    /// The device's index becomes active with its first vectors. An index that is NORESIZE (MSI always; MSI-X on most
    /// kernels) takes no more afterwards: connect all that will be wanted at once.
    /// - Parameters:
    ///   - route: The route of each vector.
    ///   - tag: Turns a vector's number into the tag of its events; the number itself by default.
    /// - Returns: One identity a vector, in order.
    /// - Throws: `EINVAL` for vectors the device does not have, or while INTx, MSI or MSI-X of the same device excludes
    ///   it; `EBUSY` for one that is connected; `ENOSPC` when the mux is full (the places of vectors just disconnected,
    ///   or of a refused attempt, come free with the next wait), or with `MuxError.available` when the host has fewer
    ///   left; `EMFILE`; what else SET_IRQS says. Whatever the device did before it refused is taken back.
    @discardableResult
    public mutating func connect(
        _ id: DeviceID, _ index: IRQIndex, _ numbers: Range<UInt32>, route: Route = .handler,
        tag: (UInt32) -> UInt64 = { UInt64($0) }
    ) throws(MuxError) -> [VectorID] {
        try connect(id, index, numbers, tag: tag) { _ in route }
    }

    /// Connects vectors with a route of its own for each: what vectors routed into a guest need, whose GSIs differ.
    ///
    ///     try mux.connect(device, .msix, 0..<2048) { number in .guest(gsis[Int(number)]) }
    ///
    /// Routes of GSIs that are not committed yet are committed first, by one KVM_SET_GSI_ROUTING for all. Bypassed
    /// vectors signal their irqfds from the first SET_IRQS on.
    /// - Parameters:
    ///   - tag: Turns a vector's number into the tag of its events; the number itself by default.
    ///   - routes: Turns a vector's number into its route.
    /// - Returns: One identity a vector, in order.
    /// - Throws: As the form with one route, and as `route(_:to:)`.
    @discardableResult
    public mutating func connect(
        _ id: DeviceID, _ index: IRQIndex, _ numbers: Range<UInt32>, tag: (UInt32) -> UInt64 = { UInt64($0) },
        routes: (UInt32) -> Route
    ) throws(MuxError) -> [VectorID] {
        let device = try locate(id)
        try check(device, id, index, numbers)
        var slots: [UInt32] = []
        do throws(MuxError) {
            for number in numbers {
                slots.append(try makeEntry(id, Vector(index, number), tag: tag(number)))
                try setRoute(slots[slots.count - 1], routes(number))
            }
            try assign(device, index, numbers, slots)
        } catch {
            for slot in slots { discardEntry(slot) }
            throw error
        }
        device.connected[Int(index.rawValue)] += UInt32(numbers.count)
        return slots.map { VectorID(slot: $0, generation: entries[$0].generation) }
    }

    /// Takes a vector's eventfd away from the device and forgets the vector. What was still held is dropped by name in
    /// the device's ledger. The last vector of an index disables it.
    ///
    /// - Throws: `ENOENT` when it was disconnected before; `EBUSY` when it serves a guest's registers. When the device
    ///   refuses, the vector is forgotten all the same.
    public mutating func disconnect(_ id: VectorID) throws(MuxError) {
        let slot = try entries.locate(id, "disconnecting a vector")
        try checkNotServed(slot)
        let place = Int(entries[slot].device)
        guard let device = devices[place] else { return discardEntry(slot) }
        try device.refuseToLoseVisitor()
        let index = entries[slot].index
        if device.connected[Int(index.rawValue)] == 1 {
            return try disconnectAll(DeviceID(place: place, generation: device.generation), index)
        }
        let request = IRQRequest(index, .trigger, start: entries[slot].number, .eventfd([-1]))
        defer { retire(slot, device) }
        do throws(DeviceError) { _ = try device.set(request) } catch { throw MuxError(error) }
    }

    /// Disables an index of a device and forgets its vectors. No effect when none is connected.
    ///
    /// - Throws: `ENOENT` when the device was detached; what SET_IRQS says, and then the vectors are forgotten all the
    /// same.
    public mutating func disconnectAll(_ id: DeviceID, _ index: IRQIndex) throws(MuxError) {
        let device = try locate(id)
        guard device.connected[Int(index.rawValue)] > 0 else { return }
        defer {
            for slot in 0..<UInt32(entries.count) where isConnected(slot, id, index) { retire(slot, device) }
        }
        do throws(DeviceError) { try disable(device, index) } catch { throw MuxError(error) }
    }

    // MARK: Steps

    func locate(_ id: DeviceID) throws(MuxError) -> AttachedDevice {
        guard id.place < devices.count, let device = devices[id.place], device.generation == id.generation else {
            throw MuxError("using a device", errno: ENOENT, remedy: "the device was detached")
        }
        return device
    }

    func isConnected(_ slot: UInt32, _ id: DeviceID, _ index: IRQIndex) -> Bool {
        entries[slot].eventfd >= 0 && Int(entries[slot].device) == id.place && entries[slot].index == index
    }

    private func check(
        _ device: AttachedDevice, _ id: DeviceID, _ index: IRQIndex, _ numbers: Range<UInt32>
    ) throws(MuxError) {
        let info: IRQInfo
        do throws(DeviceError) { info = try device.info(index) } catch { throw MuxError(error) }
        guard !numbers.isEmpty, numbers.upperBound <= info.count else {
            throw MuxError("connecting vectors", errno: EINVAL, remedy: "ask interruptInfo how many the device has")
        }
        for slot in 0..<UInt32(entries.count)
        where isConnected(slot, id, index) && numbers.contains(entries[slot].number) {
            throw MuxError(
                "connecting vectors", errno: EBUSY, remedy: "disconnect the vector first, or change its route")
        }
        guard numbers.count <= loop.room else {
            throw MuxError("connecting vectors", errno: ENOSPC, remedy: "make the mux with a greater loop capacity")
        }
    }

    /// Makes an eventfd, listens to it, and takes a place for it.
    mutating func makeEntry(_ id: DeviceID, _ vector: Vector, tag: UInt64) throws(MuxError) -> UInt32 {
        let slot = firstFree
        guard slot != .max else { throw MuxError("connecting vectors", errno: ENOSPC) }
        do throws(RingError) {
            let eventfd = try EventFD()
            let source = try loop.add(
                eventfd.number, tag: Self.vectorTag | UInt64(slot),
                delivery: vector.index == .intx ? .acknowledged : .edge)
            firstFree = entries[slot].link
            var entry = VectorEntry()
            entry.generation = entries[slot].generation
            entry.tag = tag
            entry.source = source
            entry.number = vector.number
            entry.index = vector.index
            entry.device = UInt8(id.place)
            entry.eventfd = eventfd.release()
            entries[slot] = entry
        } catch { throw MuxError(error) }
        return slot
    }

    private mutating func assign(
        _ device: AttachedDevice, _ index: IRQIndex, _ numbers: Range<UInt32>, _ slots: [UInt32]
    ) throws(MuxError) {
        for slot in slots { entries[slot].raisedBefore = device.raisedCount(entries[slot].vector) ?? 0 }
        // Of what is connected nothing changes, so the state need not have it: only whether the index is enabled
        // counts.
        var state = IRQAssignments()
        if device.connected[Int(index.rawValue)] > 0 { state.assign(index, []) }
        var wanted = state
        wanted.assign(index, start: numbers.lowerBound, slots.map { signalled($0) })
        do throws(IRQChangeError) {
            try state.change(to: wanted, rules: device.connectingRules) { (request) throws(DeviceError) in
                try device.set(request)
            }
        } catch {
            // Rolled back by the kernel's rules, and a device that is not the kernel's may keep what came before it
            // refused: nothing of the range may signal an eventfd that is closed next.
            takeBack(device, index, numbers)
            throw MuxError(error)
        }
        for slot in slots { beginAssigned(slot, device) }
    }

    /// After a refusal, which may have left a part of the range assigned: nothing of it is.
    private func takeBack(_ device: AttachedDevice, _ index: IRQIndex, _ numbers: Range<UInt32>) {
        do throws(DeviceError) {
            guard device.connected[Int(index.rawValue)] > 0 else { return try disable(device, index) }
            let none = [Int32](repeating: -1, count: numbers.count)
            _ = try device.set(IRQRequest(index, .trigger, start: numbers.lowerBound, .eventfd(none)))
        } catch {
            // It says that there is nothing to take back, or refuses everything.
        }
    }

    func disable(_ device: AttachedDevice, _ index: IRQIndex) throws(DeviceError) {
        switch index {
        case .intx, .msi, .msix: _ = try device.set(IRQRequest(index, .trigger, .none(count: 0)))
        // ERR and REQ answer EINVAL to that once nothing is assigned; taking the eventfd away always works.
        case .err, .req: _ = try device.set(IRQRequest(index, .trigger, .eventfd([-1])))
        }
    }

    /// Closes the account of a vector, and forgets it.
    mutating func retire(_ slot: UInt32, _ device: AttachedDevice) {
        do throws(MuxError) {
            var account = try account(slot, raisedBy: device)
            account.drops[.routeRemoved] &+= account.pending
            account.pending = 0
            device.retired.merge(account)
        } catch {
            // Somebody closed the eventfd: all that is known is what was delivered.
            device.retired.merge(Ledger(raised: entries[slot].delivered, delivered: entries[slot].delivered))
        }
        device.connected[Int(entries[slot].index.rawValue)] -= 1
        discardEntry(slot)
    }

    /// Stops listening and gives the place back.
    mutating func discardEntry(_ slot: UInt32) {
        if let source = entries[slot].source { try? loop.remove(source) }
        if unacknowledged == slot { unacknowledged = .max }
        dropLine(slot)
        unlist(slot)
        unbind(slot)
        endServing(slot)
        stopMeasuring(slot)
        dropTargets(entries[slot].firstTarget)
        _ = irqmux_close(entries[slot].eventfd)
        let generation = entries[slot].generation &+ 1
        entries[slot] = VectorEntry()
        entries[slot].generation = generation
        entries[slot].link = firstFree
        firstFree = slot
    }

    /// For deinit: leaves every device disabled and every descriptor closed.
    func releaseEverything() {
        for device in devices {
            guard let device else { continue }
            letGoShortcuts(device)
            for index in IRQIndex.allCases where device.connected[Int(index.rawValue)] > 0 {
                do throws(DeviceError) { try disable(device, index) } catch {}
                device.connected[Int(index.rawValue)] = 0
            }
        }
        for slot in 0..<UInt32(entries.count) where entries[slot].eventfd >= 0 {
            devices[Int(entries[slot].device)]?.takeFromVisitor(entries[slot].vector)
            // While the machine's number is still ours.
            unbind(slot)
            _ = irqmux_close(entries[slot].eventfd)
        }
    }
}

extension Slab<VectorEntry> {
    /// The place of a vector that is connected.
    func locate(_ id: VectorID, _ operation: StaticString) throws(MuxError) -> UInt32 {
        guard id.slot < UInt32(count), self[id.slot].generation == id.generation, self[id.slot].eventfd >= 0 else {
            throw MuxError(operation, errno: ENOENT, remedy: "the vector was disconnected")
        }
        return id.slot
    }
}
