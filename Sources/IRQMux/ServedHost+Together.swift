internal import InterruptModel

// Several vectors of a guest's MSI or MSI-X at once, as a function mask has them: `IRQPlan` says which SET_IRQS lead
// from what the device signals to what it is to signal, and they are the fewest. All of it happens, or nothing.
extension ServedHost where Self: ~Copyable {
    /// `maskServed` of every vector in a set.
    ///
    /// - Throws: What SET_IRQS says, and then nothing is masked that was not.
    mutating func maskServed(
        _ vectors: [UInt64], _ id: DeviceID, _ index: IRQIndex, _ places: [VectorID]
    ) throws(MuxError) {
        try pointServed(vectors, atBypass: false, id, index, places)
        forEachServed(vectors, places) { host, slot in
            host.moveGate(slot) { $0.mask() }
            host.forgetUnsettled(slot)
        }
    }

    /// `unmaskServed` of every vector in a set.
    ///
    /// - Returns: How many were told of a signal that may have been lost.
    /// - Throws: What SET_IRQS says, and then all stay masked.
    mutating func unmaskServed(
        _ vectors: [UInt64], _ id: DeviceID, _ index: IRQIndex, _ places: [VectorID]
    ) throws(MuxError) -> UInt64 {
        try pointServed(vectors, atBypass: true, id, index, places)
        var told: UInt64 = 0
        forEachServed(vectors, places) { host, slot in
            guard !host[gate: slot].isHalted else { return host.moveGate(slot) { _ = $0.unmask() } }
            let hasLost = host.takeLoss(slot)
            host.openServed(slot, holding: host.moveGate(slot) { $0.unmask() })
            if host.wasOpened(slot, hasLost) { told &+= 1 }
        }
        return told
    }

    /// Lets the device signal the bypass eventfds, or the user eventfds, of those vectors in a set that go past the
    /// loop, and something of those that signal nothing and are to be open.
    private mutating func pointServed(
        _ vectors: [UInt64], atBypass isBypassed: Bool, _ id: DeviceID, _ index: IRQIndex, _ places: [VectorID]
    ) throws(MuxError) {
        let former = assigned(places)
        var eventFDs = former
        var changed: [(slot: UInt32, before: UInt64)] = []
        forEachServed(vectors, places) { host, slot in
            let isSettled = host[isSettled: slot]
            guard isBypassed ? !host[gate: slot].isHalted : isSettled else { return }
            guard isSettled && host.isAtBypass(slot) != isBypassed || isBypassed && host[isTakenAway: slot] else {
                return
            }
            eventFDs[Int(host.number(slot))] = host.eventFD(slot, atBypass: isBypassed && isSettled)
            changed.append((slot, host.raisedCount(slot)))
        }
        guard !changed.isEmpty else { return }
        try point(changed.map { $0.slot }, id, index, places, from: former, to: eventFDs)
        for (slot, before) in changed {
            giveBack(slot)
            notePointed(
                slot, atBypass: isBypassed && self[isSettled: slot], before: before, after: raisedCount(slot))
        }
    }

    /// The device's own shorter way, where it has one, or the fewest SET_IRQS.
    private mutating func point(
        _ slots: [UInt32], _ id: DeviceID, _ index: IRQIndex, _ places: [VectorID], from former: [Int32],
        to eventFDs: [Int32]
    ) throws(MuxError) {
        var begun = former
        for slot in slots {
            let number = Int(number(slot))
            if former[number] >= 0, swap(slot, for: eventFDs[number]) { begun[number] = eventFDs[number] }
        }
        do throws(MuxError) { try change(id, index, places, from: begun, to: eventFDs) } catch {
            for slot in slots {
                let number = Int(number(slot))
                if begun[number] != former[number] { _ = swap(slot, for: former[number]) }
            }
            throw error
        }
    }

    /// Connects vectors that are about to come into use: held, without GSIs yet.
    ///
    /// - Throws: What SET_IRQS says, or that no eventfd was left, and then none of them is connected.
    mutating func connectServed(
        _ numbers: [UInt32], _ id: DeviceID, _ index: IRQIndex, _ places: inout [VectorID],
        _ unknown: inout [UInt64]
    ) throws(MuxError) {
        let former = assigned(places)
        try prepareServed(id, index, numbers, &places, &unknown)
        var eventFDs = former
        for number in numbers { eventFDs[Int(number)] = assigned(number, places) }
        do throws(MuxError) { try change(id, index, places, from: former, to: eventFDs) } catch {
            discardServed(numbers, &places, &unknown)
            throw error
        }
    }

    /// The fewest SET_IRQS of an index that is enabled, or what it had. A vector that cannot get back what it had
    /// signals nothing (`isTakenAway`).
    private mutating func change(
        _ id: DeviceID, _ index: IRQIndex, _ places: [VectorID], from former: [Int32], to eventFDs: [Int32]
    ) throws(MuxError) {
        var state = IRQAssignments()
        state.assign(index, former)
        var wanted = state
        wanted.assign(index, eventFDs)
        do throws(IRQChangeError) {
            try state.change(to: wanted, rules: connectingRules(id)) { (request) throws(DeviceError) in
                try set(request, on: id)
            }
        } catch {
            if !error.isRolledBack { restore(former, state, index, places) }
            // What the refused request was about signalled nothing for a moment; a device that keeps nothing lost it.
            let begin = min(Int(error.request.start), former.count)
            for number in begin..<min(begin + Int(error.request.count), former.count) where former[number] >= 0 {
                if let slot = slot(of: places[number]), !keepsPending(slot) { self[mayHaveLost: slot] = true }
            }
            throw MuxError(error)
        }
    }

    /// Not everything could be put back together: each vector by itself.
    private mutating func restore(
        _ former: [Int32], _ state: IRQAssignments, _ index: IRQIndex, _ places: [VectorID]
    ) {
        for number in 0..<UInt32(former.count) {
            guard former[Int(number)] >= 0, state.eventFD(Vector(index, number)) != former[Int(number)],
                let slot = slot(of: places[Int(number)])
            else { continue }
            restore(slot)
        }
    }

    mutating func forEachServed(
        _ vectors: [UInt64], _ places: [VectorID], _ body: (_ host: inout Self, _ slot: UInt32) -> Void
    ) {
        for word in 0..<vectors.count {
            var bits = vectors[word]
            while bits != 0 {
                let place = places[word * 64 + bits.trailingZeroBitCount]
                bits &= bits - 1
                guard let slot = slot(of: place) else { continue }
                body(&self, slot)
            }
        }
    }
}
