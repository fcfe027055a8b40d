internal import CKernel
internal import EventRing
internal import Synchronization

/// What a VMM's run loop calls when KVM reports the end of an interrupt: unmasks the devices behind it.
///
/// Any thread may call it at any time; nothing blocks and nobody waits for the mux. It outlives the mux, and then does
/// nothing. A call costs a write(2) for each device on the pin, and reaches the device without the mux's thread.
public final class EndOfInterruptSink: Sendable {
    /// What is known of one device's line. The eventfd is made once and stays until the end, so that a call that comes
    /// late never writes to a number that means something else by now; at worst it unmasks a line that is not masked.
    final class Record: Sendable {
        /// Bit 63: there is a line. Bits 32 to 39: its vector. Bits 0 to 31: its GSI.
        let line = Atomic<UInt64>(0)
        let acknowledged = Atomic<UInt64>(0)
        let unmask = Atomic<Int32>(-1)

        deinit {
            let number = unmask.load(ordering: .relaxed)
            if number >= 0 { _ = irqmux_close(number) }
        }

        var acknowledgedCount: UInt64 { acknowledged.load(ordering: .acquiring) }

        func publish(gsi: UInt32, vector: UInt8) {
            line.store(1 << 63 | UInt64(vector) << 32 | UInt64(gsi), ordering: .releasing)
        }

        func withdraw() { line.store(0, ordering: .releasing) }

        /// Another line's from now on.
        func begin() { acknowledged.store(0, ordering: .releasing) }

        /// The eventfd, empty; made when there is none yet.
        func preparedUnmask() throws(MuxError) -> Int32 {
            var number = unmask.load(ordering: .relaxed)
            if number < 0 {
                do throws(RingError) { number = try EventFD().release() } catch { throw MuxError(error) }
                unmask.store(number, ordering: .releasing)
            }
            var rest: UInt64 = 0
            // SAFETY: the pointer is valid for the call.
            _ = unsafe irqmux_eventfd_take(number, &rest)
            return number
        }
    }

    /// By the line's place; see `SharedLines`.
    let records: [Record]

    init(lines: Int) { records = (0..<lines).map { _ in Record() } }

    /// The guest has ended the interrupt that the IOAPIC delivers with `vector` (`KVM_EXIT_IOAPIC_EOI`).
    ///
    /// - Returns: How many devices were told to unmask; several when they share the vector, 0 for an unknown one.
    @discardableResult
    public func end(vector: UInt8) -> Int {
        unmask { UInt8(truncatingIfNeeded: $0 >> 32) == vector }
    }

    /// The guest has ended the interrupt of a pin. Otherwise as for a vector.
    @discardableResult
    public func end(gsi: UInt32) -> Int {
        unmask { UInt32(truncatingIfNeeded: $0) == gsi }
    }

    /// The guest has programmed another vector for a pin: later ends of interrupt come with that one.
    ///
    /// - Returns: How many lines are on the pin.
    @discardableResult
    public func setVector(_ vector: UInt8, forGSI gsi: UInt32) -> Int {
        var changed = 0
        for record in records {
            let line = record.line.load(ordering: .acquiring)
            guard line >> 63 == 1, UInt32(truncatingIfNeeded: line) == gsi else { continue }
            let wanted = 1 << 63 | UInt64(vector) << 32 | UInt64(gsi)
            // When it fails the line has just been withdrawn, and nobody will miss the vector.
            let result = record.line.compareExchange(
                expected: line, desired: wanted, ordering: .acquiringAndReleasing)
            if result.exchanged { changed += 1 }
        }
        return changed
    }

    private func unmask(_ isMeant: (UInt64) -> Bool) -> Int {
        var told = 0
        for record in records {
            let line = record.line.load(ordering: .acquiring)
            guard line >> 63 == 1, isMeant(line) else { continue }
            // Counted first: who finds the device unmasked finds the count as well.
            record.acknowledged.wrappingAdd(1, ordering: .releasing)
            _ = irqmux_eventfd_signal(record.unmask.load(ordering: .acquiring), 1)
            told += 1
        }
        return told
    }
}
