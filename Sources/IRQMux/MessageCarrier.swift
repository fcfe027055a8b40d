internal import CKernel
internal import EventRing
internal import InterruptModel
internal import KVM

/// Carries out what a guest's MSI or MSI-X registers ask for, on a mux: which of its vectors stands for which of the
/// guest's, and how the device's index grows. What `GuestMSIX` and `GuestMSI` have in common.
struct MessageCarrier: ~Copyable {
    let device: DeviceID
    let index: IRQIndex
    /// How many vectors the device has.
    let count: UInt32
    /// The requester that the guest's messages carry, where the machine wants one.
    let requester: UInt32?
    /// The index cannot grow while it is enabled.
    let isFixed: Bool
    /// By the guest's vector; `nobody` where none is connected.
    var places: [VectorID]
    /// Vectors that the host has given while the index cannot grow.
    var allocated: UInt32 = 0
    /// Vectors of a restored state whose pending signal has not been told yet, one bit each.
    var owed: [UInt64]
    var report = GuestMessageReport()

    static let nobody = VectorID(slot: .max, generation: .max)

    init(_ device: DeviceID, _ index: IRQIndex, requester: UInt32?, on mux: borrowing Mux) throws(MuxError) {
        let attached = try mux.locate(device)
        let info: IRQInfo
        do throws(DeviceError) { info = try attached.info(index) } catch { throw MuxError(error) }
        guard info.count > 0 else {
            throw MuxError("serving a guest's messages", errno: ENODEV, remedy: "the device has no such interrupts")
        }
        guard attached.connected[Int(index.rawValue)] == 0 else {
            throw MuxError(
                "serving a guest's messages", errno: EBUSY, remedy: "its vectors are connected: disconnect them first")
        }
        self.device = device
        self.index = index
        self.requester = requester
        count = info.count
        isFixed = info.noResize
        owed = [UInt64](repeating: 0, count: (Int(info.count) + 63) / 64)
        places = [VectorID](repeating: Self.nobody, count: Int(info.count))
    }

    /// The place of a vector that is connected.
    func slot(_ vector: UInt32, _ mux: borrowing Mux) -> UInt32? {
        let place = places[Int(vector)]
        guard place.slot != .max else { return nil }
        return try? mux.entries.locate(place, "looking at a vector")
    }

    mutating func perform(_ request: MessageRequest, on mux: inout Mux) -> Bool {
        do throws(MuxError) {
            switch request {
            case .one(let operation): try carry(operation, on: &mux)
            case .many(let batch, let vectors): try carry(batch, vectors, on: &mux)
            }
            return true
        } catch {
            // What several were refused, each is asked for by itself: that is what counts.
            if case .many = request { return false }
            report.refusals &+= 1
            report.lastError = error
            return false
        }
    }

    private mutating func carry(_ operation: MessageOperation, on mux: inout Mux) throws(MuxError) {
        switch operation {
        case .enable(let vectors): try enable(vectors, on: &mux)
        case .disable: disable(on: &mux)
        case .use(let vector, let message):
            if slot(vector, mux) == nil { try connect(vector, on: &mux) }
            guard let slot = slot(vector, mux) else {
                throw MuxError(
                    "SET_IRQS", errno: ENOSPC, remedy: "the host has fewer vectors left than the guest wants")
            }
            let hasLost = mux.takeLoss(slot)
            try mux.use(slot, message, requester: requester)
            if hasLost { tellLoss(slot, on: mux) }
        case .mask(let vector): if let slot = slot(vector, mux) { try mux.maskServed(slot) }
        case .unmask(let vector):
            guard let slot = slot(vector, mux) else { return }
            let hasLost = mux.takeLoss(slot)
            try mux.unmaskServed(slot)
            if hasLost { tellLoss(slot, on: mux) }
        case .message(let vector, let message):
            if let slot = slot(vector, mux) { try mux.redirect(slot, message, requester: requester) }
        case .deliver(let vector, let message):
            try kick(message, on: mux)
            settleOwed(vector, on: mux)
        }
    }

