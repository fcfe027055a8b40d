internal import InterruptModel

// When signals of one vector pass. The device is asked first, because it may refuse; then the gate moves; then what was
// held passes, once.
extension ServedHost where Self: ~Copyable {
    // MARK: Signals

    /// A notification of a vector that is open. One that finds nothing new was told before.
    package mutating func passFresh(_ slot: UInt32) {
        let count = fresh(slot)
        if count > 0 { passServed(slot, standingFor: count) }
    }

    /// One interrupt into the guest, on the way that is open.
    private mutating func passServed(_ slot: UInt32, standingFor count: UInt64) {
        if self[isSettled: slot] {
            signalIRQFD(slot, standingFor: count)
        } else {
            inject(slot, standingFor: count)
        }
    }

    /// Holds what is new; false when nothing is.
    package mutating func holdFresh(_ slot: UInt32) -> Bool {
        let count = fresh(slot)
        guard count > 0 else { return false }
        moveGate(slot) { _ = $0.arrive(count) }
        return true
    }

    /// What the gate held passes, if it is open: once, and with it what came while nobody listened.
    package mutating func passHeld(_ slot: UInt32, _ held: UInt64) {
        guard self[gate: slot].isOpen else { return }
        let unheard = listenAgain(slot)
        if held > 0 || unheard > 0 { passServed(slot, standingFor: held &+ unheard) }
    }

    /// Whether a vector that is not open has something to deliver: its pending bit.
    mutating func isHeld(_ slot: UInt32) -> Bool {
        guard !self[gate: slot].isOpen else { return false }
        return self[mayHaveLost: slot] || self[gate: slot].isPending || holdFresh(slot)
    }

    /// Whether a vector that is about to be opened has lost a signal, for all anybody knows, and has none to deliver in
    /// its place. Asked once.
    mutating func takeLoss(_ slot: UInt32) -> Bool {
        guard self[mayHaveLost: slot] else { return false }
        self[mayHaveLost: slot] = false
        return !isHeld(slot)
    }

    // MARK: Masks

    /// Signals are held from now on.
    ///
    /// - Throws: When the device could neither be told to signal the loop nor to signal nothing: it fires still.
    mutating func maskServed(_ slot: UInt32) throws(MuxError) {
        try leaveBypass(slot)
        moveGate(slot) { $0.mask() }
        forgetUnsettled(slot)
    }

    /// Signals pass again; what was held does now, once.
    ///
    /// - Returns: Whether the guest was told of a signal that may have been lost. As a kick: nobody's signal.
    /// - Throws: What SET_IRQS says, and then the vector stays masked.
    @discardableResult
    mutating func unmaskServed(_ slot: UInt32) throws(MuxError) -> Bool {
        // While the host holds it back (`haltServed`), the guest's mask is only taken down.
        guard !self[gate: slot].isHalted else {
            moveGate(slot) { _ = $0.unmask() }
            return false
        }
        try aim(slot)
        let hasLost = takeLoss(slot)
        openServed(slot, holding: moveGate(slot) { $0.unmask() })
        return wasOpened(slot, hasLost)
    }

    /// The host holds signals back, whatever the guest's registers say: the guest's mask goes on being its own.
    ///
    /// - Throws: As `maskServed`.
    package mutating func haltServed(_ slot: UInt32) throws(MuxError) {
        try leaveBypass(slot)
        moveGate(slot) { $0.halt() }
        forgetUnsettled(slot)
    }

    /// Ends `haltServed`. What was held passes now, once, and so does what was lost, unless the guest masks the vector.
    ///
    /// - Throws: What SET_IRQS says, and then the vector stays held back.
    package mutating func resumeServed(_ slot: UInt32) throws(MuxError) {
        guard self[gate: slot].isHalted else { return }
        guard !self[gate: slot].isMasked else {
            moveGate(slot) { _ = $0.resume() }
            return
        }
        try aim(slot)
        let hasLost = takeLoss(slot)
        openServed(slot, holding: moveGate(slot) { $0.resume() })
        if wasOpened(slot, hasLost) { noteKick(slot) }
    }

    /// What comes after the opening of a gate that nothing holds any more.
    mutating func wasOpened(_ slot: UInt32, _ hasLost: Bool) -> Bool {
        // Told before the vector may move past the loop: a refusal of that tells of its own loss.
        let isTold = hasLost && tellLoss(slot)
        if !self[isSettled: slot] { unsettle(slot) }
        return isTold
    }

    /// Sends the vector's message from nobody's signal.
    mutating func tellLoss(_ slot: UInt32) -> Bool {
        guard let (message, requester) = wanted(slot) else { return false }
        do throws(MuxError) {
            try send(message, requester: requester, for: number(slot))
            self[mayHaveLost: slot] = false
            return true
        } catch { return false }
    }

