internal import CKernel
internal import EventRing
internal import InterruptModel

// A vector goes from one mux to another while it is live. `MuxGroup` drives it, one step after the other, each on the
// thread of the mux that it concerns:
//
// 1. There: a place and a source that is not listened to (`reserve`).
// 2. Here: the gate is halted and what has been signalled so far is noted (`beginMove`).
// 3. Here, with waits between: until something is held, or all that was noted has certainly been told (`continueMove`).
//    This is what makes the count exact. A cancelled poll may swallow a notification, and the counter cannot tell a
//    signal that was dispatched from one that was not; but after this step everything signalled before step 2 was.
// 4. Here: disarmed, and the request's last completion seen (`continueMove`).
// 5. Here: the counter is taken while nobody listens and added to the account. If it has grown since step 2, or
//    something is held, one notification is due (`continueMove` returns the passport). Irqfd, served line and
//    measurements are packed (Mux+MovingGuests).
// 6. There: entry, targets, account; listen; deliver what is due once (`admit`). What comes from now on is told there.
// 7. Here: the place is given back (`completeMove`). If 6 failed, everything is as it was (`cancelMove`).
//
// Signals that go past the loop meanwhile, into the guest, are nobody's business here: their irqfd stays bound.
extension Mux {
    /// A step of a move that is under way here.
    struct Moving: Sendable {
        let slot: UInt32
        /// Signals received when the gate was halted.
        let received: UInt64
        /// Waits to go before all of them have been told for certain.
        var waits: Int
        /// Whether the loop listened to the vector, which an INTx between its event and its acknowledgement is not.
        var listens = false
    }

    /// All that a vector is, on its way.
    struct Passport: Sendable {
        var entry: VectorEntry
        var luggage: Luggage
        var targets: [Int32]
        var priority: UInt8
        var weight: UInt16
        var listens: Bool
    }

    /// A place for a vector that is to come.
    struct Reservation: Sendable {
        let slot: UInt32
        let source: SourceID
        let device: Int
    }

    // MARK: Where it leaves

    /// The eventfd and the delivery of a vector, for a reservation elsewhere.
    func descriptor(of id: VectorID) throws(MuxError) -> (eventfd: Int32, isINTx: Bool) {
        let slot = try entries.locate(id, "moving a vector")
        return (entries[slot].eventfd, entries[slot].index == .intx)
    }

    mutating func beginMove(_ id: VectorID) throws(MuxError) -> Moving {
        let slot = try entries.locate(id, "moving a vector")
        guard entries[slot].source != nil else {
            throw MuxError("moving a vector", errno: ENOENT, remedy: "nothing listens to the vector")
        }
        guard !entries[slot].isServed else {
            throw MuxError(
                "moving a vector", errno: EBUSY, remedy: "it serves the guest's MSI or MSI-X registers, which stay here"
            )
        }
        acknowledgeHandedOut()
        entries[slot].gate.halt()
        shut(slot)
        var waiting: UInt64 = 0
        // SAFETY: the pointer is valid for the call.
        let looked = unsafe irqmux_eventfd_peek(entries[slot].eventfd, &waiting)
        guard looked == 0 else {
            open(slot, holding: entries[slot].gate.resume())
            throw MuxError(
                "moving a vector", errno: -looked,
                remedy: "/proc must be readable, and nobody but the mux may close its eventfds")
        }
        return Moving(slot: slot, received: taken(slot) &+ waiting, waits: loop.waitsUntilDrained)
    }

    /// The next step; a wait must lie between two calls. `nil` while there is more to wait for.
    mutating func continueMove(_ id: VectorID, _ moving: inout Moving) throws(MuxError) -> Passport? {
        let slot = try entries.locate(id, "moving a vector")
        guard let source = entries[slot].source else { return nil }
        let isEdge = entries[slot].index != .intx
        moving.waits -= 1
        if isEdge, !entries[slot].gate.isPending, !loop.isDrained, moving.waits > 0 { return nil }
        do throws(RingError) {
            if try !loop.isIdle(source) {
                moving.listens = true
                try loop.disarm(source)
            }
            guard try loop.isIdle(source) else { return nil }
            if isEdge { settleCounter(slot, since: moving.received) }
            let counts = try loop.counts(of: source)
            var passport = makePassport(slot, listens: moving.listens || isEdge)
            passport.entry.taken &+= counts.taken
            passport.entry.silencesEnded &+= UInt32(truncatingIfNeeded: counts.notifications)
            passport.entry.silenced = false
            // The eventfd is in the passport: it is not this mux's to close any more, and whoever names the vector is
            // told that it is gone.
            entries[slot].eventfd = -1
            return passport
        } catch { throw MuxError(error) }
    }

    /// Nobody listens: what the counter holds belongs to what is held, and if it has grown, something is.
    private mutating func settleCounter(_ slot: UInt32, since received: UInt64) {
        var count: UInt64 = 0
        // SAFETY: the pointer is valid for the call.
        if unsafe irqmux_eventfd_take_without_waiting(entries[slot].eventfd, &count) == 0 {
            entries[slot].taken &+= count
        }
        if taken(slot) != received, !entries[slot].gate.isPending { _ = entries[slot].gate.arrive(1) }
        // The account knows by this that everything received so far was told or is held.
        entries[slot].silencesEnded &+= 1
    }

    private func taken(_ slot: UInt32) -> UInt64 {
        guard let source = entries[slot].source, let counts = try? loop.counts(of: source) else {
            return entries[slot].taken
        }
        return entries[slot].taken &+ counts.taken
    }

