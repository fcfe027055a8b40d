import CKernel
import EventRing
import Foundation
import Glibc
import InterruptModel
import Synchronization
import Testing

@testable import VFIOUser

@Suite("vfio-user server: interrupts", .timeLimit(.minutes(5)))
struct ServerInterruptTests {
    private let assign: UInt32 = 0x24
    private let loopback: UInt32 = 0x21

    @Test("INTx says that it is maskable and masks itself, and means it")
    func automask() throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        try client.send(7, IRQInfoMessage(index: 0).encoded)
        let info = try #require(IRQInfoMessage(decoding: try client.answer().body))
        #expect(info.flags == 7 && info.count == 1)
        let eventFD = try Signal()
        #expect(try client.ask(8, RawClient.setIRQs(assign, index: 0, count: 1), fds: [eventFD.number]) == 0)
        let lines = try #require(local.device.lines)
        lines.raise(Vector(.intx, 0))
        #expect(try eventFD.wait() == 1)
        lines.raise(Vector(.intx, 0))
        #expect(try eventFD.take() == 0, "masked since it fired")
        #expect(try client.ask(8, RawClient.setIRQs(0x11, index: 0, count: 1)) == 0)
        #expect(try eventFD.take() == 1, "unmasked with the line still high, it fires again")
        lines.lowerINTx()
        #expect(try client.ask(8, RawClient.setIRQs(0x11, index: 0, count: 1)) == 0)
        #expect(try eventFD.take() == 0)
        #expect(try client.ask(8, RawClient.setIRQs(0x09, index: 0, count: 1)) == 0)
        lines.raise(Vector(.intx, 0))
        #expect(try eventFD.take() == 0, "masked by request")
    }

    @Test("an eventfd given with UNMASK unmasks when the client writes it, as with Linux")
    func unmaskByEventFD() throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        let eventFD = try Signal()
        let unmask = try Signal()
        #expect(try client.ask(8, RawClient.setIRQs(assign, index: 0, count: 1), fds: [eventFD.number]) == 0)
        #expect(try client.ask(8, RawClient.setIRQs(0x14, index: 0, count: 1), fds: [unmask.number]) == 0)
        #expect(
            try client.ask(8, RawClient.setIRQs(0x0c, index: 0, count: 1), fds: [unmask.number]) == UInt32(ENOTTY))
        let lines = try #require(local.device.lines)
        for _ in 0..<5 {
            lines.raise(Vector(.intx, 0))
            #expect(try eventFD.wait() == 1)
            lines.lowerINTx()
            try unmask.signal()
            // Taken, it has unmasked: the server does both in one.
            try #require(try eventually { try unmask.peek() == 0 })
        }
    }

    @Test("INTx, MSI and MSI-X are separate, and one of them is enabled at a time")
    func oneMode() throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        let eventFDs = try Signals(3)
        #expect(try client.ask(8, RawClient.setIRQs(assign, index: 2, count: 1), fds: [eventFDs.numbers[0]]) == 0)
        for index in [0, 1] as [UInt32] {
            #expect(
                try client.ask(8, RawClient.setIRQs(assign, index: index, count: 1), fds: [eventFDs.numbers[1]])
                    == UInt32(EINVAL))
            #expect(try client.ask(8, RawClient.setIRQs(loopback, index: index, count: 0)) == UInt32(EINVAL))
        }
        #expect(try client.ask(8, RawClient.setIRQs(loopback, index: 2, count: 1)) == 0)
        #expect(try eventFDs.take(0) == 1, "disabling another mode left this one alone")
        #expect(try client.ask(8, RawClient.setIRQs(loopback, index: 2, count: 0)) == 0)
        #expect(try client.ask(8, RawClient.setIRQs(assign, index: 1, count: 1), fds: [eventFDs.numbers[1]]) == 0)
        for index in [3, 4] as [UInt32] {
            #expect(
                try client.ask(8, RawClient.setIRQs(assign, index: index, count: 1), fds: [eventFDs.numbers[2]]) == 0)
            #expect(try client.ask(8, RawClient.setIRQs(loopback, index: index, count: 1)) == 0)
        }
        #expect(try eventFDs.take(2) == 2, "ERR and REQ go beside any mode")
    }

    @Test("MSI and MSI-X grow message by message, as a client with few descriptors a message needs", arguments: [1, 2])
    func grows(index: UInt32) throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        let eventFDs = try Signals(32)
        for start in stride(from: 0, to: 32, by: 8) {
            #expect(
                try client.ask(
                    8, RawClient.setIRQs(assign, index: index, start: UInt32(start), count: 8),
                    fds: Array(eventFDs.numbers[start..<start + 8])) == 0)
        }
        #expect(try client.ask(8, RawClient.setIRQs(loopback, index: index, count: 32)) == 0)
        for place in 0..<32 { #expect(try eventFDs.take(place) == 1) }
        // A range is taken away, and it is the range that was meant.
        #expect(try client.ask(8, RawClient.setIRQs(assign, index: index, start: 20, count: 4)) == 0)
        #expect(try client.ask(8, RawClient.setIRQs(loopback, index: index, count: 32)) == 0)
        for place in 0..<32 { #expect(try eventFDs.take(place) == ((20..<24).contains(place) ? 0 : 1)) }
    }

    @Test("a request that contradicts itself is refused, and its descriptors are closed")
    func badRequests() throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        let eventFDs = try Signals(4)
        let fds = eventFDs.numbers
        #expect(try client.ask(13) == 0)
        let before = try openDescriptors()
        let invalid = UInt32(EINVAL)
        // Eventfds beside what takes none, and another number than is counted.
        #expect(try client.ask(13, [], fds: fds) == invalid)
        #expect(try client.ask(8, RawClient.setIRQs(loopback, index: 2, count: 4), fds: fds) == invalid)
        #expect(try client.ask(8, RawClient.setIRQs(assign, index: 2, count: 3), fds: fds) == invalid)
        #expect(try client.ask(8, RawClient.setIRQs(assign, index: 2, count: 5), fds: fds) == invalid)
        // Ranges beyond the device, and counts that wrap.
        for (start, count) in [(64, 1), (63, 2), (0, 65), (1, UInt32.max), (UInt32.max, 1), (0, UInt32.max)]
            as [(UInt32, UInt32)]
        {
            #expect(try client.ask(8, RawClient.setIRQs(assign, index: 2, start: start, count: count)) == invalid)
        }
        // Indexes, flags and payloads.
        #expect(try client.ask(8, RawClient.setIRQs(assign, index: 5, count: 1)) == invalid)
        #expect(try client.ask(8, RawClient.setIRQs(0x64, index: 2, count: 1)) == invalid)
        #expect(try client.ask(8, RawClient.setIRQs(0x26, index: 2, count: 1)) == invalid)
        #expect(try client.ask(8, RawClient.setIRQs(0x34, index: 2, count: 1)) == UInt32(ENOTTY))
        #expect(try client.ask(8, RawClient.setIRQs(0x22, index: 2, count: 8, payload: [1, 1])) == invalid)
        #expect(try client.ask(8, RawClient.setIRQs(0x0c, index: 1, count: 1), fds: [fds[0]]) == UInt32(ENOTTY))
        // A descriptor that is no eventfd.
        let file = try makeMemory(1)
        defer { close(file) }
        #expect(try client.ask(8, RawClient.setIRQs(assign, index: 2, count: 1), fds: [file]) == invalid)
        #expect(try eventually { try openDescriptors() <= before + 1 })
        #expect(local.device.lines?.activeType == nil)
        #expect(local.device.told.withLock { $0.changes.isEmpty }, "no refusal is told as a change")
    }

    @Test("a blocking eventfd whose counter is full does not hold the server up")
    func fullCounter() throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        let blocking = eventfd(0, Int32(EFD_CLOEXEC))
        defer { close(blocking) }
        #expect(try client.ask(8, RawClient.setIRQs(assign, index: 2, count: 1), fds: [blocking]) == 0)
        #expect(try client.ask(8, RawClient.setIRQs(loopback, index: 2, count: 1)) == 0)
        var count: UInt64 = 0
        // SAFETY: the variable outlives the call.
        #expect(unsafe irqmux_eventfd_take_without_waiting(blocking, &count) == 0 && count == 1)
        #expect(fcntl(blocking, F_GETFL) & O_NONBLOCK == 0, "the client's descriptor is as it was")
        #expect(irqmux_eventfd_signal(blocking, UInt64.max - 1) == 0)
        for _ in 0..<3 { #expect(try client.ask(8, RawClient.setIRQs(loopback, index: 2, count: 1)) == 0) }
        local.device.lines?.raise(Vector(.msix, 0))
        #expect(try client.ask(13) == 0)
    }

    @Test("a client that fills and empties its blocking eventfd all the time does not hold the server up")
    func fillingRace() throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        let blocking = eventfd(0, Int32(EFD_CLOEXEC))
        defer { close(blocking) }
        #expect(try client.ask(8, RawClient.setIRQs(assign, index: 2, count: 1), fds: [blocking]) == 0)
        let isDone = Flag()
        let hostile = Thread {
            var count: UInt64 = 0
            while !isDone.isSet {
                if irqmux_socket_wait(blocking, Int16(POLLOUT), 0) > 0 {
                    // Fills it; may wait itself, when the server's signal came in between.
                    var entry = pollfd(fd: blocking, events: Int16(POLLIN), revents: 0)
                    // SAFETY: one entry, alive for the call.
                    if unsafe poll(&entry, 1, 0) == 0 { _ = irqmux_eventfd_signal(blocking, UInt64.max - 1) }
                }
                // SAFETY: the variable outlives the call.
                _ = unsafe irqmux_eventfd_take_without_waiting(blocking, &count)
            }
        }
        hostile.start()
        for _ in 0..<3000 { #expect(try client.ask(8, RawClient.setIRQs(loopback, index: 2, count: 1)) == 0) }
        isDone.set()
        var count: UInt64 = 0
        usleep(20_000)
        // SAFETY: the variable outlives the call.
        _ = unsafe irqmux_eventfd_take_without_waiting(blocking, &count)
    }

    @Test("the MSI-X table's mask bit holds an interrupt in the pending bit, and lets it go once")
    func tableMask() throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        let eventFD = try Signal()
        #expect(try client.ask(8, RawClient.setIRQs(assign, index: 2, start: 3, count: 1), fds: [eventFD.number]) == 0)
        let lines = try #require(local.device.lines)
        lines.setMasked(3, true)
        #expect(lines.raise(Vector(.msix, 3)) == .pended && lines.raise(Vector(.msix, 3)) == .alreadyPending)
        #expect(lines.isPending(3) && !lines.isPending(2))
        #expect(try eventFD.take() == 0)
        lines.setMasked(3, false)
        #expect(try eventFD.take() == 1)
        #expect(!lines.isPending(3))
        // Without an eventfd a vector pends too, and fires when it gets one.
        #expect(lines.raise(Vector(.msix, 5)) == .dropped(.disabled) || lines.isPending(5))
    }

    @Test("assignments survive a reset of the device")
    func reset() throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        let eventFD = try Signal()
        #expect(try client.ask(8, RawClient.setIRQs(assign, index: 2, count: 1), fds: [eventFD.number]) == 0)
        #expect(try client.ask(13) == 0)
        local.device.lines?.raise(Vector(.msix, 0))
        #expect(try eventFD.wait() == 1)
        #expect(local.device.told.withLock { $0.changes } == [.msix])
    }
}

/// A flag between threads.
final class Flag: @unchecked Sendable {
    private let lock = NSLock()
    private var value = false
    var isSet: Bool { lock.withLock { value } }
    func set() { lock.withLock { value = true } }
}
