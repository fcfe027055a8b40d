import CKernel
import EventRing
import Glibc
import InterruptModel
import VFIO

/// The Exerciser as a driver of this machine sees it. Offsets are those of docs/exerciser.md, written down a second
/// time on purpose: nothing of the device's code is in here.
struct Driver: ~Copyable {
    enum Register: UInt64 {
        case magic = 0x000, version = 0x004, features = 0x008, vectors = 0x00c, index = 0x010, number = 0x014
        case width = 0x018, pattern = 0x01c, count = 0x020, raise = 0x024, interval = 0x028, go = 0x038, status = 0x040
        case signalled = 0x060, sequence = 0x080, assert = 0x090, acknowledge = 0x094, lineStatus = 0x098
        case error = 0x09c, raised = 0x0a0, stampAddress = 0x0a8, stampControl = 0x0b0, stamped = 0x0b8
    }
    static let doorbells: UInt32 = 2
    static let table: UInt32 = 4

    let device: VFIODevice
    init(_ device: consuming VFIODevice) { self.device = device }

    /// vfio-pci clears bus mastering when it opens a device, and without it no message leaves.
    borrowing func enable() throws {
        try device.setCommand(try device.command() | 0x6)
    }

    borrowing func read(_ register: Register) throws -> UInt32 {
        UInt32(try device.readRegion(0, offset: register.rawValue, count: 4))
    }

    borrowing func readWide(_ register: Register) throws -> UInt64 {
        let low = try device.readRegion(0, offset: register.rawValue, count: 4)
        return low | (try device.readRegion(0, offset: register.rawValue + 4, count: 4)) << 32
    }

    borrowing func write(_ register: Register, _ value: UInt32) throws {
        try device.writeRegion(0, offset: register.rawValue, count: 4, value: UInt64(value))
        try requireEqual(try read(.error), 0, "ERROR after writing \(value) to \(register)")
    }

    borrowing func ring(_ offset: UInt64) throws {
        try device.writeRegion(Self.doorbells, offset: offset, count: 4, value: 1)
    }

    /// How often the device signalled the vector by its own count.
    borrowing func signalled(_ vector: Vector) throws -> UInt64 {
        try write(.index, vector.index.rawValue)
        try write(.number, vector.number)
        return try readWide(.signalled)
    }

    borrowing func assign(_ index: IRQIndex, start: UInt32 = 0, _ numbers: [Int32]) throws {
        let result = try device.setInterrupts(IRQRequest(index, .trigger, start: start, .eventfd(numbers)))
        try requireEqual(result, 0, "result of SET_IRQS")
    }

    borrowing func count(_ index: IRQIndex) throws -> UInt32 { try device.interruptInfo(index).count }
}

/// Eventfds, closed with their owner.
final class Signals {
    private final class Owner {
        let eventFD: EventFD
        init() throws { eventFD = try EventFD() }
    }
    private let owners: [Owner]

    init(_ count: UInt32) throws { owners = try (0..<count).map { _ in try Owner() } }

    var numbers: [Int32] { owners.map { $0.eventFD.number } }

    func take(_ position: Int) throws -> UInt64 { try owners[position].eventFD.take() }

    /// Waits for a signal; how many there were. The machine is emulated and shared, so five seconds are patience.
    func wait(_ position: Int) throws -> UInt64 {
        for _ in 0..<5000 {
            let count = try take(position)
            if count > 0 { return count }
            usleep(1000)
        }
        throw Wrong("no signal of vector \(position) within 5 s")
    }

    /// Says when something was signalled that should not have been; gives it time to.
    func requireQuiet(_ positions: Range<Int>, _ why: String) throws {
        usleep(20_000)
        for position in positions {
            let count = try take(position)
            try require(count == 0, "vector \(position) was told \(count) times: \(why)")
        }
    }
}
