internal import CKernel
internal import EventRing
internal import InterruptModel

// Several vectors of a guest's MSI or MSI-X at once, as a function mask has them: `IRQPlan` says which SET_IRQS lead
// from what the device signals to what it is to signal, and they are the fewest. All of it happens, or nothing.
extension Mux {
    /// `maskServed` of every vector in a set.
    ///
    /// - Throws: What SET_IRQS says, and then nothing is masked that was not.
    mutating func maskServed(
        _ vectors: [UInt64], _ id: DeviceID, _ index: IRQIndex, _ places: [VectorID]
    ) throws(MuxError) {
        try pointServed(vectors, atBypass: false, id, index, places)
        forEachServed(vectors, places) { mux, slot in
            mux.entries[slot].gate.mask()
            mux.shut(slot)
            mux.forgetUnsettled(slot)
        }
    }

    /// `unmaskServed` of every vector in a set.
    ///
    /// - Throws: What SET_IRQS says, and then all stay masked.
    mutating func unmaskServed(
        _ vectors: [UInt64], _ id: DeviceID, _ index: IRQIndex, _ places: [VectorID]
    ) throws(MuxError) {
        try pointServed(vectors, atBypass: true, id, index, places)
        forEachServed(vectors, places) { mux, slot in
            mux.open(slot, holding: mux.entries[slot].gate.unmask())
            if mux.entries[slot].route == .injected, mux.entries[slot].gate.isOpen { mux.unsettle(slot) }
        }
    }

    /// Lets the device signal the bypass eventfds, or the user eventfds, of those vectors in a set that go past the
    /// loop.
    private mutating func pointServed(
        _ vectors: [UInt64], atBypass isBypassed: Bool, _ id: DeviceID, _ index: IRQIndex, _ places: [VectorID]
    ) throws(MuxError) {
        let device = try locate(id)
        let former = (0..<UInt32(places.count)).map { signalled($0, places) }
        var eventfds = former
        var swapped: [(slot: UInt32, before: UInt64)] = []
        forEachServed(vectors, places) { mux, slot in
            let entry = mux.entries[slot]
            guard entry.route == .guest, entry.bypassed.isLive != isBypassed, !isBypassed || !entry.gate.isHalted
            else { return }
            eventfds[Int(entry.number)] = isBypassed ? entry.bypass : entry.eventfd
            swapped.append((slot, device.raisedCount(entry.vector) ?? 0))
        }
        guard !swapped.isEmpty else { return }
        try point(device, index, swapped.map { entries[$0.slot].number }, from: former, to: eventfds)
        for (slot, before) in swapped {
            let after = device.raisedCount(entries[slot].vector) ?? 0
            if isBypassed {
                entries[slot].bypassed.begin(before: before, after: after)
            } else {
                entries[slot].bypassed.end(before: before, after: after)
            }
        }
    }

    /// The device's own shorter way, where it has one, or the fewest SET_IRQS.
    private func point(
        _ device: AttachedDevice, _ index: IRQIndex, _ numbers: [UInt32], from former: [Int32], to eventfds: [Int32]
    ) throws(MuxError) {
        var begun = former
        for number in numbers where device.swap(Vector(index, number), for: eventfds[Int(number)]) {
            begun[Int(number)] = eventfds[Int(number)]
        }
        do throws(MuxError) { try assign(device, index, from: begun, to: eventfds) } catch {
            for number in numbers where begun[Int(number)] != former[Int(number)] {
                _ = device.swap(Vector(index, number), for: former[Int(number)])
            }
            throw error
        }
    }

    /// Connects vectors that are about to come into use: held, without GSIs yet, as `connectServed` does.
    ///
    /// - Throws: As `connectServed`, and then none of them is connected.
    mutating func connectServed(
        _ numbers: [UInt32], _ id: DeviceID, _ index: IRQIndex, _ places: inout [VectorID]
    ) throws(MuxError) {
        let device = try locate(id)
        let former = (0..<UInt32(places.count)).map { signalled($0, places) }
        try prepareServed(id, index, numbers, &places)
        var eventfds = former
        for number in numbers { eventfds[Int(number)] = signalled(number, places) }
        do throws(MuxError) { try assign(device, index, from: former, to: eventfds) } catch {
            discardServed(index, numbers, &places)
            throw error
        }
    }

    /// The fewest SET_IRQS of an index that is enabled, or what it had.
    private func assign(
        _ device: AttachedDevice, _ index: IRQIndex, from former: [Int32], to eventfds: [Int32]
    ) throws(MuxError) {
        var state = IRQAssignments()
        state.assign(index, former)
        var wanted = state
        wanted.assign(index, eventfds)
        do throws(IRQChangeError) {
            try state.change(to: wanted, rules: device.connectingRules) { (request) throws(DeviceError) in
                try device.set(request)
            }
        } catch { throw MuxError(error) }
    }

    mutating func forEachServed(
        _ vectors: [UInt64], _ places: [VectorID], _ body: (_ mux: inout Mux, _ slot: UInt32) -> Void
    ) {
        for word in 0..<vectors.count {
            var bits = vectors[word]
            while bits != 0 {
                let place = places[word * 64 + bits.trailingZeroBitCount]
                bits &= bits - 1
                guard let slot = try? entries.locate(place, "looking at a vector") else { continue }
                body(&self, slot)
            }
        }
    }
}
