internal import CKernel
internal import InterruptModel

// How the device's index is switched on and off, and how it grows.
extension MessageCarrier {
    /// MSI gets all its vectors at once, fewer where the host has no more. MSI-X gets its first, held: the device has
    /// to be switched on, also when the guest uses no vector, and the kernel does that with a vector only.
    mutating func enable<Host: ServedHost & ~Copyable>(_ vectors: UInt32, on host: inout Host) throws(MuxError) {
        let wasLate = isLate
        isLate = true
        var wanted = index == .msi ? min(vectors, count) : 1
        while true {
            let available = try host.connectServed(device, index, 0..<wanted, &places, &unknown)
            guard available > 0 else { break }
            report.shortAnswers &+= 1
            guard available < wanted else {
                throw MuxError("SET_IRQS", errno: ENOSPC, remedy: "the host has no vectors left")
            }
            wanted = 1 << UInt32(31 - available.leadingZeroBitCount)
        }
        allocated = wanted
        isLate = false
        if wasLate { tellAll(on: &host) }
    }

    mutating func disable<Host: ServedHost & ~Copyable>(on host: inout Host) {
        dropOwed(on: &host)
        do throws(MuxError) { try host.switchOff(device, index, &places) } catch { report.lastError = error }
        for word in 0..<unknown.count { unknown[word] = 0 }
        allocated = 0
        isLate = false
    }

    mutating func connect<Host: ServedHost & ~Copyable>(_ vector: UInt32, on host: inout Host) throws(MuxError) {
        if isFixed, vector >= allocated {
            // MSI has all that it can have.
            if index == .msix { try grow(toHold: vector, on: &host) }
            return
        }
        // What the kernel answers for one vector more is an errno; a positive number only when it enables the index.
        if try host.connectServed(device, index, vector..<vector + 1, &places, &unknown) > 0 {
            report.shortAnswers &+= 1
        }
    }

    /// Several that come into use. Where the index cannot grow it is enabled anew once, for all of them.
    mutating func connect<Host: ServedHost & ~Copyable>(
        _ vectors: [UInt64], on host: inout Host
    ) throws(MuxError) {
        var numbers: [UInt32] = []
        for number in 0..<count where vectors[Int(number >> 6)] & 1 << UInt64(number & 63) != 0 {
            if slot(number, host) == nil { numbers.append(number) }
        }
        guard numbers.count > 1, index == .msix, let last = numbers.last else { return }
        guard isFixed, last >= allocated else {
            return try host.connectServed(numbers, device, index, &places, &unknown)
        }
        try host.prepareServed(device, index, numbers, &places, &unknown)
        do throws(MuxError) {
            report.regrowths &+= 1
            let wanted = min(count, max(last + 1, allocated * 2))
            guard try host.reenable(device, index, wanted, places) > 0 else {
                allocated = wanted
                return tellAll(on: &host)
            }
            report.shortAnswers &+= 1
            throw MuxError("SET_IRQS", errno: ENOSPC, remedy: "the host has fewer vectors left than the guest wants")
        } catch {
            host.discardServed(numbers, &places, &unknown)
            recover(on: &host)
            throw error
        }
    }

    /// After a growth that failed and left the index disabled: it gets what it had, or as much of it as can be had.
    private mutating func recover<Host: ServedHost & ~Copyable>(on host: inout Host) {
        do throws(MuxError) {
            do throws(MuxError) {
                guard try host.reenable(device, index, allocated, places) == 0 else {
                    throw MuxError("SET_IRQS", errno: EIO)
                }
            } catch { try host.salvage(device, index, allocated, places) }
        } catch { report.lastError = error }
        tellAll(on: &host)
    }

    /// More vectors where the enabled index cannot grow: it is disabled and enabled anew with at least twice as many,
    /// so that this stays rare. What is held stays held; what the device raised in between nobody can know, nor what
    /// pended in it, so every vector is told once more: those that are open now, the others when they are.
    ///
    /// The next vector is assigned with this one, held: the guest will want it as a rule, and then the call that it
    /// would have cost makes up for the disabling.
    private mutating func grow<Host: ServedHost & ~Copyable>(
        toHold vector: UInt32, on host: inout Host
    ) throws(MuxError) {
        let isNextFree = vector + 1 < count && slot(vector + 1, host) == nil
        let numbers = vector..<vector + (isNextFree ? 2 : 1)
        try host.prepareServed(device, index, numbers, &places, &unknown)
        report.regrowths &+= 1
        let wanted = min(count, max(numbers.upperBound, allocated * 2))
        do throws(MuxError) {
            let available = try host.reenable(device, index, wanted, places)
            guard available > 0 else {
                allocated = wanted
                return tellAll(on: &host)
            }
            report.shortAnswers &+= 1
            try settleFor(available, numbers, on: &host)
        } catch {
            host.discardServed(numbers, &places, &unknown)
            recover(on: &host)
            throw error
        }
    }

    /// The host has `available` vectors: as many as that when they reach the first of `numbers`.
    ///
    /// - Throws: When they do not, and then the index is disabled.
    private mutating func settleFor<Host: ServedHost & ~Copyable>(
        _ available: UInt32, _ numbers: Range<UInt32>, on host: inout Host
    ) throws(MuxError) {
        guard available > numbers.lowerBound else {
            throw MuxError(
                "SET_IRQS", errno: ENOSPC, remedy: "the host has fewer vectors left than the guest wants",
                available: allocated)
        }
        if available < numbers.upperBound { host.discardServed(available..<numbers.upperBound, &places, &unknown) }
        guard try host.reenable(device, index, available, places) == 0 else {
            throw MuxError("SET_IRQS", errno: EIO, remedy: "the host took back vectors that it had given")
        }
        allocated = available
        tellAll(on: &host)
    }
}
