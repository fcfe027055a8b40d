internal import CIRQMuxHeader
internal import CKernel
internal import EventRing
internal import IRQMux

// Handles of what belongs to a mux: the identity's own number with one added to its place, so that none is null.

private func packed(_ raw: UInt64) -> UInt64 { raw &+ 1 }

private func unpacked(_ bits: UInt64, _ operation: StaticString) throws(MuxError) -> UInt64 {
    guard bits != 0 else { throw Refusal.handle(-EINVAL, operation) }
    guard bits & 0xffff_ffff != 0 else { throw Refusal.handle(-EBADF, operation) }
    return bits &- 1
}

extension irqmux_vector {
    init(_ id: VectorID) { self.init(bits: packed(id.rawValue)) }

    func id(of mux: borrowing Mux, _ operation: StaticString) throws(MuxError) -> VectorID {
        let id = VectorID(rawValue: try unpacked(bits, operation))
        guard mux.isConnected(id) else { throw Refusal.destroyed(operation, "the vector was disconnected") }
        return id
    }
}

extension irqmux_device {
    init(_ id: DeviceID) { self.init(bits: packed(id.rawValue)) }

    func id(of mux: borrowing Mux, _ operation: StaticString) throws(MuxError) -> DeviceID {
        let id = DeviceID(rawValue: try unpacked(bits, operation))
        guard mux.isAttached(id) else { throw Refusal.destroyed(operation, "the device was detached") }
        return id
    }
}

extension irqmux_source {
    init(_ id: SourceID) { self.init(bits: packed(id.rawValue)) }

    func id(_ operation: StaticString) throws(MuxError) -> SourceID {
        SourceID(rawValue: try unpacked(bits, operation))
    }
}

extension irqmux_timer {
    init(_ id: TimerID) { self.init(bits: packed(id.rawValue)) }

    func id(_ operation: StaticString) throws(MuxError) -> TimerID {
        TimerID(rawValue: try unpacked(bits, operation))
    }
}

/// A source or timer that is gone, as every handle that is gone.
func gone(_ error: MuxError, _ operation: StaticString) -> MuxError {
    error.errno == ENOENT ? Refusal.destroyed(operation, error.remedy) : error
}
