internal import EventRing
internal import InterruptModel

// What main.c calls: each function drives one room through its public API, in Embedded Swift, and answers with a number
// that main.c knows beforehand.

/// Signals a new eventfd `times` times by `count` and takes the sum; the negative errno when something fails.
@c(irqmux_probe_eventfd)
public func probeEventFD(times: Int32, count: UInt64) -> Int64 {
    do throws(RingError) {
        let eventfd = try EventFD()
        for _ in 0..<times { try eventfd.signal(count) }
        return Int64(try eventfd.take())
    } catch {
        return Int64(-error.errno)
    }
}

/// Signals a number that is no open file; answers with the errno of the typed error.
@c(irqmux_probe_error)
public func probeError(number: Int32) -> Int32 {
    let eventfd = EventFD(owning: number)
    do throws(RingError) {
        try eventfd.signal()
        return 0
    } catch {
        return error.errno
    }
}

/// Records 1…`count` in one histogram, merges it into another, and answers with a percentile of the sum.
@c(irqmux_probe_percentile)
public func probePercentile(percent: Double, count: UInt64) -> UInt64 {
    guard count > 0 else { return 0 }
    let recorded = Histogram()
    for value in 1...count { recorded.record(value) }
    let merged = Histogram()
    merged.merge(recorded)
    return merged.snapshot().percentile(percent)
}

/// Asks a device of the given MSI-X size, through the generic protocol, to assign `count` vectors from `start`.
/// Answers with the device's return value, or the negative errno.
@c(irqmux_probe_request)
public func probeRequest(size: UInt32, start: UInt32, count: UInt32) -> Int64 {
    let request = IRQRequest(.msix, .trigger, start: start, .eventfd([Int32](repeating: -1, count: Int(count))))
    return carryOut(request, on: ProbeDevice(size: size))
}

private func carryOut<Device: InterruptDevice & ~Copyable>(_ request: IRQRequest, on device: borrowing Device) -> Int64
{
    do throws(DeviceError) {
        guard try device.interruptInfo(request.index).eventfd else { return -1 }
        return Int64(try device.setInterrupts(request))
    } catch {
        return Int64(-error.errno)
    }
}

/// The smallest device: MSI-X only, which refuses a range that it does not have.
private struct ProbeDevice: InterruptDevice, ~Copyable {
    private static let invalid: Int32 = 22
    let size: UInt32

    func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo {
        guard index == .msix else { throw DeviceError("GET_IRQ_INFO", errno: Self.invalid) }
        return IRQInfo(count: size, eventfd: true)
    }

    func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        guard case .eventfd(let numbers) = request.data, UInt64(request.start) + UInt64(numbers.count) <= size else {
            throw DeviceError("SET_IRQS", errno: Self.invalid)
        }
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