    private mutating func makePassport(_ slot: UInt32, listens: Bool) -> Passport {
        let settings = scheduler.settings(slot, entries[slot].generation)
        let entry = entries[slot]
        return Passport(
            entry: entry, luggage: pack(slot), targets: targets.list(entry.firstTarget), priority: settings.priority,
            weight: settings.weight, listens: listens)
    }

    /// The vector stays, with the eventfd of its passport: what was held passes again.
    mutating func cancelMove(_ moving: Moving, _ passport: Passport) {
        let slot = moving.slot
        entries[slot].eventfd = passport.entry.eventfd
        unpackAgain(passport, slot)
        entries[slot].silenced = false
        if moving.listens || entries[slot].index != .intx, let source = entries[slot].source { try? loop.arm(source) }
        open(slot, holding: entries[slot].gate.resume())
    }

    /// The vector is elsewhere: its place is free. The eventfd went with it.
    mutating func completeMove(_ moving: Moving) {
        let slot = moving.slot
        if let source = entries[slot].source { try? loop.remove(source) }
        unlist(slot)
        dropTargets(entries[slot].firstTarget)
        giveBack(slot)
    }

    // MARK: Where it comes to

    mutating func reserve(_ eventfd: Int32, isINTx: Bool, device: Int) throws(MuxError) -> Reservation {
        let slot = firstFree
        guard slot != .max else { throw MuxError("moving a vector", errno: ENOSPC) }
        do throws(RingError) {
            let source = try loop.addDisarmed(
                eventfd, tag: Self.vectorTag | UInt64(slot), delivery: isINTx ? .acknowledged : .edge)
            firstFree = entries[slot].link
            entries[slot].link = .max
            return Reservation(slot: slot, source: source, device: device)
        } catch { throw MuxError(error) }
    }

    mutating func cancel(_ reservation: Reservation) {
        try? loop.remove(reservation.source)
        giveBack(reservation.slot)
    }

    /// - Throws: `ENOSPC` when there are not enough places for fan-out targets or for what tells of acknowledgements,
    ///   `EMFILE`, `EXDEV` when the route leads into a guest that is not this mux's; then the reservation stands.
    mutating func admit(_ passport: Passport, _ reservation: Reservation) throws(MuxError) -> VectorID {
        let first = passport.targets.isEmpty ? .max : try makeTargets(passport.targets)
        let slot = reservation.slot
        let generation = entries[slot].generation
        var entry = passport.entry
        entry.device = UInt8(reservation.device)
        do throws(MuxError) { try unpack(passport.luggage, into: &entry, slot) } catch {
            dropTargets(first)
            throw error
        }
        entry.generation = generation
        entry.source = reservation.source
        entry.firstTarget = first
        entry.link = .max
        entry.listed = false
        entries[slot] = entry
        scheduler.set(slot, generation, priority: passport.priority, weight: passport.weight)
        if passport.listens { try? loop.arm(reservation.source) }
        resumeLine(slot)
        open(slot, holding: entries[slot].gate.resume())
        if entries[slot].refusal != 0 || entries[slot].verdict != nil { enlist(slot) }
        return VectorID(slot: slot, generation: generation)
    }

    private mutating func giveBack(_ slot: UInt32) {
        let generation = entries[slot].generation &+ 1
        entries[slot] = VectorEntry()
        entries[slot].generation = generation
        entries[slot].link = firstFree
        firstFree = slot
    }

    // MARK: The device of a vector that is elsewhere

    /// A device of another mux, for its vectors that come here. Its place.
    mutating func receive(_ device: AttachedDevice) throws(MuxError) -> Int {
        guard let place = devices.firstIndex(where: { $0 == nil }) else {
            throw MuxError("attaching a device", errno: ENOSPC, remedy: "make the muxes with more MuxOptions.devices")
        }
        deviceGeneration &+= 1
        devices[place] = VisitingDevice(device, generation: deviceGeneration)
        return place
    }

    /// Forgets a device of `receive`.
    mutating func dismiss(_ place: Int) { devices[place] = nil }
}

/// A device that is attached to another mux. Here it is only asked and told; which of its vectors are connected is
/// the other mux's business, so that this one neither disables it nor closes its account.
private final class VisitingDevice: AttachedDevice {
    private let device: AttachedDevice

    init(_ device: AttachedDevice, generation: UInt32) {
        self.device = device
        super.init(generation: generation)
    }

    override func info(_ index: IRQIndex) throws(DeviceError) -> IRQInfo { try device.info(index) }

    override func set(_ request: IRQRequest) throws(DeviceError) -> UInt32 { try device.set(request) }

    override func swap(_ vector: Vector, for eventfd: Int32) -> Bool { device.swap(vector, for: eventfd) }

    override var planRules: IRQPlanRules { device.planRules }

    override func raisedCount(_ vector: Vector) -> UInt64? { device.raisedCount(vector) }

    override func lastSignalTime(_ vector: Vector) -> UInt64? { device.lastSignalTime(vector) }

    override func takeFromVisitor(_ vector: Vector) {
        // An index that its home has disabled signals nothing, and a request would enable it again.
        guard device.isEnabled(vector.index) else { return }
        let request = IRQRequest(vector.index, .trigger, start: vector.number, .eventfd([-1]))
        do throws(DeviceError) { _ = try device.set(request) } catch {}
    }

    override func refuseToLoseVisitor() throws(MuxError) {
        throw MuxError(
            "disconnecting a vector", errno: EBUSY, remedy: "it was moved here: disconnect it through its MuxGroup")
    }
}