    private mutating func carry(_ batch: MessageBatch, _ vectors: [UInt64], on mux: inout Mux) throws(MuxError) {
        switch batch {
        case .prepare: try connect(vectors, on: &mux)
        case .mask: try mux.maskServed(vectors, device, index, places)
        case .unmask:
            var lost: [UInt32] = []
            mux.forEachServed(vectors, places) { mux, slot in if mux.takeLoss(slot) { lost.append(slot) } }
            try mux.unmaskServed(vectors, device, index, places)
            for slot in lost { tellLoss(slot, on: mux) }
        }
    }

    /// A vector is open again that may have lost a signal while it was masked. As a kick: nobody's signal.
    private mutating func tellLoss(_ slot: UInt32, on mux: borrowing Mux) {
        guard mux.entries[slot].gate.isOpen, let message = mux.message(slot) else { return }
        try? kick(message, on: mux)
    }

    /// Sends a message now, from nobody's signal.
    mutating func kick(_ message: InterruptMessage, on mux: borrowing Mux) throws(MuxError) {
        let guest = try mux.attachedGuest()
        do throws(KVMError) {
            try guest.table.machine.signalMSI(address: message.address, data: message.data, deviceID: requester)
        } catch { throw guest.table.take(error) }
        report.kicks &+= 1
    }

    // MARK: Coming and going

    /// MSI gets all its vectors at once, fewer where the host has no more. MSI-X gets its first, held: the device has
    /// to be switched on, also when the guest uses no vector, and the kernel does that with a vector only.
    private mutating func enable(_ vectors: UInt32, on mux: inout Mux) throws(MuxError) {
        var wanted = index == .msi ? min(vectors, count) : 1
        while true {
            let available = try mux.connectServed(device, index, 0..<wanted, &places)
            guard available > 0 else { break }
            report.shortAnswers &+= 1
            guard available < wanted else {
                throw MuxError("SET_IRQS", errno: ENOSPC, remedy: "the host has no vectors left")
            }
            wanted = 1 << UInt32(31 - available.leadingZeroBitCount)
        }
        allocated = wanted
    }

    private mutating func disable(on mux: inout Mux) {
        dropOwed(on: mux)
        do throws(MuxError) { try mux.disconnectAll(device, index) } catch { report.lastError = error }
        for vector in 0..<places.count { places[vector] = Self.nobody }
        allocated = 0
    }

    private mutating func connect(_ vector: UInt32, on mux: inout Mux) throws(MuxError) {
        if isFixed, vector >= allocated {
            // MSI has all that it can have.
            if index == .msix { try grow(toHold: vector, on: &mux) }
            return
        }
        // What the kernel answers for one vector more is an errno; a positive number only when it enables the index.
        if try mux.connectServed(device, index, vector..<vector + 1, &places) > 0 { report.shortAnswers &+= 1 }
    }

    /// Several that come into use. Where the index cannot grow it is enabled anew once, for all of them.
    private mutating func connect(_ vectors: [UInt64], on mux: inout Mux) throws(MuxError) {
        var numbers: [UInt32] = []
        for number in 0..<count where vectors[Int(number >> 6)] & 1 << UInt64(number & 63) != 0 {
            if slot(number, mux) == nil { numbers.append(number) }
        }
        guard numbers.count > 1, index == .msix, let last = numbers.last else { return }
        guard isFixed, last >= allocated else { return try mux.connectServed(numbers, device, index, &places) }
        try mux.prepareServed(device, index, numbers, &places)
        do throws(MuxError) {
            report.regrowths &+= 1
            let wanted = min(count, max(last + 1, allocated * 2))
            guard try mux.reenable(device, index, wanted, places) > 0 else {
                allocated = wanted
                return kickOpen(on: &mux)
            }
            report.shortAnswers &+= 1
            throw MuxError("SET_IRQS", errno: ENOSPC, remedy: "the host has fewer vectors left than the guest wants")
        } catch {
            mux.discardServed(index, numbers, &places)
            recover(on: &mux)
            throw error
        }
    }

    /// After a growth that failed and left the index disabled: it gets what it had.
    private mutating func recover(on mux: inout Mux) {
        do throws(MuxError) {
            _ = try mux.reenable(device, index, allocated, places)
            kickOpen(on: &mux)
        } catch { report.lastError = error }
    }

