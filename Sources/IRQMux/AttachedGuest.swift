internal import CKernel
internal import EventRing
internal import InterruptModel
internal import KVM

/// The virtual machine that a mux's vectors are routed into, and what of this mux is bound to it.
///
/// Called when something changes, never per event: what an event needs stands in the vector's entry.
final class AttachedGuest {
    /// What the guest's muxes share.
    let table: GuestTable
    private let member: UInt64
    /// By the vector's place.
    private var bindings: [GuestBinding?]
    /// By the pair's place.
    private var pairs: [PairRecord?]
    /// Served vectors that wait for their routes to be committed, one bit a place; how many; and how many are bypassed.
    var unsettled: [UInt64]
    var unsettledCount = 0
    var settledCount = 0
    /// Runs while some wait; and how many waited when it was started.
    var settleTimer: TimerID?
    var settleMark = 0

    init(_ table: GuestTable, vectors: Int, pairs: Int) {
        self.table = table
        member = table.join()
        bindings = [GuestBinding?](repeating: nil, count: vectors)
        unsettled = [UInt64](repeating: 0, count: (vectors + 63) / 64)
        self.pairs = [PairRecord?](repeating: nil, count: pairs)
    }

    deinit {
        // Deassign while the machine's number is still ours.
        bindings.removeAll()
        for place in pairs.indices { removePair(UInt32(place)) }
    }

    // MARK: Who has what

    /// A vector of this mux, in the table.
    func owner(_ slot: UInt32) -> UInt64 { member << 32 | UInt64(slot) }

    /// A pair of this mux, in the table.
    func pairOwner(_ place: UInt32) -> UInt64 { member << 32 | 1 << 31 | UInt64(place) }

    func binding(_ slot: UInt32) -> GuestBinding? { bindings[Int(slot)] }

    func pair(_ place: UInt32) -> PairRecord? { pairs[Int(place)] }

    var hasPairs: Bool { pairs.contains { $0 != nil } }

    func install(_ binding: GuestBinding, _ slot: UInt32) {
        binding.change(owner: owner(slot))
        bindings[Int(slot)] = binding
    }

    /// Deassigns a vector's irqfd, unless another binding has taken its place, and lets the GSI go.
    func remove(_ binding: GuestBinding, _ slot: UInt32) {
        if bindings[Int(slot)] === binding { bindings[Int(slot)] = nil }
        binding.unbind()
    }

    /// Gives a binding away, bound as it is.
    func lend(_ slot: UInt32) -> GuestBinding? { bindings[Int(slot)].take() }

    func install(_ pair: PairRecord, _ place: UInt32) { pairs[Int(place)] = pair }

    func removePair(_ place: UInt32) {
        guard let pair = pairs[Int(place)].take() else { return }
        pair.tearDown()
        table.release(pair.gsi, of: pairOwner(place))
    }

    /// An irqfd on an eventfd of its own. The GSI has been claimed for the vector.
    func makeBinding(_ gsi: GSI, _ slot: UInt32) throws(MuxError) -> GuestBinding {
        let eventfd: EventFD
        do throws(RingError) { eventfd = try EventFD() } catch { throw MuxError(error) }
        let number = eventfd.number
        do throws(KVMError) {
            let irqfd = try table.machine.assignIRQFD(number, gsi: gsi)
            return GuestBinding(gsi, eventfd, irqfd, table, owner(slot))
        } catch { throw table.take(error) }
    }

    /// An irqfd on an eventfd that the device signals already, which the binding owns from now on.
    func bind(_ eventfd: Int32, _ gsi: GSI, _ slot: UInt32) throws(MuxError) -> GuestBinding {
        do throws(KVMError) {
            let irqfd = try table.machine.assignIRQFD(eventfd, gsi: gsi)
            return GuestBinding(gsi, EventFD(owning: eventfd), irqfd, table, owner(slot))
        } catch { throw table.take(error) }
    }

    /// A binding, what refers to it, and the owner of a GSI.
    static var bytesPerVector: Int {
        GuestBinding.bytes + MemoryLayout<GuestBinding?>.stride + MemoryLayout<UInt64>.stride
    }
}

/// What binds one vector to one GSI: the bypass eventfd and its irqfd. Belongs to one mux's thread at a time.
final class GuestBinding: @unchecked Sendable {
    let gsi: GSI
    /// Where the GSI was claimed, and for whom.
    let table: GuestTable
    private var owner: UInt64
    /// Deassigned before the eventfd is closed.
    private var irqfd: IRQFD?
    let eventfd: EventFD

    init(
        _ gsi: GSI, _ eventfd: consuming EventFD, _ irqfd: consuming IRQFD, _ table: GuestTable, _ owner: UInt64
    ) {
        self.gsi = gsi
        self.table = table
        self.owner = owner
        self.irqfd = consume irqfd
        self.eventfd = eventfd
    }

    deinit { unbind() }

    /// Another vector's place has it from now on.
    func change(owner: UInt64) {
        guard self.owner != owner else { return }
        self.owner = owner
        table.handOver(gsi, to: owner)
    }

    /// Deassigns the irqfd, then lets the GSI go, so that nobody removes its route in between.
    func unbind() {
        guard irqfd != nil else { return }
        irqfd = nil
        table.release(gsi, of: owner)
    }

    /// What an instance takes: its fields behind an object's header of 16 bytes, in malloc's steps of 16 with a header
    /// of 8.
    static var bytes: Int {
        let fields =
            MemoryLayout<GSI>.stride + MemoryLayout<IRQFD?>.stride + MemoryLayout<EventFD>.stride
            + MemoryLayout<GuestTable>.stride + MemoryLayout<UInt64>.stride
        return (16 + fields + 8 + 15) & ~15
    }
}
