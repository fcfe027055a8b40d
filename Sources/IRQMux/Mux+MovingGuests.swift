internal import CKernel
internal import EventRing
internal import InterruptModel

// What a vector has of a guest goes with it to another loop: the irqfd stays bound to the same eventfd, the line keeps
// its pin and its way, and the histograms go on. Nothing of it is made anew, so no moment exists at which a signal into
// the guest finds nobody.
extension Mux {
    /// What of a moving vector does not fit into the table.
    struct Luggage: Sendable {
        var binding: GuestBinding?
        var line: INTxLine?
        var measured: MeasuredVector?
    }

    /// Takes everything out of this mux. The entry keeps what the device is to signal.
    mutating func pack(_ slot: UInt32) -> Luggage {
        var luggage = Luggage()
        luggage.binding = lend(slot)
        if entries[slot].way != nil {
            let place = Int(entries[slot].device)
            luggage.line = lines.byPlace[place].take()
            entries[slot].way = nil
            if let timer = luggage.line?.timer { try? loop.removeTimer(timer) }
            luggage.line?.timer = nil
        }
        luggage.measured = stopMeasuring(slot)
        return luggage
    }

    /// Takes everything in, for an entry that is about to be this mux's.
    ///
    /// - Throws: `EXDEV` when the route leads into another guest than this mux's; as `EventLoop.add`. Then nothing is
    ///   taken.
    mutating func unpack(_ luggage: Luggage, into entry: inout VectorEntry, _ slot: UInt32) throws(MuxError) {
        let isSameGuest = guest.map { $0.table === luggage.binding?.table } ?? false
        guard isSameGuest || !entry.route.isIntoGuest else {
            throw MuxError(
                "moving a vector", errno: EXDEV,
                remedy: "its route leads into a guest that only its own loop has: attach the guest to the group")
        }
        entry.isAcknowledged = false
        if let measured = luggage.measured {
            let source = try listen(to: measured, slot)
            entry.isAcknowledged = source != nil
            // Listening tells of what the eventfd holds already, which was told on the other loop.
            var told: UInt64 = 0
            if let acknowledgement = measured.acknowledgement {
                // SAFETY: the pointer is valid for the call.
                _ = unsafe irqmux_eventfd_peek(acknowledgement, &told)
            }
            entry.skipsAcknowledgement = told > 0
            self.measured.append((slot, measured, source))
        }
        if let binding = luggage.binding {
            // Only kept for a way back into the guest, which from here is another one.
            if isSameGuest, let guest {
                entry.bypass = binding.handOver(to: guest.owner(slot))
                entry.gsi = binding.gsi
            } else {
                binding.unbind()
            }
        }
        if !isSameGuest {
            entry.bypass = -1
            entry.gsi = .max
        }
        if let line = luggage.line { lines.byPlace[Int(entry.device)] = line }
    }

    /// After a move that failed: everything is this mux's again.
    mutating func unpackAgain(_ passport: Passport, _ slot: UInt32) {
        var entry = entries[slot]
        entry.way = passport.entry.way
        entry.stages = passport.entry.stages
        var luggage = passport.luggage
        do throws(MuxError) { try unpack(luggage, into: &entry, slot) } catch {
            // The place of what tells of acknowledgements has been taken meanwhile: measured without it.
            luggage.measured = luggage.measured.map {
                MeasuredVector(histograms: $0.histograms, acknowledgement: nil)
            }
            try? unpack(luggage, into: &entry, slot)
        }
        entries[slot] = entry
        resumeLine(slot)
    }

    /// A line whose quiet period was running begins it anew; without a timer for it, the guest is taken to be done.
    mutating func resumeLine(_ slot: UInt32) {
        guard entries[slot].way == .mappingToggle, entries[slot].inService,
            let line = lines.byPlace[Int(entries[slot].device)], line.atWork
        else { return }
        do throws(MuxError) { try startQuietTimer(slot, line, after: line.quiet) } catch {
            do throws(MuxError) { try endService(slot) } catch {
                entries[slot].refusal = error.errno
                enlist(slot)
            }
        }
    }
}
