internal import EventRing
internal import IRQMux
internal import InterruptModel

/// Connects `vectors` vectors of a device to a mux, raises each, masks and raises the first once more, unmasks it, and
/// takes what comes. Answers with the number of events: one a vector and one more; or the negative errno.
@c(irqmux_probe_mux)
public func probeMux(vectors: UInt32) -> Int64 {
    do throws(MuxError) { return Int64(try exerciseMux(vectors)) } catch { return Int64(-error.errno) }
}

private func exerciseMux(_ vectors: UInt32) throws(MuxError) -> UInt32 {
    let board = SignalBoard(size: vectors)
    var mux = try Mux()
    let device = try mux.attach(board)
    let ids = try mux.connect(device, .msix, 0..<vectors)
    for number in 0..<vectors { board.raise(number) }
    var events = try takeAll(&mux)
    try mux.mask(ids[0])
    board.raise(0)
    events += try takeAll(&mux)
    try mux.unmask(ids[0])
    events += try takeAll(&mux)
    let ledger = try mux.ledger(device)
    return ledger.unexplained == 0 && ledger.pending == 0 ? events : 0
}

private func takeAll(_ mux: inout Mux) throws(MuxError) -> UInt32 {
    var events: UInt32 = 0
    for _ in 0..<4 {
        try mux.wait(timeout: 0)
        while mux.next() != nil { events += 1 }
    }
    return events
}

/// A device whose vectors are raised by writing the eventfds that it was assigned.
private final class SignalBoard: InterruptDevice {
    private static let invalid: Int32 = 22
    private let size: UInt32
    private var eventfds: [Int32]

    init(size: UInt32) {
        self.size = size
        eventfds = [Int32](repeating: -1, count: Int(size))
    }

    func raise(_ number: UInt32) {
        let eventfd = EventFD(owning: eventfds[Int(number)])
        do throws(RingError) { try eventfd.signal() } catch {}
        _ = eventfd.release()
    }

    func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo {
        guard index == .msix else { throw DeviceError("GET_IRQ_INFO", errno: Self.invalid) }
        return IRQInfo(count: size, eventfd: true)
    }

    func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        guard case .eventfd(let numbers) = request.data else { return 0 }
        for offset in 0..<numbers.count { eventfds[Int(request.start) + offset] = numbers[offset] }
        return 0
    }

    func reset() throws(DeviceError) {}

    func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 {
        throw DeviceError("read of a region", errno: Self.invalid)
    }

    func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {
        throw DeviceError("write of a region", errno: Self.invalid)
    }

    func raisedCount(_ vector: Vector) -> UInt64? { nil }
}
