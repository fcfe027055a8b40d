internal import CKernel
internal import EventRing
internal import InterruptModel
internal import KVM

// Committing routes in batches. A batch ends when it has as many vectors as are bypassed already (1, 1, 2, 4, 8 …: a
// table that doubles costs a number of commits that grows with its logarithm), or when nothing was added for a while.
extension Mux {
    /// A served vector is open and its route is not in the kernel's table, or its irqfd not bound.
    mutating func unsettle(_ slot: UInt32) {
        guard let guest else { return }
        let bit: UInt64 = 1 << UInt64(slot & 63)
        if guest.unsettled[Int(slot >> 6)] & bit == 0 {
            guest.unsettled[Int(slot >> 6)] |= bit
            guest.unsettledCount += 1
        }
        guard guest.unsettledCount < max(1, guest.settledCount) else { return settle() }
        startSettleTimer(guest)
    }

    mutating func forgetUnsettled(_ slot: UInt32) {
        guard let guest else { return }
        let bit: UInt64 = 1 << UInt64(slot & 63)
        guard guest.unsettled[Int(slot >> 6)] & bit != 0 else { return }
        guest.unsettled[Int(slot >> 6)] &= ~bit
        guest.unsettledCount -= 1
    }

    private mutating func startSettleTimer(_ guest: AttachedGuest) {
        guard guest.settleTimer == nil else { return }
        guest.settleMark = guest.unsettledCount
        do throws(RingError) {
            guest.settleTimer = try loop.addTimer(
                after: options.routeBatchDelay, tag: Self.vectorTag | UInt64(Self.settleSlot))
        } catch {
            // No timer is left: then the batch ends here.
            settle()
        }
    }

    /// The timer fired: commit, unless more came meanwhile, which may go on.
    mutating func settleDue() {
        guard let guest else { return }
        guest.settleTimer = nil
        guard guest.unsettledCount > 0 else { return }
        guard let mark = guest.settleMark, guest.unsettledCount != mark else { return settle() }
        startSettleTimer(guest)
    }

    /// What could not be moved is tried again: after twice the delay of a batch, then four times, up to a thousand
    /// times. Places in the loop that are coming free do so with the next waits, and then it is tried at once.
    private mutating func retryLater(_ guest: AttachedGuest, _ error: MuxError) {
        let isShortOfPlaces = error.errno == ENOSPC && loop.room > 0
        guest.settleError = isShortOfPlaces ? nil : error
        guest.settleFailures = isShortOfPlaces ? 0 : guest.settleFailures &+ 1
        guard guest.settleTimer == nil, guest.table.lost == 0 else { return }
        let (delay, overflow) = options.routeBatchDelay.multipliedReportingOverflow(
            by: 1 << min(guest.settleFailures, 10))
        guest.settleMark = nil
        // Without a timer it waits for the next batch.
        guest.settleTimer = try? loop.addTimer(
            after: isShortOfPlaces ? 0 : overflow ? .max : delay, tag: Self.vectorTag | UInt64(Self.settleSlot))
    }

    /// How many vectors of guests' MSI and MSI-X registers are open and still served by the loop, because their routes
    /// have not been committed yet, or could not be.
    public var routesWaiting: Int { guest?.unsettledCount ?? 0 }

    /// Why the last batch of routes could not be committed, or a vector not be moved past the loop; `nil` when the last
    /// one was whole. Nothing is lost meanwhile: such vectors are injected by the loop, and tried again by themselves.
    public var routesRefused: MuxError? { guest?.settleError }

    /// Commits the routes that are wanted and moves the vectors that waited for it past the loop. What cannot be moved
    /// (no descriptor left, say) goes on being injected, and is tried again.
    mutating func settle() {
        guard let guest, guest.unsettledCount > 0 else { return }
        if let timer = guest.settleTimer {
            try? loop.removeTimer(timer)
            guest.settleTimer = nil
        }
        do throws(MuxError) { _ = try guest.table.commit() } catch { return retryLater(guest, error) }
        var refusal: MuxError?
        var moved = 0
        // A vector that moves takes two places in the loop until the next wait. Half of them are left to vectors that
        // the guest may use before that.
        let spare = loop.room / 2
        for word in 0..<guest.unsettled.count {
            var bits = guest.unsettled[word]
            while bits != 0 {
                let slot = UInt32(word * 64 + bits.trailingZeroBitCount)
                bits &= bits - 1
                guard entries[slot].route == .injected else { continue }
                if moved > 0, entries[slot].bypass < 0, loop.room <= spare {
                    return retryLater(guest, MuxError("moving vectors past the loop", errno: ENOSPC))
                }
                do throws(MuxError) { try bypass(slot, guest) } catch {
                    refusal = error
                    continue
                }
                forgetUnsettled(slot)
                guest.settledCount += 1
                moved += 1
            }
        }
        if let refusal { return retryLater(guest, refusal) }
        guest.settleFailures = 0
        guest.settleError = nil
    }

    /// One vector goes past the loop from now on: its route is committed.
    private mutating func bypass(_ slot: UInt32, _ guest: AttachedGuest) throws(MuxError) {
        let device = devices[Int(entries[slot].device)]
        if entries[slot].bypass >= 0 {
            try point(slot, atBypass: true)
            entries[slot].route = .guest
            return
        }
        let before = device?.raisedCount(entries[slot].vector) ?? 0
        let (spare, source) = try makeListenedEventFD(slot)
        if fresh(slot) > 0 { pass(slot) }
        let binding: GuestBinding
        do throws(MuxError) {
            binding = try guest.bind(entries[slot].eventfd, entries[slot].gsi, slot)
        } catch {
            try? loop.remove(source)
            _ = irqmux_close(spare)
            throw error
        }
        // What came between the last look and the binding was injected by KVM, once, and left in the counter.
        if fresh(slot) > 0 {
            entries[slot].delivered &+= 1
            entries[slot].forwarded &+= 1
        }
        if let former = entries[slot].source {
            if let counts = try? loop.counts(of: former) {
                entries[slot].taken &+= counts.taken
                entries[slot].silencesEnded &+= UInt32(truncatingIfNeeded: counts.notifications)
            }
            try? loop.remove(former)
        }
        entries[slot].source = source
        install(binding, slot, of: guest)
        entries[slot].eventfd = spare
        entries[slot].route = .guest
        let after = device?.raisedCount(entries[slot].vector) ?? 0
        entries[slot].bypassed.begin(before: before, after: after)
    }

    private mutating func makeListenedEventFD(_ slot: UInt32) throws(MuxError) -> (eventfd: Int32, source: SourceID) {
        do throws(RingError) {
            let eventfd = try EventFD()
            let source = try loop.add(eventfd.number, tag: Self.vectorTag | UInt64(slot))
            return (eventfd.release(), source)
        } catch { throw MuxError(error) }
    }
}
