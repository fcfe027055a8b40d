import CKernel
import Exerciser
import InterruptModel
import Testing

@Suite("The doorbells of BAR 2")
struct DoorbellTests {
    @Test("each doorbell raises its own vector, whatever is written")
    func each() throws {
        for (index, offset, count) in [(.msix, 0, 64), (.msi, 0x2000, 32), (.intx, 0x2080, 1)]
            as [(IRQIndex, UInt64, Int)]
        {
            let device = try Exerciser()
            let events = try EventFDs(count)
            try device.assign(index, events.numbers)
            for number in 0..<UInt64(count) {
                try device.writeRegion(2, offset: offset + number * 4, count: 4, value: number)
            }
            #expect(try events.takeAll() == Array(repeating: 1, count: count))
        }
    }

    @Test("doorbells read as 0; parts of one, and places without one, do nothing")
    func elsewhere() throws {
        let device = try Exerciser()
        let events = try EventFDs(2)
        try device.assign(.msix, events.numbers)
        for (offset, count) in [(0, 1), (0, 2), (1, 4), (2, 8), (64 * 4, 4), (0x1ffc, 4), (0x2084, 4), (0x3ffc, 4)]
            as [(UInt64, Int)]
        {
            try device.writeRegion(2, offset: offset, count: count, value: .max)
        }
        #expect(try events.takeAll() == [0, 0])
        try device.writeRegion(2, offset: 0, count: 8, value: 0)
        #expect(try events.takeAll() == [1, 1])
        #expect(try device.readRegion(2, offset: 0, count: 8) == 0)
    }
}
