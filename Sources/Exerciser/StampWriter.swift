internal import InterruptModel
internal import Synchronization

/// Writes the stamp of each signal to the guest's memory, where a driver has asked for it.
///
/// The lock is taken after the device's own and never the other way round.
final class StampWriter: Sendable {
    /// Bytes of a record: sequence number and due time, 64 bits each.
    static let recordSize: UInt64 = 16

    private struct State {
        var write: DMAWrite?
        var address: UInt64 = 0
        var written: UInt64 = 0
        var failed: UInt64 = 0
    }

    private let state = Mutex(State())
    /// Looked at before the lock, which most devices then never take.
    private let enabled = Atomic<Bool>(false)

    var isEnabled: Bool {
        get { enabled.load(ordering: .relaxed) }
        set { enabled.store(newValue, ordering: .relaxed) }
    }
    var address: UInt64 {
        get { state.withLock { $0.address } }
        set { state.withLock { $0.address = newValue } }
    }
    var written: UInt64 { state.withLock { $0.written } }
    var failed: UInt64 { state.withLock { $0.failed } }

    func setMemory(_ write: DMAWrite?) { state.withLock { $0.write = write } }

    /// Writes the record of `vector`, unless nobody asked. A function that is no bus master may not write.
    func write(_ vector: Vector, sequence: UInt64, timeNs: UInt64, isBusMaster: Bool) {
        guard isEnabled, vector.index != .err, vector.index != .req else { return }
        state.withLock { state in
            let (address, wraps) = state.address.addingReportingOverflow(UInt64(vector.number) * Self.recordSize)
            let done = !wraps && isBusMaster && state.write?(address, sequence, timeNs) == true
            if done { state.written &+= 1 } else { state.failed &+= 1 }
        }
    }

    /// As after power-up, except that the memory stays.
    func reset() {
        isEnabled = false
        state.withLock { $0 = State(write: $0.write) }
    }
}

/// Writes 16 bytes to the guest's memory at `address`: `sequence` and then `timeNs`, both little-endian.
///
/// Called on whatever thread raises, before the vector's eventfd is written and while the device is locked: it must not
/// block and must not call the device.
///
/// - Returns: Whether all of it was written; false where no memory is.
public typealias DMAWrite = @Sendable (_ address: UInt64, _ sequence: UInt64, _ timeNs: UInt64) -> Bool
