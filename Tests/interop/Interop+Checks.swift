import CKernel
import EventRing
import Glibc
import InterruptModel
import VFIO

extension Interop {
    static func identity(_ driver: borrowing Driver) throws {
        try requireEqual(try driver.device.readRegion(7, offset: 0, count: 4), 0x4951_1234, "vendor and device")
        try requireEqual(try driver.read(.magic), 0x5851_5249, "MAGIC")
        try requireEqual(driver.device.regions[2].size, 0x4000, "size of BAR 2")
        for index in [IRQIndex.msi, .msix] {
            try driver.write(.index, index.rawValue)
            try requireEqual(try driver.read(.vectors), try driver.count(index), "\(index) vectors, device and kernel")
        }
    }

    static func messages(_ driver: borrowing Driver) throws {
        try ringEach(driver, .msix, count: try driver.count(.msix), at: 0)
    }

    static func fewMessages(_ driver: borrowing Driver) throws {
        try ringEach(driver, .msi, count: min(16, try driver.count(.msi)), at: 0x2000)
    }

    private static func ringEach(
        _ driver: borrowing Driver, _ index: IRQIndex, count: UInt32, at offset: UInt64
    ) throws {
        try require(count > 0, "the kernel found no \(index)")
        let signals = try Signals(count)
        var before: [UInt64] = []
        for number in 0..<count { before.append(try driver.signalled(Vector(index, number))) }
        try driver.assign(index, signals.numbers)
        for number in 0..<count {
            try driver.ring(offset + UInt64(number) * 4)
            try requireEqual(try signals.wait(Int(number)), 1, "signals of \(index) \(number)")
        }
        try signals.requireQuiet(0..<Int(count), "its doorbell was rung once")
        for number in 0..<count {
            let now = try driver.signalled(Vector(index, number))
            try requireEqual(now, before[Int(number)] + 1, "the device's count of \(index) \(number)")
        }
    }

    static func plan(_ driver: borrowing Driver) throws {
        let count = min(16, try driver.count(.msix))
        let signals = try Signals(count)
        try driver.assign(.msix, signals.numbers)
        var before: [UInt64] = []
        for number in 0..<count { before.append(try driver.signalled(Vector(.msix, number))) }
        try driver.write(.index, IRQIndex.msix.rawValue)
        try driver.write(.number, 0)
        try driver.write(.width, count)
        try driver.write(.pattern, 1)
        try driver.write(.count, count * 20)
        try driver.write(.interval, 200_000)
        try driver.write(.go, 1)
        for _ in 0..<5000 where try driver.read(.status) & 1 == 1 { usleep(1000) }
        for number in 0..<count {
            // Between device and driver signals may run together, but none may be lost and none invented.
            var told = try signals.wait(Int(number))
            usleep(1000)
            told += try signals.take(Int(number))
            try require(told <= 20, "vector \(number) was told \(told) times, raised 20 times")
            let now = try driver.signalled(Vector(.msix, number))
            try requireEqual(now, before[Int(number)] + 20, "the device's count of vector \(number)")
        }
    }

    static func pending(_ driver: borrowing Driver) throws {
        let signals = try Signals(2)
        try driver.assign(.msix, [signals.numbers[0], -1])
        for _ in 0..<3 { try driver.ring(4) }
        let bits = try driver.device.readRegion(Driver.table, offset: 0x8000, count: 4)
        try requireEqual(bits, 0b10, "pending bits")
        try driver.assign(.msix, start: 1, [signals.numbers[1]])
        try requireEqual(try signals.wait(1), 1, "signals of the pending vector")
        try requireEqual(try driver.device.readRegion(Driver.table, offset: 0x8000, count: 4), 0, "pending bits")
        try signals.requireQuiet(0..<2, "what was pending has fired")
    }

    static func line(_ driver: borrowing Driver) throws {
        let signals = try Signals(1)
        try driver.assign(.intx, signals.numbers)
        let unmask = IRQRequest(.intx, .unmask, .none(count: 1))
        for _ in 0..<20 {
            try driver.write(.assert, 1)
            try requireEqual(try signals.wait(0), 1, "signals of an asserted line")
            try signals.requireQuiet(0..<1, "INTx is masked")
            // Still asserted: unmasking tells again.
            _ = try driver.device.setInterrupts(unmask)
            try requireEqual(try signals.wait(0), 1, "signals of a line that is unmasked while asserted")
            try driver.write(.acknowledge, 1)
            _ = try driver.device.setInterrupts(unmask)
            try signals.requireQuiet(0..<1, "the line was acknowledged")
        }
    }

    static func disINTx(_ driver: borrowing Driver) throws {
        let signals = try Signals(1)
        try driver.assign(.intx, signals.numbers)
        let command = try driver.device.command()
        try driver.device.setCommand(command | 0x400)
        try driver.write(.assert, 1)
        try signals.requireQuiet(0..<1, "DisINTx is set")
        try require(try driver.device.readRegion(7, offset: 6, count: 2) & 8 != 0, "interrupt status is not shown")
        try driver.device.setCommand(command)
        _ = try signals.wait(0)
        try driver.write(.acknowledge, 1)
        try requireEqual(try driver.device.readRegion(7, offset: 6, count: 2) & 8, 0, "interrupt status")
    }

    static func stamps(_ driver: borrowing Driver) throws {
        let page = 4096
        // SAFETY: an anonymous mapping of its own, checked below.
        let mapped = unsafe mmap(nil, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        // SAFETY: MAP_FAILED is the one result that is not a mapping.
        guard let memory = unsafe mapped, unsafe memory != MAP_FAILED else { throw Wrong("mmap failed") }
        // SAFETY: the mapping is one page; the device's way to it is taken away before.
        defer { unsafe munmap(memory, page) }
        let address: UInt64 = 0x10_0000
        // SAFETY: the page outlives the mapping for the device, which ends with unmapDMA.
        try unsafe driver.device.mapDMA(memory, iova: address, size: UInt64(page))
        defer { _ = try? driver.device.unmapDMA(iova: address, size: UInt64(page)) }
        let signals = try Signals(4)
        try driver.assign(.msix, signals.numbers)
        try driver.write(.stampAddress, UInt32(address))
        try driver.write(.stampControl, 1)
        for number in 0..<4 {
            try driver.ring(UInt64(number) * 4)
            _ = try signals.wait(number)
            let sequence = try driver.signalled(Vector(.msix, UInt32(number)))
            // SAFETY: four records of 16 bytes lie within the page.
            let (told, time) = unsafe (
                memory.load(fromByteOffset: number * 16, as: UInt64.self),
                memory.load(fromByteOffset: number * 16 + 8, as: UInt64.self)
            )
            try requireEqual(told, sequence, "sequence number in the record of vector \(number)")
            try require(time > 0, "the record of vector \(number) has no time")
        }
        try requireEqual(try driver.readWide(.stamped), 4, "records that the device wrote")
        try driver.write(.stampControl, 0)
    }

    static func reset(_ driver: borrowing Driver) throws {
        try driver.write(.count, 77)
        try driver.device.reset()
        try driver.enable()
        try requireEqual(try driver.read(.count), 1, "COUNT after a reset")
        let signals = try Signals(1)
        try driver.assign(.msix, signals.numbers)
        try driver.ring(0)
        try requireEqual(try signals.wait(0), 1, "signals after a reset")
    }
}
