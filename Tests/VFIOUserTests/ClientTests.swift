import CKernel
import EventRing
import Foundation
import Glibc
import IRQMux
import InterruptModel
import Synchronization
import TestSupport
import Testing

@testable import VFIOUser

/// The client against a server in a process of its own.
@Suite("vfio-user client", .serialized, .timeLimit(.minutes(5)))
struct ClientTests {
    private func client(_ peer: PeerProcess, _ change: (inout ClientOptions) -> Void = { _ in }) throws
        -> VFIOUserClient
    {
        var options = ClientOptions()
        change(&options)
        return try VFIOUserClient.connecting(to: peer.path, options: options)
    }

    @Test("what the server says of the device arrives as it was said")
    func description() throws {
        let peer = try PeerProcess(vectors: 2048)
        let device = try VFIOUserDevice(path: peer.path)
        #expect(device.device == DeviceInfo(flags: 3, regions: 9, interruptIndexes: 5))
        #expect(
            try device.interruptInfo(.intx) == IRQInfo(count: 1, eventfd: true, maskable: true, automasked: true))
        #expect(try device.interruptInfo(.msi) == IRQInfo(count: 32, eventfd: true))
        #expect(try device.interruptInfo(.msix) == IRQInfo(count: 2048, eventfd: true, maskable: true))
        #expect(try device.readRegion(0, offset: 0x102, count: 4) == 0x0504_0302)
        #expect(throws: DeviceError("REGION_READ", errno: EINVAL)) { try device.readRegion(0, offset: 4096, count: 1) }
        #expect(throws: DeviceError("REGION_READ", errno: EINVAL)) { try device.readRegion(0, offset: 0, count: 3) }
        #expect(throws: DeviceError("REGION_READ", errno: EINVAL)) { try device.readRegion(3, offset: 0, count: 1) }
    }

    @Test("2048 vectors are assigned under any limit of descriptors a message, and each signals its own eventfd")
    func manyVectors() throws {
        try makeRoom(16384)
        let peer = try PeerProcess(vectors: 2048)
        var client = try client(peer)
        let eventFDs = try Signals(2048)
        for limit in [1, 8, 16] as [UInt32] {
            client.server.maxMessageFDs = limit
            try client.setInterrupts(IRQRequest(.msix, .trigger, .eventfd(eventFDs.numbers)))
            try client.write(region: 0, offset: 12, [1])
            for place in 0..<2048 { #expect(try eventFDs.take(place) == 1) }
            try client.setInterrupts(IRQRequest(.msix, .trigger, .none(count: 0)))
        }
    }

    @Test("holes in a request take assignments away, and nothing else")
    func holes() throws {
        let peer = try PeerProcess(vectors: 64)
        var client = try client(peer)
        client.server.maxMessageFDs = 3
        let eventFDs = try Signals(64)
        try client.setInterrupts(IRQRequest(.msix, .trigger, .eventfd(eventFDs.numbers)))
        var numbers = Array(eventFDs.numbers[8..<40])
        for place in stride(from: 0, to: 32, by: 3) { numbers[place] = -1 }
        try client.setInterrupts(IRQRequest(.msix, .trigger, start: 8, .eventfd(numbers)))
        try client.write(region: 0, offset: 12, [1])
        for place in 0..<64 {
            let isHole = (8..<40).contains(place) && (place - 8) % 3 == 0
            #expect(try eventFDs.take(place) == (isHole ? 0 : 1), "\(place)")
        }
    }

    @Test("when a later message fails, the vectors have again what they had")
    func rollback() throws {
        let peer = try PeerProcess(vectors: 64)
        var client = try client(peer)
        client.server.maxMessageFDs = 4
        let old = try Signals(64)
        let new = try Signals(64)
        let file = try makeMemory(1)
        defer { close(file) }
        // Nothing was enabled before: nothing is afterwards.
        var numbers = new.numbers
        numbers[17] = file
        #expect(throws: VFIOUserError("SET_IRQS", .refused, errno: EINVAL)) {
            try client.setInterrupts(IRQRequest(.msix, .trigger, .eventfd(numbers)))
        }
        try client.setInterrupts(IRQRequest(.msi, .trigger, .eventfd(Array(old.numbers.prefix(32)))))
        try client.setInterrupts(IRQRequest(.msi, .trigger, .none(count: 0)))
        // Something was: it is again.
        try client.setInterrupts(IRQRequest(.msix, .trigger, .eventfd(old.numbers)))
        #expect(throws: VFIOUserError("SET_IRQS", .refused, errno: EINVAL)) {
            try client.setInterrupts(IRQRequest(.msix, .trigger, .eventfd(numbers)))
        }
        try client.write(region: 0, offset: 12, [1])
        for place in 0..<64 {
            #expect(try old.take(place) == 1, "\(place)")
            #expect(try new.take(place) == 0, "\(place)")
        }
    }

    @Test("a request that names a closed descriptor is refused before anything is sent")
    func closedDescriptor() throws {
        let peer = try PeerProcess(vectors: 4)
        var client = try client(peer)
        #expect(throws: VFIOUserError("SET_IRQS", .system, errno: EBADF)) {
            try client.setInterrupts(IRQRequest(.msix, .trigger, .eventfd([99_999])))
        }
        try client.reset()
    }

    @Test(
        "memory is read and written by the device, shared or asked for, on a socket of its own or not",
        arguments: [(true, true), (true, false), (false, true), (false, false)])
    func memory(isShared: Bool, hasTwin: Bool) throws {
        let peer = try PeerProcess(vectors: 4)
        var client = try client(peer) { $0.offersTwinSocket = hasTwin }
        let twin = client.twin != nil
        #expect(twin == hasTwin)
        let memory = try makeMemory(4)
        defer { close(memory) }
        let bytes: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]
        // SAFETY: the array lives for the call.
        try #require(unsafe pwrite(memory, bytes, 8, 4096 + 16) == 8)
        try client.mapMemory(
            DMAMapMessage(address: 0x10_0000, length: 8192, fileOffset: 4096), descriptor: memory, isShared: isShared)
        #expect(throws: VFIOUserError("DMA_MAP", .system, errno: EINVAL)) {
            try client.mapMemory(DMAMapMessage(address: 0x10_0000, length: 16384), descriptor: memory)
        }
        var address: [UInt8] = []
        address.append(u64: 0x10_0010)
        try client.write(region: 0, offset: 24, address)
        try client.write(region: 0, offset: 16, [1])
        var seen = [UInt8](repeating: 0, count: 8)
        // SAFETY: as above.
        try #require(unsafe pread(memory, &seen, 8, 4096 + 16) == 8)
        #expect(seen == bytes.map { $0 ^ 0xff })
        try client.unmapMemory(address: 0x10_0000, length: 8192)
        #expect(throws: VFIOUserError("REGION_WRITE", .refused, errno: EFAULT)) {
            try client.write(region: 0, offset: 16, [1])
        }
        #expect(throws: VFIOUserError("DMA_UNMAP", .system, errno: ENOENT)) {
            try client.unmapMemory(address: 0x10_0000, length: 8192)
        }
    }

    @Test("memory whose file its owner cut short is an error for the device, and the end of nobody")
    func cutShort() throws {
        let peer = try PeerProcess(vectors: 4)
        var client = try client(peer)
        let memory = try makeMemory(2)
        defer { close(memory) }
        try client.mapMemory(DMAMapMessage(address: 0, length: 8192), descriptor: memory)
        try #require(ftruncate(memory, 0) == 0)
        #expect(throws: VFIOUserError("REGION_WRITE", .refused, errno: EFAULT)) {
            try client.write(region: 0, offset: 16, [1])
        }
        try client.reset()
    }

    @Test("regions with a file are mapped where that is safe; doorbells come with their eventfds")
    func regions() throws {
        let local = try LocalServer()
        var client = try VFIOUserClient.connecting(to: local.path)
        let plain = try client.region(0)
        let plainFacts = (plain.info.size, plain.hasMemory)
        #expect(plainFacts == (4096, false))
        let region = try client.region(1)
        let areas = region.info.areas
        #expect(areas == [RegionLayout.Area(offset: 4096, length: 4096)])
        let covered = [region.covers(4096, 4096), region.covers(4095, 2), region.covers(8192, 1)]
        #expect(covered == [true, false, false])
        let mapping = try region.map(offset: 4096, length: 4096)
        mapping[8] = 0x1234_5678
        let seen = try region.peek(4096 + 8, count: 4)
        #expect(seen == [0x78, 0x56, 0x34, 0x12])
        try region.poke(4096 + 12, [1, 0, 0, 0])
        let stored = mapping[12]
        #expect(stored == 1)
        #expect(throws: VFIOUserError("mapping a region", .system, errno: EINVAL)) {
            _ = try region.map(offset: 0, length: 4096)
        }
        let bells = try client.doorbells(region: 0)
        let entries = bells.entries
        #expect(entries.count == 2 && entries[1].dataMatch == 7 && entries[1].flags == 1)
        let number = bells.descriptor(of: entries[0])
        #expect(irqmux_eventfd_signal(number, 1) == 0)
        #expect(try local.device.bell.take() == 1)
        let none = try client.doorbells(region: 1).entries
        #expect(none.isEmpty)
        #expect(throws: VFIOUserError("GET_REGION_INFO", .refused, errno: EINVAL)) { _ = try client.region(9) }
    }

    @Test("writes that are asked for in one message are carried out in order")
    func writeMultiple() throws {
        let local = try LocalServer()
        let raw = try RawClient(path: local.path)
        var capabilities = Capabilities.forTests
        capabilities.writesMultiple = true
        try raw.negotiate(capabilities)
        var body: [UInt8] = []
        body.append(u64: 3)
        for (offset, region) in [(0x20, 0), (0x30, 0), (0, 9)] as [(UInt64, UInt32)] {
            body.append(u64: offset)
            body.append(u32: region)
            body.append(u32: 4)
            body.append(u64: offset)
        }
        try raw.send(15, body)
        #expect(try raw.answer().body == [2, 0, 0, 0, 0, 0, 0, 0], "two were done, the third was none")
        #expect(local.device.told.withLock { $0.written.map(\.offset) } == [0x20, 0x30])
    }

    @Test("a server that dies is an error, and reconnecting to its successor restores every assignment")
    func reconnect() throws {
        let peer = try PeerProcess(vectors: 64)
        let device = try VFIOUserDevice(path: peer.path, options: ClientOptions())
        let eventFDs = try Signals(64)
        let memory = try makeMemory(2)
        defer { close(memory) }
        _ = try device.setInterrupts(IRQRequest(.msix, .trigger, .eventfd(eventFDs.numbers)))
        _ = try device.setInterrupts(IRQRequest(.msix, .trigger, start: 7, .eventfd([-1])))
        try device.withClient { (client) throws(VFIOUserError) in
            try client.mapMemory(DMAMapMessage(address: 0, length: 8192), descriptor: memory)
        }
        #expect(throws: DeviceError("REGION_WRITE", errno: ENOTCONN)) {
            try device.writeRegion(0, offset: 32, count: 1, value: 1)
        }
        #expect(peer.join() == 3 && !device.isConnected)
        #expect(throws: DeviceError("DEVICE_RESET", errno: ENOTCONN)) { try device.reset() }
        #expect(throws: VFIOUserError("connecting to the socket", .system, errno: ECONNREFUSED)) {
            try device.reconnect()
        }
        let successor = try PeerProcess.again(at: peer.path, vectors: 64)
        defer { PeerProcess.end(successor) }
        try device.reconnect()
        try device.writeRegion(0, offset: 12, count: 1, value: 1)
        for place in 0..<64 { #expect(try eventFDs.take(place) == (place == 7 ? 0 : 1), "\(place)") }
        try device.writeRegion(0, offset: 16, count: 1, value: 1)
        // Another device in its place is noticed.
        PeerProcess.end(successor)
        let other = try PeerProcess.again(at: peer.path, vectors: 32)
        defer { PeerProcess.end(other) }
        #expect(throws: VFIOUserError("reconnecting", .refused, errno: EMEDIUMTYPE)) { try device.reconnect() }
    }

    @Test("a mux routes the device's vectors like any other's, INTx with its acknowledgement among them")
    func routed() throws {
        let peer = try PeerProcess(vectors: 64)
        let device = try VFIOUserDevice(path: peer.path)
        var mux = try Mux()
        let id = try mux.attach(device)
        let vectors = try mux.connect(id, .msix, 0..<64)
        func events(_ count: Int) throws -> [UInt64] {
            var seen: [UInt64] = []
            while seen.count < count {
                try mux.wait(timeout: 5_000_000_000)
                let before = seen.count
                while let event = mux.next() { seen.append(event.tag) }
                guard seen.count > before else { break }
            }
            return seen.sorted()
        }
        try device.writeRegion(0, offset: 12, count: 1, value: 1)
        #expect(try events(64) == Array(0..<64))
        try mux.mask(vectors[3])
        try device.writeRegion(0, offset: 12, count: 1, value: 1)
        #expect(try events(63) == (0..<64).filter { $0 != 3 })
        try mux.unmask(vectors[3])
        #expect(try events(1) == [3])
        try mux.disconnectAll(id, .msix)
        _ = try mux.connect(id, .intx, 0..<1)
        for _ in 0..<10 {
            try device.writeRegion(0, offset: 4, count: 1, value: 1)
            // The look at what follows acknowledges, so the line is lowered before it.
            try mux.wait(timeout: 5_000_000_000)
            let event = mux.next()
            #expect(event?.vector == Vector(.intx, 0))
            try device.writeRegion(0, offset: 8, count: 1, value: 1)
            try mux.wait(timeout: 0)
            let more = mux.next()
            #expect(more == nil)
        }
    }
}

/// Room for `count` descriptors; loud where the system has a lower limit.
func makeRoom(_ count: Int) throws {
    var limit = rlimit()
    // SAFETY: the structure outlives the calls.
    try #require(unsafe getrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit) == 0)
    guard limit.rlim_cur < rlim_t(count) else { return }
    limit.rlim_cur = rlim_t(count)
    // SAFETY: as above.
    try #require(unsafe setrlimit(Int32(RLIMIT_NOFILE.rawValue), &limit) == 0, "RLIMIT_NOFILE must exceed \(count)")
}
