internal import CKernel
internal import EventRing
internal import InterruptModel
public import KVM
internal import Synchronization

/// A doorbell with its completion: the guest rings, somebody works, the guest is interrupted.
///
/// May be used from any thread. Its eventfds stay open as long as this object, so a late `complete` harms nobody.
public final class Pair: Sendable {
    /// The guest's writes that ring it.
    public let address: DoorbellAddress
    /// The interrupt that completes.
    public let gsi: GSI
    let doorbell: EventFD
    let completion: EventFD
    let place: UInt32
    let generation: UInt32
    let isOpen = Atomic<Bool>(true)
    /// The stages, where they are measured: from the wake-up on, for nobody stamps a guest's write.
    public let stages: StageHistograms?

    init(
        _ address: DoorbellAddress, _ gsi: GSI, _ doorbell: consuming EventFD, _ completion: consuming EventFD,
        _ place: UInt32, _ generation: UInt32, _ stages: StageHistograms?
    ) {
        self.address = address
        self.gsi = gsi
        self.doorbell = doorbell
        self.completion = completion
        self.place = place
        self.generation = generation
        self.stages = stages
    }

    /// Interrupts the guest: one write, and the interrupt is in the guest when this returns, where its route is a
    /// message. Allocates nothing. From one thread at a time where stages are measured.
    ///
    /// - Throws: `ENOENT` when the pair was removed; `EBADF`.
    public func complete() throws(MuxError) {
        guard isOpen.load(ordering: .acquiring) else {
            throw MuxError("completing a pair", errno: ENOENT, remedy: "the pair was removed")
        }
        let result = irqmux_eventfd_signal(completion.number, 1)
        guard result == 0 || result == -EAGAIN else { throw MuxError("completing a pair", errno: -result) }
        guard let stages else { return }
        let writer = stages.writer
        let begun = writer.takeBegun()
        let now = irqmux_monotonic_ns()
        if begun != 0 { writer.forwarded(after: now &- min(begun, now), now: now, isAcknowledged: false) }
    }
}

/// A pair as the loop knows it.
struct PairEntry: BitwiseCopyable {
    var tag: UInt64 = 0
    var generation: UInt32 = 0
    var isUsed = false
    var source = SourceID?.none
    var stages = StageWriter()
}

/// A pair's registrations in the kernel, and its object.
final class PairRecord {
    let pair: Pair
    private var doorbell: IOEventFD?
    private var irqfd: IRQFD?

    var gsi: GSI { pair.gsi }

    init(_ pair: Pair, _ doorbell: consuming IOEventFD, _ irqfd: consuming IRQFD) {
        self.pair = pair
        self.doorbell = consume doorbell
        self.irqfd = consume irqfd
    }

    deinit { tearDown() }

    /// The doorbell first, so that nobody asks for what nobody will answer; then the completion.
    func tearDown() {
        doorbell = nil
        pair.isOpen.store(false, ordering: .releasing)
        irqfd = nil
    }
}

extension Mux {
    /// Lets writes of the guest ring a doorbell in this loop, and gives back what completes them.
    ///
    /// A ring comes as an event of kind `doorbell` with the pair's tag; several rings may come as one. `KVM_IOEVENTFD`
    /// and `KVM_IRQFD`; the completion's irqfd is there before the first ring.
    ///
    /// - Parameters:
    ///   - address: The writes that ring.
    ///   - gsi: The interrupt that completes; routed, and nobody else's.
    ///   - tag: Comes back with each event; its highest bit must be clear.
    ///   - eventfd: An eventfd of the caller's for the completion, where a back-end signals it by itself; the mux keeps
    ///     a duplicate.
    ///   - isMeasured: Whether `Pair.stages` are recorded.
    /// - Throws: `ENODEV` (no guest, or closed); `ENOSPC` (more than `MuxOptions.pairs`, or the loop is full); `EEXIST`
    ///   (the GSI is taken, or the doorbell); `ENXIO` (the GSI has no route); `EBUSY` (the eventfd is an irqfd
    ///   already); `EINVAL` (it is no eventfd; a doorbell that KVM does not take); `EBADF`, `EMFILE`. Then nothing is
    ///   left of it.
    public mutating func addPair(
        doorbell address: DoorbellAddress, completion gsi: GSI, tag: UInt64, signalledBy eventfd: Int32? = nil,
        isMeasured: Bool = false
    ) throws(MuxError) -> Pair {
        try check(tag, "adding a pair")
        let guest = try attachedGuest()
        guard let place = (0..<UInt32(pairs.count)).first(where: { !pairs[$0].isUsed }) else {
            throw MuxError("adding a pair", errno: ENOSPC, remedy: "make the mux with more MuxOptions.pairs")
        }
        let owner = guest.pairOwner(place)
        try guest.table.claim(gsi, for: owner)
        let pair: Pair
        do throws(MuxError) {
            pair = try Self.makePair(
                address, gsi, eventfd, place, pairs[place].generation, isMeasured ? StageHistograms() : nil)
            try register(pair, guest, place)
        } catch {
            guest.table.release(gsi, of: owner)
            throw error
        }
        pairs[place].tag = tag
        pairs[place].isUsed = true
        if let stages = pair.stages { pairs[place].stages = stages.writer }
        return pair
    }