    // MARK: Messages

    /// A connected vector gets its message, and passes from now on.
    ///
    /// - Returns: As `unmaskServed`.
    mutating func useServed(
        _ slot: UInt32, _ message: InterruptMessage, requester: UInt32?
    ) throws(MuxError) -> Bool {
        try want(message, requester: requester, slot)
        return try unmaskServed(slot)
    }

    /// A vector in use gets another message: until that is committed, the loop injects it.
    mutating func redirectServed(
        _ slot: UInt32, _ message: InterruptMessage, requester: UInt32?
    ) throws(MuxError) {
        if self[isSettled: slot] {
            if self[gate: slot].isOpen {
                do throws(MuxError) { try leaveBypass(slot) } catch {
                    tellOfRefusal(slot)
                    throw error
                }
            }
            self[isSettled: slot] = false
            settledCount = settledCount - 1
        }
        do throws(MuxError) { try want(message, requester: requester, slot) } catch {
            // It has the old one still, and may go past the loop again.
            if self[gate: slot].isOpen { unsettle(slot) }
            throw error
        }
        if self[gate: slot].isOpen { unsettle(slot) }
    }

    // MARK: What the device signals

    /// SET_IRQS refused an open vector something, and it goes on as it was.
    mutating func tellOfRefusal(_ slot: UInt32) {
        if !self[isTakenAway: slot], takeLoss(slot), tellLoss(slot) { noteKick(slot) }
    }

    /// Moves a gate, by a copy: in place it would allocate wherever generic code is not specialised.
    mutating func moveGate<Result>(_ slot: UInt32, _ move: (inout VectorGate) -> Result) -> Result {
        var gate = self[gate: slot]
        defer { self[gate: slot] = gate }
        return move(&gate)
    }

    /// Lets the device signal what an open vector is to signal.
    private mutating func aim(_ slot: UInt32) throws(MuxError) {
        guard self[isSettled: slot] || self[isTakenAway: slot] else { return }
        try pointServed(slot, atBypass: self[isSettled: slot])
    }

    /// Nothing goes past the loop from now on. Where the device cannot be told to signal the loop it is to signal
    /// nothing, for a masked vector must not fire, nor one with an old message: then it keeps what it raises, and where
    /// it cannot, the guest is told once when the vector signals again.
    private mutating func leaveBypass(_ slot: UInt32) throws(MuxError) {
        guard self[isSettled: slot] else { return }
        do throws(MuxError) { try pointServed(slot, atBypass: false) } catch {
            do throws(DeviceError) { try assign(slot, -1, atBypass: false, anew: true) } catch { throw MuxError(error) }
            takeAway(slot)
        }
    }

    /// Lets the device signal the bypass eventfd or the user eventfd. No effect when it does.
    ///
    /// - Throws: What SET_IRQS says, and then the vector signals what it did, or nothing (`isTakenAway`).
    mutating func pointServed(_ slot: UInt32, atBypass isBypassed: Bool) throws(MuxError) {
        let wasTakenAway = self[isTakenAway: slot]
        let target = eventFD(slot, atBypass: isBypassed)
        guard target >= 0, wasTakenAway || isAtBypass(slot) != isBypassed else { return }
        do throws(DeviceError) { try assign(slot, target, atBypass: isBypassed, anew: wasTakenAway) } catch {
            // The refusal may have taken the vector's eventfd away: give it back. A device that keeps nothing lost what
            // it raised in between.
            if !wasTakenAway {
                restore(slot)
                if !keepsPending(slot) { self[mayHaveLost: slot] = true }
            }
            throw MuxError(error)
        }
        if wasTakenAway { giveBack(slot) }
    }

    /// Gives a vector once more what it signals, for nobody knows whether it does.
    mutating func restore(_ slot: UInt32) {
        let isBypassed = isAtBypass(slot)
        do throws(DeviceError) {
            try assign(slot, eventFD(slot, atBypass: isBypassed), atBypass: isBypassed, anew: true)
            giveBack(slot)
        } catch {
            let count = raisedCount(slot)
            notePointed(slot, atBypass: false, before: count, after: count)
            takeAway(slot)
        }
    }

    /// The vector signals nothing any more.
    private mutating func takeAway(_ slot: UInt32) {
        self[isTakenAway: slot] = true
        self[mayHaveLost: slot] = true
    }

    /// The vector signals something. If it did not, more may have been lost since the guest was last told.
    mutating func giveBack(_ slot: UInt32) {
        guard self[isTakenAway: slot] else { return }
        self[isTakenAway: slot] = false
        self[mayHaveLost: slot] = true
    }
}
