import CKernel
import Exerciser
import InterruptModel
import Synchronization
import Testing

@Suite("Stamps in the guest's memory")
struct StampTests {
    /// Memory of a guest: what was written where. Addresses from `limit` on are nobody's.
    final class Memory: Sendable {
        let records = Mutex<[UInt64: [UInt64]]>([:])
        let limit: UInt64
        init(limit: UInt64 = .max) { self.limit = limit }

        func write(_ address: UInt64, _ sequence: UInt64, _ time: UInt64) -> Bool {
            guard address < limit else { return false }
            records.withLock { $0[address] = [sequence, time] }
            return true
        }
        subscript(_ address: UInt64) -> [UInt64]? { records.withLock { $0[address] } }
        var count: Int { records.withLock { $0.count } }
    }

    static func ready(_ memory: Memory, at address: UInt64 = 0x1_0000_2000) throws -> (Exerciser, EventFDs) {
        let device = try Exerciser()
        let events = try EventFDs(4)
        try device.assign(.msix, events.numbers)
        device.setMemory { memory.write($0, $1, $2) }
        try device.register(0xa8, UInt32(truncatingIfNeeded: address))
        try device.register(0xac, UInt32(address >> 32))
        try device.register(0xb0, 1)
        return (device, events)
    }

    @Test("each signal's sequence number and time are written where its vector's record stands")
    func records() throws {
        let memory = Memory()
        let (device, events) = try Self.ready(memory)
        for number in 0..<4 as Range<UInt32> {
            for _ in 0...number { device.raise(Vector(.msix, number)) }
            let last = device.lastRaise(Vector(.msix, number))
            #expect(memory[0x1_0000_2000 + 16 * UInt64(number)] == [last.sequence, last.intendedNs])
        }
        #expect(try events.takeAll() == [1, 2, 3, 4] && device.wideRegister(0xb8) == 10)
        #expect(try device.wideRegister(0xa8) == 0x1_0000_2000 && device.register(0xb0) == 1)
    }

    @Test("the record is there before the eventfd is written")
    func order() throws {
        let (device, events) = try Self.ready(Memory())
        let told = Mutex<[UInt64]>([])
        device.setMemory { _, _, _ in
            told.withLock { $0.append((try? events.take(0)) ?? .max) }
            return true
        }
        device.raise(Vector(.msix, 0))
        #expect(told.withLock { $0 } == [0])
        #expect(try events.take(0) == 1)
    }

    @Test("nothing is written unless a driver asked, and not after it has stopped asking, by reset too")
    func asked() throws {
        let memory = Memory()
        let (device, _) = try Self.ready(memory)
        try device.register(0xb0, 0)
        device.raise(Vector(.msix, 0))
        try device.register(0xb0, 1)
        try device.reset()
        device.raise(Vector(.msix, 0))
        #expect(try memory.count == 0 && device.register(0xb0) == 0 && device.wideRegister(0xa8) == 0)
        try device.register(0xb0, 2)
        #expect(try device.register(0x9c) == UInt32(EINVAL) && device.register(0xb0) == 0)
    }

    @Test("a stamp that cannot be written is counted and delays no interrupt")
    func failures() throws {
        let (device, events) = try Self.ready(Memory(limit: 0x1_0000_2010))
        device.raise(Vector(.msix, 0))
        device.raise(Vector(.msix, 1))
        #expect(try device.wideRegister(0xb8) == 1 && device.wideRegister(0xc0) == 1)
        device.setMemory(nil)
        device.raise(Vector(.msix, 0))
        #expect(try device.wideRegister(0xc0) == 2)
        // The address of the last record does not wrap round to the first bytes of memory.
        try device.register(0xa8, 0xffff_fff0)
        try device.register(0xac, 0xffff_ffff)
        device.setMemory { _, _, _ in true }
        device.raise(Vector(.msix, 1))
        #expect(try device.wideRegister(0xc0) == 3 && events.takeAll() == [2, 2, 0, 0])
    }

    @Test("a function that is no bus master writes nothing, not even for INTx")
    func busMaster() throws {
        let memory = Memory()
        let device = try Exerciser()
        let events = try EventFDs(1)
        try device.assign(.intx, events.numbers)
        device.setMemory { memory.write($0, $1, $2) }
        try device.register(0xb0, 1)
        try device.command(clear: 4)
        device.assertINTx()
        #expect(try events.take(0) == 1 && memory.count == 0 && device.wideRegister(0xc0) == 1)
    }
}
