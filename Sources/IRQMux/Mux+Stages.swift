internal import CKernel
internal import EventRing
internal import InterruptModel

// Measuring the way into the guest, for vectors whose owner asked for it. Bypassed signals pass nobody who could
// measure them: that is what `detour` is for.
extension Mux {
    /// Records the stages of a vector's detours from now on.
    ///
    /// - Parameter acknowledgement: An eventfd that the guest's acknowledgement signals: a doorbell that its handler
    ///   rings, or the resample eventfd of its line. The mux listens to it in its own loop, where it takes a source's
    ///   place, and never reads it; the caller keeps it open until the vector is disconnected.
    /// - Returns: The histograms, for any thread.
    /// - Throws: `ENOENT` when it was disconnected; `EBUSY` when it is measured already; as `EventLoop.add`.
    public mutating func measure(
        _ id: VectorID, acknowledgedBy acknowledgement: Int32? = nil
    ) throws(MuxError) -> StageHistograms {
        let slot = try entries.locate(id, "measuring a vector")
        guard !entries[slot].stages.isOn else {
            throw MuxError("measuring a vector", errno: EBUSY, remedy: "read the histograms that are there")
        }
        let measured = MeasuredVector(histograms: StageHistograms(), acknowledgement: acknowledgement)
        let source = try listen(to: measured, slot)
        entries[slot].isAcknowledged = source != nil
        self.measured.append((slot, measured, source))
        entries[slot].stages = measured.histograms.writer
        return measured.histograms
    }

    /// Listens to what tells that the guest acknowledged, if something does.
    mutating func listen(to measured: MeasuredVector, _ slot: UInt32) throws(MuxError) -> SourceID? {
        guard let acknowledgement = measured.acknowledgement else { return nil }
        do throws(RingError) {
            return try loop.add(acknowledgement, tag: Self.acknowledgementTag | UInt64(slot))
        } catch { throw MuxError(error) }
    }

    @discardableResult
    mutating func stopMeasuring(_ slot: UInt32) -> MeasuredVector? {
        guard let place = measured.firstIndex(where: { $0.slot == slot }) else { return nil }
        entries[slot].stages = StageWriter()
        if let source = measured[place].source { try? loop.remove(source) }
        entries[slot].isAcknowledged = false
        return measured.remove(at: place).vector
    }

    /// Forwards and stamps. Two readings of the clock more than forwarding.
    @inline(never)
    mutating func forwardMeasured(_ slot: UInt32) {
        let begin = loop.time.now
        let wake = loop.batchTicks
        let signal = signalTime(slot)
        let woke = loop.time.monotonic(wake)
        entries[slot].stages.arrived(
            wake: signal == 0 ? nil : woke &- min(signal, woke),
            dispatch: loop.time.nanoseconds(begin &- min(wake, begin)))
        _ = irqmux_eventfd_signal(entries[slot].bypass, 1)
        let end = loop.time.now
        entries[slot].stages.forwarded(
            after: loop.time.nanoseconds(end &- begin), now: loop.time.monotonic(end),
            isAcknowledged: entries[slot].isAcknowledged)
    }

    /// When the device says that it signalled last, CLOCK_MONOTONIC; 0 where it does not say. Out of line, because it
    /// is a call through the device's table of functions.
    @inline(never)
    private mutating func signalTime(_ slot: UInt32) -> UInt64 {
        devices[Int(entries[slot].device)]?.lastSignalTime(entries[slot].vector) ?? 0
    }

    /// The guest told that it has served a measured vector.
    mutating func acknowledged(_ slot: UInt32) {
        guard !entries[slot].skipsAcknowledgement else {
            // What the eventfd held when the vector was moved here, told again.
            entries[slot].skipsAcknowledgement = false
            return entries[slot].stages.forgive()
        }
        entries[slot].stages.acknowledged(now: loop.time.monotonic(loop.time.now))
    }
}

/// A vector that is measured, and what tells that the guest acknowledged.
struct MeasuredVector: Sendable {
    let histograms: StageHistograms
    let acknowledgement: Int32?
}
