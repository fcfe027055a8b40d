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
    /// By the pair's place.
    private var pairs: [PairRecord?]
    /// Served vectors that wait for their routes to be committed, one bit a place; how many; and how many are bypassed.
    var unsettled: [UInt64]
    var unsettledCount = 0
    var settledCount = 0
    /// Runs while some wait; and how many waited when it was started, or nothing for a second attempt, which does not
    /// wait for more.
    var settleTimer: TimerID?
    var settleMark: Int?
    /// How often in a row some could not be moved, and why the last one could not.
    var settleFailures: UInt64 = 0
    var settleError: MuxError?

    init(_ table: GuestTable, vectors: Int, pairs: Int) {
        self.table = table
        member = table.join()
        unsettled = [UInt64](repeating: 0, count: (vectors + 63) / 64)
        self.pairs = [PairRecord?](repeating: nil, count: pairs)
    }

    deinit {
        for place in pairs.indices { removePair(UInt32(place)) }
    }

    // MARK: Who has what

    /// A vector of this mux, in the table.
    func owner(_ slot: UInt32) -> UInt64 { member << 32 | UInt64(slot) }

    /// A pair of this mux, in the table.
    func pairOwner(_ place: UInt32) -> UInt64 { member << 32 | 1 << 31 | UInt64(place) }

    func pair(_ place: UInt32) -> PairRecord? { pairs[Int(place)] }

    var hasPairs: Bool { pairs.contains { $0 != nil } }

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

    /// The owner of a GSI; what is bound stands in the vector's entry. Its bit of `unsettled` aside.
    static var bytesPerVector: Int { MemoryLayout<UInt64>.stride }
}

/// What binds one vector to one GSI, the bypass eventfd and its irqfd, on its way: while it is being made, and from one
/// mux to another. In between it stands in the vector's entry, as numbers. Belongs to one mux's thread at a time.
final class GuestBinding: @unchecked Sendable {
    let gsi: GSI
    /// Where the GSI was claimed, and for whom.
    let table: GuestTable
    private let owner: UInt64
    /// Deassigned before the eventfd is closed.
    private var irqfd: IRQFD?
    private var eventfd: EventFD?

    init(
        _ gsi: GSI, _ eventfd: consuming EventFD, _ irqfd: consuming IRQFD, _ table: GuestTable, _ owner: UInt64
    ) {
        self.gsi = gsi
        self.table = table
        self.owner = owner
        self.irqfd = consume irqfd
        self.eventfd = consume eventfd
    }

    deinit { unbind() }

    /// The bypass eventfd's number; −1 after it was given away.
    var number: Int32 { eventfd?.number ?? -1 }

    /// Gives everything to a vector's entry, whose owner has the GSI from now on.
    func handOver(to owner: UInt64) -> Int32 {
        if self.owner != owner { table.handOver(gsi, to: owner) }
        irqfd.take()?.release()
        return eventfd.take()?.release() ?? -1
    }

    /// Deassigns the irqfd, then lets the GSI go, so that nobody removes its route in between.
    func unbind() {
        guard irqfd != nil else { return }
        irqfd = nil
        table.release(gsi, of: owner)
    }
}

extension Mux {
    /// A binding becomes a vector's.
    func install(_ binding: GuestBinding, _ slot: UInt32, of guest: AttachedGuest) {
        entries[slot].gsi = binding.gsi
        entries[slot].bypass = binding.handOver(to: guest.owner(slot))
    }

    /// Gives a vector's binding away, bound as it is; `nil` where there is none.
    func lend(_ slot: UInt32) -> GuestBinding? {
        guard let guest, let gsi = entries[slot].boundGSI else { return nil }
        let eventfd = EventFD(owning: entries[slot].bypass)
        let irqfd = guest.table.machine.adoptIRQFD(eventfd.number, gsi: gsi)
        entries[slot].bypass = -1
        // A served vector's GSI is given back by endServing.
        if !entries[slot].isServed { entries[slot].gsi = .max }
        return GuestBinding(gsi, eventfd, irqfd, guest.table, guest.owner(slot))
    }

    /// Deassigns the vector's irqfd, if it has one, and closes the bypass eventfd. The device must not signal it any
    /// more.
    func unbind(_ slot: UInt32) { lend(slot)?.unbind() }
}