    /// More vectors where the enabled index cannot grow: it is disabled and enabled anew with at least twice as many,
    /// so that this stays rare. What is held stays held; what the device raised in between nobody can know, so every
    /// vector that is open is told once more.
    ///
    /// The next vector is assigned with this one, held: the guest will want it as a rule, and then the call that it
    /// would have cost makes up for the disabling.
    private mutating func grow(toHold vector: UInt32, on mux: inout Mux) throws(MuxError) {
        let isNextFree = vector + 1 < count && slot(vector + 1, mux) == nil
        let numbers = vector..<vector + (isNextFree ? 2 : 1)
        try mux.prepareServed(device, index, numbers, &places)
        report.regrowths &+= 1
        let wanted = min(count, max(numbers.upperBound, allocated * 2))
        let available: UInt32
        do throws(MuxError) { available = try mux.reenable(device, index, wanted, places) } catch {
            mux.discardServed(index, numbers, &places)
            recover(on: &mux)
            throw error
        }
        guard available > 0 else {
            allocated = wanted
            return kickOpen(on: &mux)
        }
        report.shortAnswers &+= 1
        do throws(MuxError) { try settleFor(available, numbers, on: &mux) } catch {
            mux.discardServed(index, numbers, &places)
            throw error
        }
    }

    /// The host has `available` vectors: as many as that when they reach the first of `numbers`, or as it was.
    private mutating func settleFor(
        _ available: UInt32, _ numbers: Range<UInt32>, on mux: inout Mux
    ) throws(MuxError) {
        if available < numbers.upperBound {
            mux.discardServed(index, max(available, numbers.lowerBound)..<numbers.upperBound, &places)
        }
        let wanted = available > numbers.lowerBound ? available : allocated
        guard try mux.reenable(device, index, wanted, places) == 0 else {
            throw MuxError("SET_IRQS", errno: EIO, remedy: "the host took back vectors that it had given")
        }
        allocated = wanted
        kickOpen(on: &mux)
        guard allocated > numbers.lowerBound else {
            throw MuxError(
                "SET_IRQS", errno: ENOSPC, remedy: "the host has fewer vectors left than the guest wants",
                available: allocated)
        }
    }

    /// Tells every vector that is open once, for something may have been lost; those that are not, when they are.
    mutating func kickOpen(on mux: inout Mux) {
        for vector in 0..<count {
            guard let slot = slot(vector, mux), let message = mux.message(slot) else { continue }
            if mux.entries[slot].gate.isOpen {
                try? kick(message, on: mux)
            } else {
                mux.entries[slot].mayHaveLost = true
            }
        }
    }

    /// Vectors whose signals are kept while masked, of 64 from `first` on.
    func kept(from first: UInt32, on mux: inout Mux) -> UInt64 {
        var bits: UInt64 = 0
        for bit in 0..<Int(min(count, first &+ 64) - min(first, count)) {
            if let slot = slot(first + UInt32(bit), mux), mux.isHeld(slot) { bits |= 1 << UInt64(bit) }
        }
        return bits
    }
}

/// What serving a guest's MSI or MSI-X came to; for reports.
public struct GuestMessageReport: Sendable {
    /// Operations that were refused: no vector, descriptor or route was left. `lastError` says why.
    public internal(set) var refusals: UInt64 = 0
    /// The last refusal's reason.
    public internal(set) var lastError: MuxError?
    /// How often the device's index was disabled and enabled anew to get more vectors, because it cannot grow
    /// (NORESIZE). Each costs two SET_IRQS, a moment without interrupts, and one message to each open vector.
    public internal(set) var regrowths: UInt64 = 0
    /// How often the host had fewer vectors than were asked for, and said how many.
    public internal(set) var shortAnswers: UInt64 = 0
    /// Messages sent because something may have been lost (restore, reset, growth), or for a restored pending bit.
    public internal(set) var kicks: UInt64 = 0
    /// How often all vectors were assigned again, because the device's own table had been wiped.
    public internal(set) var repairs: UInt64 = 0

    /// Adds another report; its last error counts where there is none here.
    mutating func merge(_ other: GuestMessageReport) {
        refusals &+= other.refusals
        lastError = lastError ?? other.lastError
        regrowths &+= other.regrowths
        shortAnswers &+= other.shortAnswers
        kicks &+= other.kicks
        repairs &+= other.repairs
    }
}
