import InterruptModel
import Synchronization
import VFIOUser

/// A 16550A serial port as a device in user space: eight registers in BAR 0, one INTx pin, and what is sent comes back
/// while the loop bit of MCR is set. The user-space sister of the kernel's mtty sample, whose numbers it has.
///
/// Source: the PC16550D data sheet; Linux samples/vfio-mdev/mtty.c for vendor and device.
final class SerialPort: MediatedDevice {
    private enum Register: UInt64 {
        case data = 0
        case interruptEnable, interruptIdentity, lineControl, modemControl, lineStatus, modemStatus, scratch
    }

    private struct State {
        var received: [UInt8] = []
        var divisor: (low: UInt8, high: UInt8) = (1, 0)
        var interruptEnable: UInt8 = 0
        var lineControl: UInt8 = 0
        var modemControl: UInt8 = 0
        var scratch: UInt8 = 0
        /// The transmitter has become empty, and nobody has been told.
        var isEmptyUntold = false
        var hasOverrun = false
        /// Bytes that left the port while it was not looped back.
        var sent: [UInt8] = []

        var isLooped: Bool { modemControl & 0x10 != 0 }
        var showsDivisor: Bool { lineControl & 0x80 != 0 }
    }

    private static let fifo = 16

    private let state = Mutex(State())
    let lines: InterruptLines?

    init() {
        lines = InterruptLines(DeviceProfile(hasINTx: true, msiVectors: 0, msixVectors: 0))
    }

    let regions: [RegionDescription] = (0..<9).map { index in
        switch index {
        case 0: RegionDescription(size: 8)
        case 7: RegionDescription(size: 256, writable: false)
        default: RegionDescription(size: 0)
        }
    }

    func read(region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> [UInt8] {
        if region == 7 { return (0..<count).map { Self.configuration(offset + UInt64($0)) } }
        let bytes = state.withLock { state in (0..<count).map { Self.read(offset + UInt64($0), &state) } }
        drive()
        return bytes
    }

    func write(region: UInt32, offset: UInt64, _ bytes: [UInt8]) throws(DeviceError) {
        state.withLock { state in
            for (place, byte) in bytes.enumerated() { Self.write(offset + UInt64(place), byte, &state) }
        }
        drive()
    }

    func reset() throws(DeviceError) {
        state.withLock { $0 = State() }
        lines?.reset()
    }

    /// What has left the port, as the far end of a cable would see it.
    var sent: [UInt8] { state.withLock { $0.sent } }

    // MARK: Registers

    private static func configuration(_ offset: UInt64) -> UInt8 {
        switch offset {
        case 0x00: 0x48  // vendor 0x4348, device 0x3253: a serial card of WCH's, as mtty says
        case 0x01: 0x43
        case 0x02: 0x53
        case 0x03: 0x32
        case 0x0a: 0x00  // class 0x0700: serial controller; interface 0x02: 16550
        case 0x09: 0x02
        case 0x0b: 0x07
        case 0x3d: 1  // INTA#
        default: 0
        }
    }

    private static func read(_ offset: UInt64, _ state: inout State) -> UInt8 {
        switch Register(rawValue: offset) {
        case .data where state.showsDivisor: return state.divisor.low
        case .data: return state.received.isEmpty ? 0 : state.received.removeFirst()
        case .interruptEnable: return state.showsDivisor ? state.divisor.high : state.interruptEnable
        case .interruptIdentity:
            let cause = cause(state)
            // Being asked is being told, for the transmitter alone.
            if cause == 0x02 { state.isEmptyUntold = false }
            return 0xc0 | cause
        case .lineControl: return state.lineControl
        case .modemControl: return state.modemControl
        case .lineStatus:
            let status: UInt8 = 0x60 | (state.received.isEmpty ? 0 : 1) | (state.hasOverrun ? 2 : 0)
            state.hasOverrun = false
            return status
        case .modemStatus: return 0xb0
        case .scratch: return state.scratch
        case nil: return 0
        }
    }

    private static func write(_ offset: UInt64, _ byte: UInt8, _ state: inout State) {
        switch Register(rawValue: offset) {
        case .data where state.showsDivisor: state.divisor.low = byte
        case .data:
            if !state.isLooped {
                state.sent.append(byte)
            } else if state.received.count < fifo {
                state.received.append(byte)
            } else {
                state.hasOverrun = true
            }
            state.isEmptyUntold = true
        case .interruptEnable where state.showsDivisor: state.divisor.high = byte
        case .interruptEnable:
            // Enabling it while the transmitter is empty is an interrupt: drivers begin to send by that.
            if byte & 2 != 0, state.interruptEnable & 2 == 0 { state.isEmptyUntold = true }
            state.interruptEnable = byte & 0x0f
        case .interruptIdentity: if byte & 2 != 0 { state.received = [] }
        case .lineControl: state.lineControl = byte
        case .modemControl: state.modemControl = byte & 0x1f
        case .scratch: state.scratch = byte
        case .lineStatus, .modemStatus, nil: break
        }
    }

    /// IIR's lower bits: the most urgent cause that is enabled, or 1 for none.
    private static func cause(_ state: State) -> UInt8 {
        if state.hasOverrun, state.interruptEnable & 4 != 0 { return 0x06 }
        if !state.received.isEmpty, state.interruptEnable & 1 != 0 { return 0x04 }
        if state.isEmptyUntold, state.interruptEnable & 2 != 0 { return 0x02 }
        return 0x01
    }

    /// Drives the pin as the registers say.
    private func drive() {
        let isHigh = state.withLock { Self.cause($0) != 0x01 }
        guard let lines else { return }
        if isHigh, !lines.isINTxHigh { lines.raise(Vector(.intx, 0)) }
        if !isHigh { lines.lowerINTx() }
    }
}