    /// Listens to the doorbell and registers both ends, or nothing.
    private mutating func register(_ pair: Pair, _ guest: AttachedGuest, _ place: UInt32) throws(MuxError) {
        let source: SourceID
        do throws(RingError) {
            source = try loop.add(pair.doorbell.number, tag: Self.pairTag | UInt64(place))
        } catch { throw MuxError(error) }
        let table = guest.table
        do throws(KVMError) {
            let irqfd = try table.machine.assignIRQFD(pair.completion.number, gsi: pair.gsi)
            let doorbell = try table.machine.assignIOEventFD(pair.doorbell.number, at: pair.address)
            guest.install(PairRecord(pair, doorbell, irqfd), place)
            pairs[place].source = source
        } catch {
            try? loop.remove(source)
            throw table.take(error)
        }
    }

    private static func makePair(
        _ address: DoorbellAddress, _ gsi: GSI, _ eventfd: Int32?, _ place: UInt32, _ generation: UInt32,
        _ stages: StageHistograms?
    ) throws(MuxError) -> Pair {
        do throws(RingError) {
            let doorbell = try EventFD()
            guard let eventfd else { return Pair(address, gsi, doorbell, try EventFD(), place, generation, stages) }
            let copy = irqmux_duplicate(eventfd)
            guard copy >= 0 else { throw RingError("adding a pair", errno: -copy) }
            return Pair(address, gsi, doorbell, EventFD(owning: copy), place, generation, stages)
        } catch { throw MuxError(error) }
    }

    /// Removes a pair: first the doorbell (later writes go to the VMM), then the loop stops listening, then the
    /// completion's irqfd goes. Rings that were not handed out are forgotten. The GSI keeps its route.
    ///
    /// - Throws: `ENOENT` when it was removed before.
    public mutating func removePair(_ pair: Pair) throws(MuxError) {
        let place = pair.place
        guard place < UInt32(pairs.count), pairs[place].isUsed, pairs[place].generation == pair.generation,
            guest?.pair(place)?.pair === pair
        else { throw MuxError("removing a pair", errno: ENOENT, remedy: "the pair was removed") }
        if let source = pairs[place].source { try? loop.remove(source) }
        guest?.removePair(place)
        let generation = pairs[place].generation &+ 1
        pairs[place] = PairEntry()
        pairs[place].generation = generation
    }

    /// A doorbell of a pair rang.
    mutating func doorbellEvent(_ event: Event, _ place: UInt32) -> VectorEvent {
        let kind: VectorEvent.Kind
        if case .failed(let errno) = event.kind { kind = .failed(errno: errno) } else { kind = .doorbell }
        if pairs[place].stages.isOn { stampDoorbell(place) }
        return VectorEvent(
            kind: kind, id: VectorID(slot: .max, generation: 0), vector: Vector(.intx, 0), tag: pairs[place].tag,
            count: event.count, ticks: event.ticks)
    }

    @inline(never)
    private mutating func stampDoorbell(_ place: UInt32) {
        let now = loop.time.now
        let wake = loop.batchTicks
        pairs[place].stages.arrived(wake: nil, dispatch: loop.time.nanoseconds(now &- min(wake, now)))
        pairs[place].stages.began(now: loop.time.monotonic(now))
    }
}
