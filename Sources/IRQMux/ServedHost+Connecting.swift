internal import CKernel
internal import InterruptModel

// Coming and going of vectors, and assigning again what is assigned.
extension ServedHost where Self: ~Copyable {
    /// What the device signals for a vector, as far as anybody knows; −1 for nothing.
    func assigned(_ number: UInt32, _ places: [VectorID]) -> Int32 {
        guard let slot = slot(of: places[Int(number)]), !self[isTakenAway: slot] else { return -1 }
        return eventFD(slot, atBypass: isAtBypass(slot))
    }

    /// The same for all.
    func assigned(_ places: [VectorID]) -> [Int32] {
        var eventFDs = [Int32](repeating: -1, count: places.count)
        for number in 0..<UInt32(places.count) { eventFDs[Int(number)] = assigned(number, places) }
        return eventFDs
    }

    /// Connects vectors for a guest: held, without GSIs yet. One SET_IRQS.
    ///
    /// - Returns: 0, or how many vectors the host could have given: then none is connected.
    mutating func connectServed(
        _ id: DeviceID, _ index: IRQIndex, _ numbers: Range<UInt32>, _ places: inout [VectorID],
        _ unknown: inout [UInt64]
    ) throws(MuxError) -> UInt32 {
        try prepareServed(id, index, numbers, &places, &unknown)
        do throws(DeviceError) {
            let eventFDs = numbers.map { assigned($0, places) }
            let answer = try set(IRQRequest(index, .trigger, start: numbers.lowerBound, .eventfd(eventFDs)), on: id)
            if answer > 0 { discardServed(numbers, &places, &unknown) }
            return answer
        } catch {
            discardServed(numbers, &places, &unknown)
            throw MuxError(error)
        }
    }

    /// Places and eventfds for vectors that a SET_IRQS is about to assign.
    mutating func prepareServed(
        _ id: DeviceID, _ index: IRQIndex, _ numbers: some Collection<UInt32>, _ places: inout [VectorID],
        _ unknown: inout [UInt64]
    ) throws(MuxError) {
        for number in numbers {
            do throws(MuxError) { places[Int(number)] = try makePlace(id, Vector(index, number)) } catch {
                discardServed(numbers.prefix { $0 != number }, &places, &unknown)
                throw error
            }
        }
    }

    /// Takes back what `prepareServed` made. A SET_IRQS that was refused halfway may have let a pending bit of the
    /// device fire: of such a vector something is lost, and `unknown` has its bit.
    mutating func discardServed(
        _ numbers: some Collection<UInt32>, _ places: inout [VectorID], _ unknown: inout [UInt64]
    ) {
        for number in numbers {
            let place = places[Int(number)]
            places[Int(number)] = MessageCarrier.nobody
            guard let slot = slot(of: place) else { continue }
            if isHeld(slot) { unknown[Int(number >> 6)] |= 1 << UInt64(number & 63) }
            discardPlace(slot)
        }
    }

    /// Disables an index, and forgets its vectors whatever the device says to it. What is held is dropped by name.
    mutating func switchOff(_ id: DeviceID, _ index: IRQIndex, _ places: inout [VectorID]) throws(MuxError) {
        guard places.contains(where: { slot(of: $0) != nil }) else { return }
        var refusal: DeviceError?
        do throws(DeviceError) { _ = try set(IRQRequest(index, .trigger, .none(count: 0)), on: id) } catch {
            refusal = error
        }
        for number in 0..<places.count {
            let place = places[number]
            places[number] = MessageCarrier.nobody
            if let slot = slot(of: place) { retirePlace(slot) }
        }
        if let refusal { throw MuxError(refusal) }
    }

    // MARK: Again

    /// Disables an index and enables it with `count` vectors, those that are connected with their eventfds. Nothing
    /// that is held or waits in an eventfd is touched.
    ///
    /// - Returns: 0, or how many vectors the host could have given: then the index is disabled.
    mutating func reenable(
        _ id: DeviceID, _ index: IRQIndex, _ count: UInt32, _ places: [VectorID]
    ) throws(MuxError) -> UInt32 {
        try reenable(id, index, (0..<count).map { assigned($0, places) })
    }

    private mutating func reenable(
        _ id: DeviceID, _ index: IRQIndex, _ eventFDs: [Int32]
    ) throws(MuxError) -> UInt32 {
        do throws(DeviceError) {
            do throws(DeviceError) { _ = try set(IRQRequest(index, .trigger, .none(count: 0)), on: id) } catch {
                // A refused attempt left it disabled: the kernel says EINVAL to that.
                guard error.errno == EINVAL else { throw error }
            }
            return try set(IRQRequest(index, .trigger, start: 0, .eventfd(eventFDs)), on: id)
        } catch { throw MuxError(error) }
    }

    /// Enables an index anew that could not be enabled with everything it had: each vector gets back what it can, and
    /// one whose eventfd is bad by now signals nothing (`isTakenAway`).
    ///
    /// - Throws: What the device says of an index without any eventfd: then it is disabled.
    mutating func salvage(_ id: DeviceID, _ index: IRQIndex, _ count: UInt32, _ places: [VectorID]) throws(MuxError) {
        let none = [Int32](repeating: -1, count: Int(count))
        guard try reenable(id, index, none) == 0 else {
            throw MuxError("SET_IRQS", errno: EIO, remedy: "the host took back vectors that it had given")
        }
        for number in 0..<min(count, UInt32(places.count)) where assigned(number, places) >= 0 {
            if let slot = slot(of: places[Int(number)]) { restore(slot, since: raisedCount(slot)) }
        }
    }

    /// Assigns every connected vector's eventfd again, also where a refusal had taken it away: what repairs a table
    /// that somebody wiped behind the kernel's back. One SET_IRQS for each unbroken range; where one is refused, one
    /// for each of its vectors.
    ///
    /// - Throws: The first refusal, after all others were assigned.
    mutating func reassign(_ id: DeviceID, _ index: IRQIndex, _ places: [VectorID]) throws(MuxError) {
        var refusal: DeviceError?
        var number = 0
        while number < places.count {
            let start = number
            var eventFDs: [Int32] = []
            while number < places.count, let slot = slot(of: places[number]) {
                eventFDs.append(eventFD(slot, atBypass: isAtBypass(slot)))
                number += 1
            }
            if !eventFDs.isEmpty {
                let isRefused: Bool
                do throws(DeviceError) {
                    _ = try set(IRQRequest(index, .trigger, start: UInt32(start), .eventfd(eventFDs)), on: id)
                    isRefused = false
                } catch {
                    refusal = refusal ?? error
                    isRefused = true
                }
                for number in start..<number {
                    guard let slot = slot(of: places[number]) else { continue }
                    if isRefused {
                        restore(slot, since: raisedCount(slot))
                    } else {
                        giveBack(slot)
                    }
                    // What was taken away came back by the loop. It may go past it again.
                    if self[isSettled: slot], self[gate: slot].isOpen { try? pointServed(slot, atBypass: true) }
                }
            }
            number += 1
        }
        if let refusal { throw MuxError(refusal) }
    }
}
