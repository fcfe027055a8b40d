internal import CKernel
internal import EventRing
internal import InterruptModel
internal import KVM

/// The virtual machine that vectors are routed into: its routing table, its GSIs, and what is bound to them.
///
/// Called when something changes, never per event: what an event needs stands in the vector's entry.
final class AttachedGuest {
    let machine: VirtualMachine
    /// Whether the mux commits the table; otherwise its owner does, and `routing` says nothing.
    let keepsTable: Bool
    var routing: GSIRouting
    var allocator: GSIAllocator
    /// Who has a GSI, by GSI: a vector's place, a pair's with `pairBit`, or nobody.
    private var owners: [UInt32]
    /// By the vector's place.
    private var bindings: [GuestBinding?]
    /// By the pair's place.
    private var pairs: [PairRecord?]
    /// The errno that told that the machine was closed; 0 as long as none did.
    private(set) var lost: Int32 = 0

    /// Served vectors that wait for their routes to be committed, one bit a place; how many; and how many are bypassed.
    var unsettled: [UInt64]
    var unsettledCount = 0
    var settledCount = 0
    /// Runs while some wait; and how many waited when it was started.
    var settleTimer: TimerID?
    var settleMark = 0

    static let nobody = UInt32.max

    /// A binding, what refers to it, and the owner of a GSI.
    static var bytesPerVector: Int {
        GuestBinding.bytes + MemoryLayout<GuestBinding?>.stride + MemoryLayout<UInt32>.stride
    }
    static let pairBit: UInt32 = 1 << 31

    init(_ machine: consuming VirtualMachine, live: GSIRoutes?, vectors: Int, pairs: Int) {
        let limit = live?.limit ?? GSIRoutes.kernelLimit
        self.machine = machine
        keepsTable = live != nil
        routing = GSIRouting(live: live ?? GSIRoutes(limit: limit))
        var allocator = GSIAllocator(limit: limit)
        for gsi in GSIAllocator.first..<max(limit, GSIAllocator.first) where live?[gsi] != nil {
            try? allocator.reserve(gsi)
        }
        self.allocator = allocator
        owners = [UInt32](repeating: Self.nobody, count: Int(limit))
        bindings = [GuestBinding?](repeating: nil, count: vectors)
        unsettled = [UInt64](repeating: 0, count: (vectors + 63) / 64)
        self.pairs = [PairRecord?](repeating: nil, count: pairs)
    }

    deinit {
        // Deassign while the machine's number is still ours.
        bindings.removeAll()
        pairs.removeAll()
    }

    // MARK: Who has what

    func binding(_ slot: UInt32) -> GuestBinding? { bindings[Int(slot)] }

    func pair(_ place: UInt32) -> PairRecord? { pairs[Int(place)] }

    /// Whether a vector's route, or a pair, goes by this GSI, or has gone by it and kept its irqfd.
    func isBound(_ gsi: GSI) -> Bool { gsi < owners.count && owners[Int(gsi)] != Self.nobody }

    var hasPairs: Bool { pairs.contains { $0 != nil } }

    func install(_ binding: GuestBinding, _ slot: UInt32) {
        owners[Int(binding.gsi)] = slot
        bindings[Int(slot)] = binding
    }

    /// Deassigns a vector's irqfd, unless another binding has taken its place, and lets the GSI go.
    func remove(_ binding: GuestBinding, _ slot: UInt32) {
        if owners[Int(binding.gsi)] == slot { owners[Int(binding.gsi)] = Self.nobody }
        if bindings[Int(slot)] === binding { bindings[Int(slot)] = nil }
        binding.unbind()
    }

    /// A served vector has this GSI, bound or not.
    func claim(_ gsi: GSI, _ slot: UInt32) { owners[Int(gsi)] = slot }

    /// Gives a served vector's GSI back, and its route with the next commit. Its irqfd is gone.
    func release(_ gsi: GSI) {
        owners[Int(gsi)] = Self.nobody
        routing.remove(gsi)
        try? allocator.free(gsi)
    }

    func install(_ pair: PairRecord, _ place: UInt32) {
        owners[Int(pair.gsi)] = place | Self.pairBit
        pairs[Int(place)] = pair
    }

