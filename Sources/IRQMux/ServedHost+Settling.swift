internal import CKernel

// Committing routes in batches. A batch ends when it has as many vectors as are bypassed already (1, 1, 2, 4, 8 …: a
// table that doubles costs a number of commits that grows with its logarithm), or when nothing was added for a while.
extension ServedHost where Self: ~Copyable {
    /// A served vector is open and its route is not in the kernel's table, or its irqfd not bound.
    package mutating func unsettle(_ slot: UInt32) {
        listUnsettled(slot)
        guard listedCount < max(1, settledCount) else { return settleServed() }
        settleLater()
    }

    /// Commits the routes that are wanted and moves the vectors that waited for it past the loop. What cannot be moved
    /// (no descriptor left, say) goes on being injected, and is tried again.
    package mutating func settleServed() {
        guard listedCount > 0 else { return }
        stopSettling()
        do throws(MuxError) { try commitWanted() } catch { return retryLater(error) }
        var refusal: MuxError?
        var moved = 0
        // A vector that moves takes two places in the loop until the next wait. Half of them are left to vectors that
        // the guest may use before that.
        let spare = loopRoom / 2
        var next: UInt32 = 0
        while let slot = nextListed(from: next) {
            next = slot + 1
            guard !self[isSettled: slot] else { continue }
            if moved > 0, eventFD(slot, atBypass: true) < 0, loopRoom <= spare {
                return retryLater(MuxError("moving vectors past the loop", errno: ENOSPC))
            }
            do throws(MuxError) { try passLoopBy(slot) } catch {
                refusal = error
                continue
            }
            forgetUnsettled(slot)
            settledCount = settledCount + 1
            moved += 1
        }
        if let refusal { return retryLater(refusal) }
        settledAll()
    }

    /// One vector goes past the loop from now on: its route is committed. The first time, the very eventfd that the
    /// device signals becomes the bypass, and the device is not asked.
    private mutating func passLoopBy(_ slot: UInt32) throws(MuxError) {
        guard eventFD(slot, atBypass: true) < 0 else {
            do throws(MuxError) { try pointServed(slot, atBypass: true) } catch {
                tellOfRefusal(slot)
                throw error
            }
            self[isSettled: slot] = true
            if takeLoss(slot), tellLoss(slot) { noteKick(slot) }
            return
        }
        if self[isTakenAway: slot] {
            try pointServed(slot, atBypass: false)
            if takeLoss(slot), tellLoss(slot) { noteKick(slot) }
        }
        let before = raisedCount(slot)
        let spare = try makeSpare(slot)
        passFresh(slot)
        let binding: Binding
        do throws(MuxError) { binding = try bind(slot) } catch {
            drop(spare)
            throw error
        }
        // What came between the last look and the binding was injected by KVM, once, and left in the counter.
        if fresh(slot) > 0 { countInjected(slot) }
        install(binding, spare, slot)
        self[isSettled: slot] = true
        notePointed(slot, atBypass: true, before: before, after: raisedCount(slot))
    }
}
