import IRQMux
import InterruptModel
import VFIOUser

/// A driver of the port as a VMM or another program would be one: over the socket, by interrupts.
final class Driver {
    private let port: VFIOUserDevice
    private var mux: Mux
    private let id: DeviceID
    private(set) var interrupts = 0
    private(set) var received: [UInt8] = []

    init(path: String) throws {
        port = try VFIOUserDevice(path: path)
        var mux = try Mux()
        id = try mux.attach(port)
        try mux.connect(id, .intx, 0..<1)
        self.mux = mux
    }

    private func read(_ register: UInt64) throws -> UInt8 {
        UInt8(truncatingIfNeeded: try port.readRegion(0, offset: register, count: 1))
    }

    private func write(_ register: UInt64, _ value: UInt8) throws {
        try port.writeRegion(0, offset: register, count: 1, value: UInt64(value))
    }

    /// Sends `bytes` around the loop and takes them back; false when they do not come within five seconds.
    func exchange(_ bytes: [UInt8]) throws -> Bool {
        try write(4, 0x10)  // MCR: loop
        try write(2, 0x07)  // FCR: FIFOs on and empty
        try write(1, 0x03)  // IER: data available, transmitter empty
        var next = 0
        while received.count < bytes.count {
            try mux.wait(timeout: 5_000_000_000)
            guard mux.next() != nil else { return false }
            interrupts += 1
            try serve(bytes, &next)
        }
        try write(1, 0)
        return received == bytes
    }

    /// Serves the most urgent cause. While there is another the line stays high, and the mux's next look, which unmasks
    /// it, brings the next interrupt.
    private func serve(_ bytes: [UInt8], _ next: inout Int) throws {
        switch try read(2) & 0x0f {
        case 0x04: while try read(5) & 1 != 0 { received.append(try read(0)) }
        case 0x02:
            for byte in bytes[next...].prefix(16) { try write(0, byte) }
            next = min(next + 16, bytes.count)
        case 0x06: _ = try read(5)
        default: break
        }
    }

    func ledger() throws -> Ledger { try mux.ledger(id) }
}