    func removePair(_ place: UInt32) {
        guard let pair = pairs[Int(place)] else { return }
        owners[Int(pair.gsi)] = Self.nobody
        pairs[Int(place)] = nil
        pair.tearDown()
    }

    // MARK: Checks and errors

    func checkAlive() throws(MuxError) {
        guard lost == 0 else {
            throw MuxError(
                "using the guest", errno: ENODEV,
                remedy: "its virtual machine was closed: route the vectors elsewhere, detach the guest, attach another")
        }
    }

    /// A table that somebody else commits is not known here, and would be wiped by a commit.
    func checkKeepsTable() throws(MuxError) {
        try checkAlive()
        guard keepsTable else {
            throw MuxError(
                "changing a GSI's route", errno: EPERM,
                remedy: "its owner commits the table; attach the guest with its routes to let the mux do it")
        }
    }

    /// Remembers when KVM's answer says that there is no machine any more.
    func take(_ error: KVMError) -> MuxError {
        switch error.reason {
        case .virtualMachineClosed, .notAVirtualMachine: lost = error.errno
        // EIO: the machine's process has gone, or the kernel gave the machine up.
        default: if error.errno == ENODEV || error.errno == EIO { lost = error.errno }
        }
        return MuxError(error)
    }

    /// Makes sure that signals of an irqfd bound to `gsi` have somewhere to go, committing what was asked for so far.
    func prepare(_ gsi: GSI, for owner: UInt32) throws(MuxError) {
        try checkAlive()
        guard gsi < owners.count else {
            throw MuxError("routing into the guest", errno: EINVAL, remedy: KVMError.Reason.gsiOutOfRange.remedy)
        }
        guard owners[Int(gsi)] == Self.nobody || owners[Int(gsi)] == owner else {
            throw MuxError(
                "routing into the guest", errno: EEXIST,
                remedy: "the GSI is another vector's or pair's, also while that one goes elsewhere: take one each")
        }
        try commit()
        guard !keepsTable || routing.live[gsi] != nil else {
            throw MuxError(
                "routing into the guest", errno: ENXIO,
                remedy: "KVM swallows signals of a GSI without a route: give it one (allocateGSI, setGSI) first")
        }
    }

    @discardableResult
    func commit() throws(MuxError) -> Bool {
        do throws(KVMError) { return try routing.commit(to: machine) } catch { throw take(error) }
    }

    /// An irqfd on an eventfd of its own.
    func makeBinding(_ gsi: GSI) throws(MuxError) -> GuestBinding {
        let eventfd: EventFD
        do throws(RingError) { eventfd = try EventFD() } catch { throw MuxError(error) }
        let number = eventfd.number
        do throws(KVMError) {
            let irqfd = try machine.assignIRQFD(number, gsi: gsi)
            return GuestBinding(gsi, eventfd, irqfd)
        } catch { throw take(error) }
    }

    /// An irqfd on an eventfd that the device signals already, which the binding owns from now on.
    func bind(_ eventfd: Int32, _ gsi: GSI) throws(MuxError) -> GuestBinding {
        do throws(KVMError) {
            let irqfd = try machine.assignIRQFD(eventfd, gsi: gsi)
            return GuestBinding(gsi, EventFD(owning: eventfd), irqfd)
        } catch { throw take(error) }
    }
}

/// What binds one vector to one GSI: the bypass eventfd and its irqfd.
final class GuestBinding {
    let gsi: GSI
    /// Deassigned before the eventfd is closed.
    private var irqfd: IRQFD?
    let eventfd: EventFD

    init(_ gsi: GSI, _ eventfd: consuming EventFD, _ irqfd: consuming IRQFD) {
        self.gsi = gsi
        self.irqfd = consume irqfd
        self.eventfd = eventfd
    }

    deinit { unbind() }

    func unbind() { irqfd = nil }

    /// What an instance takes: its fields behind an object's header of 16 bytes, in malloc's steps of 16 with a header
    /// of 8.
    static var bytes: Int {
        let fields = MemoryLayout<GSI>.stride + MemoryLayout<IRQFD?>.stride + MemoryLayout<EventFD>.stride
        return (16 + fields + 8 + 15) & ~15
    }
}
