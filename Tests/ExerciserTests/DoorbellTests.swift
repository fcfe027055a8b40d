import CKernel
import Exerciser
import Foundation
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

    @Test("each doorbell has an eventfd of its own that does the same as a write")
    func eventFDs() throws {
        let device = try Exerciser(ExerciserConfiguration(intx: 1, msi: 2, msix: 3))
        let bells = try device.regionEventFDs(2)
        #expect(bells.map(\.offset) == [0, 4, 8, 0x2000, 0x2004, 0x2080])
        #expect(bells.allSatisfy { $0.region == 2 && $0.size == 4 } && Set(bells.map(\.descriptor)).count == 6)
        #expect(try device.regionEventFDs(2) == bells)
        for region in [0, 4, 7, 9] as [UInt32] { #expect(try device.regionEventFDs(region).isEmpty) }
        for index in [IRQIndex.msix, .msi, .intx] {
            let mine = bells.filter { $0.vector.index == index }
            let events = try EventFDs(mine.count)
            try device.assign(index, events.numbers)
            for (position, bell) in mine.enumerated() {
                #expect(irqmux_eventfd_signal(bell.descriptor, 1) == 0)
                try eventually("doorbell of \(bell.vector) is heard") { try events.take(position) == 1 }
            }
            _ = try device.setInterrupts(IRQRequest(index, .trigger, .none(count: 0)))
        }
    }

    @Test("what is rung before the device looks is one raise, and the rest of it is merged: none is unexplained")
    func coalescing() throws {
        let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: 1))
        let events = try EventFDs(1)
        try device.assign(.msix, events.numbers)
        let bell = try #require(try device.regionEventFDs(2).first).descriptor
        for _ in 0..<1000 as Range<Int> { #expect(irqmux_eventfd_signal(bell, 3) == 0) }
        let vector = Vector(.msix, 0)
        eventually("every ring is counted") { device.ledger(vector).raised == 3000 }
        let ledger = device.ledger(vector)
        #expect(ledger.unexplained == 0 && ledger.delivered >= 1 && ledger.delivered + ledger.coalesced == 3000)
        #expect(try events.takeAll() == [ledger.delivered])
    }

    @Test("a counter filled to the brim by whoever holds the doorbell does no harm")
    func full() throws {
        let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: 1))
        let events = try EventFDs(1)
        try device.assign(.msix, events.numbers)
        let bell = try #require(try device.regionEventFDs(2).first).descriptor
        #expect(irqmux_eventfd_signal(bell, .max - 1) == 0)
        try eventually("it is heard") { try events.take(0) == 1 }
        #expect(device.ledger(Vector(.msix, 0)).unexplained == 0)
    }

    @Test("hundreds of doorbells are made, and closed with the device")
    func many() throws {
        let before = openDescriptors()
        try {
            let device = try Exerciser(ExerciserConfiguration(intx: 0, msi: 0, msix: 400))
            #expect(try device.regionEventFDs(2).count == 400)
        }()
        // Other tests open and close some at the same time, but not hundreds.
        eventually("they are closed") { openDescriptors() < before + 300 }
    }

    private func openDescriptors() -> Int {
        (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd"))?.count ?? 0
    }
}
