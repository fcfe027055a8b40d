import IRQMux
import InterruptModel

// Saved as a blob, and loaded into a machine that has nothing yet, as after a migration.
extension JudgedWorld where Self: ~Copyable {
    mutating func saveRestore(_ argument: UInt32) {
        host.ambush = nil
        let saved = savedState()
        let bytes = saved.encoded
        judgeDamage(bytes, argument)
        let wasOpen = host.vectors.indices.map { isInUse($0) && host.vectors[$0].gate.isOpen }
        let pending = moveIntoMachine()
        do throws(StateError) {
            let state = try InterruptState(decoding: bytes)
            // Beyond registers and pending bits the machine counts, which is not part of its state.
            guard state.vectors == saved.vectors, state.encoded == bytes else {
                return disagreement = "a state reads back as another one"
            }
            takeRegisters(of: state, pending: mutation != .losesPendingOnRestore)
            // What may have been on its way while the state was carried is told once more.
            for record in state.vectors where record.mayHaveLost && wasOpen[Int(record.vector.number)] {
                guard mutation != .noKickAfterRestore else { break }
                setPending(Int(record.vector.number))
            }
        } catch { disagreement = "a state that was just saved is refused: \(error)" }
        for vector in wasOpen.indices where wasOpen[vector] {
            reference.expectKick(vector)
            host.vectors[vector].isKickDue = true
        }
        synchronise(again: false)
        host.arrive(pending)
    }

    private mutating func savedState() -> InterruptState {
        var kept: [Int] = []
        for first in stride(from: 0, to: UInt32(host.vectors.count), by: 64) {
            var bits = owing(from: first)
            while bits != 0 {
                kept.append(Int(first) + bits.trailingZeroBitCount)
                bits &= bits - 1
            }
        }
        var state = savedRegisters(pending: kept)
        for vector in host.vectors.indices where host.vectors[vector].isConnected {
            let this = host.vectors[vector]
            state.vectors.append(
                InterruptState.VectorRecord(
                    Vector(host.irq, UInt32(vector)), way: this.isSettled ? .bypassed : .injected,
                    mayHaveLost: this.gate.isOpen, account: host.ledger(vector)))
        }
        return state
    }

    /// A blob of which one byte was changed, or the end is missing, is refused.
    private mutating func judgeDamage(_ bytes: [UInt8], _ argument: UInt32) {
        var damaged = bytes
        let place = Int(argument) % bytes.count
        if argument & 1 == 0 {
            damaged[place] ^= UInt8(argument >> 8 & 0xFF) | 1
        } else {
            damaged.removeSubrange(place...)
        }
        do throws(StateError) {
            _ = try InterruptState(decoding: damaged)
            disagreement = "a state that was damaged at byte \(place) was taken"
        } catch {}
    }
}
