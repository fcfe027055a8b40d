import CKernel
import EventRing
import Foundation
import Glibc
import InterruptModel
import Testing

@testable import VFIOUser

/// What the client makes of servers that lie, die or keep silent. Each test plays the server, byte by byte.
@Suite("vfio-user client: hostile servers", .timeLimit(.minutes(5)))
struct HostileServerTests {
    /// A connected pair: a client, and what it is told.
    private func pair(
        _ script: @escaping @Sendable (RawClient) throws -> Void
    ) throws -> Int32 {
        let (own, end) = connectedPair()
        try #require(own >= 0)
        let thread = Thread {
            let server = RawClient(owning: end)
            try? script(server)
        }
        thread.start()
        return own
    }

    private static func welcome(_ server: RawClient, _ capabilities: Capabilities = .forTests) throws {
        guard let hello = try server.receive() else { return }
        let body = VersionMessage(minor: 1, capabilities: capabilities).encoded
        try server.send(
            MessageHeader(id: hello.header.id, command: 1, messageSize: UInt32(16 + body.count), flags: 1).encoded
                + body)
    }

    private func client(
        timeoutMs: UInt64 = 5000, _ script: @escaping @Sendable (RawClient) throws -> Void
    ) throws -> VFIOUserClient {
        var options = ClientOptions()
        options.timeoutNs = timeoutMs * 1_000_000
        options.offersTwinSocket = false
        let socket = try pair { server in
            try Self.welcome(server)
            try script(server)
        }
        return try VFIOUserClient.adopting(socket, options: options)
    }

    private func kind(_ body: () throws(VFIOUserError) -> Void) -> VFIOUserError.Kind? {
        do throws(VFIOUserError) {
            try body()
            return nil
        } catch { return error.kind }
    }

    @Test("another major version is told with its number")
    func otherMajor() throws {
        let socket = try pair { server in
            guard let hello = try server.receive() else { return }
            let body: [UInt8] = [3, 0, 0, 0, 0x21]
            try server.send(
                MessageHeader(id: hello.header.id, command: 1, messageSize: UInt32(16 + body.count), flags: 1).encoded
                    + body)
        }
        #expect(kind { () throws(VFIOUserError) in _ = try VFIOUserClient.adopting(socket) } == .otherVersion(3))
    }

    @Test("a minor version above the proposal, and capabilities that make no sense, are lies", arguments: [0, 1])
    func badVersion(which: Int) throws {
        let socket = try pair { server in
            guard let hello = try server.receive() else { return }
            let body: [UInt8] = which == 0 ? [0, 0, 9, 0] : [0, 0, 1, 0, 0x7b]
            try server.send(
                MessageHeader(id: hello.header.id, command: 1, messageSize: UInt32(16 + body.count), flags: 1).encoded
                    + body)
        }
        #expect(kind { () throws(VFIOUserError) in _ = try VFIOUserClient.adopting(socket) } == .protocolViolation)
    }

    @Test("a twin socket that was named and did not come is a lie")
    func missingTwin() throws {
        let socket = try pair { server in
            var capabilities = Capabilities.forTests
            capabilities.twinSocket = true
            capabilities.twinSocketIndex = 0
            try Self.welcome(server, capabilities)
        }
        #expect(kind { () throws(VFIOUserError) in _ = try VFIOUserClient.adopting(socket) } == .protocolViolation)
    }

    @Test("an error reply fails the call: with errno 0, with a payload, with an errno that cannot be")
    func errors() throws {
        var client = try client { server in
            for (errno, payload) in [(0, 0), (22, 16), (5_000_000, 0), (95, 100_000)] as [(UInt32, Int)] {
                guard let asked = try server.receive() else { return }
                try server.send(
                    MessageHeader(
                        id: asked.header.id, command: 13, messageSize: UInt32(16 + payload), flags: 0x21, errno: errno
                    ).encoded + [UInt8](repeating: 7, count: payload))
            }
            _ = try server.receive()
        }
        for errno in [EIO, EINVAL, EIO, ENOTSUP] {
            #expect(throws: VFIOUserError("DEVICE_RESET", .refused, errno: errno)) { try client.reset() }
        }
        let isConnected = client.isConnected
        #expect(isConnected, "what came with the errors was read away")
    }

    @Test("replies in another order find their calls, and a reply to nothing is a lie")
    func order() throws {
        var client = try client { server in
            let first = try server.answer()
            let second = try server.answer()
            for asked in [second, first] {
                try server.send(
                    MessageHeader(id: asked.header.id, command: 13, messageSize: 16, flags: 1).encoded)
            }
            let third = try server.answer()
            try server.send(MessageHeader(id: third.header.id &+ 1, command: 13, messageSize: 16, flags: 1).encoded)
        }
        let first = try client.post(.reset, [], "DEVICE_RESET")
        let second = try client.post(.reset, [], "DEVICE_RESET")
        #expect(try client.result(first, "DEVICE_RESET").header.id == first)
        #expect(try client.result(second, "DEVICE_RESET").header.id == second)
        #expect(kind { () throws(VFIOUserError) in try client.reset() } == .protocolViolation)
        let isConnected = client.isConnected
        #expect(!isConnected)
    }

    @Test("a reply that comes in pieces is put together")
    func pieces() throws {
        var client = try client { server in
            let asked = try server.answer()
            let body = DeviceInfo(flags: 3, regions: 9, interruptIndexes: 5).encoded
            for byte in MessageHeader(id: asked.header.id, command: 4, messageSize: 32, flags: 1).encoded + body {
                try server.send([byte])
                usleep(500)
            }
        }
        #expect(try client.deviceInfo().regions == 9)
    }

    @Test("sizes that cannot be end the connection", arguments: [0, 15, 0x4000_0000, UInt32.max])
    func sizes(size: UInt32) throws {
        var client = try client { server in
            let asked = try server.answer()
            try server.send(
                MessageHeader(id: asked.header.id, command: 13, messageSize: size, flags: 1).encoded)
            _ = try server.receive()
        }
        #expect(kind { () throws(VFIOUserError) in try client.reset() } == .protocolViolation)
        #expect(kind { () throws(VFIOUserError) in try client.reset() } == .disconnected)
    }

    @Test("a server that keeps silent is given up after the time, and its late answer confuses nobody")
    func silence() throws {
        var client = try client(timeoutMs: 100) { server in
            _ = try server.receive()
            usleep(300_000)
            _ = try server.receive()
        }
        #expect(kind { () throws(VFIOUserError) in try client.reset() } == .timedOut)
        #expect(kind { () throws(VFIOUserError) in try client.reset() } == .disconnected)
        #expect(throws: VFIOUserError("reconnecting", .system, errno: EINVAL)) { try client.reconnect() }
    }

    @Test("a server that goes in the middle of its answer is gone")
    func halfAnswer() throws {
        var client = try client { server in
            let asked = try server.answer()
            try server.send(
                Array(MessageHeader(id: asked.header.id, command: 13, messageSize: 16, flags: 1).encoded.prefix(9)))
        }
        #expect(kind { () throws(VFIOUserError) in try client.reset() } == .disconnected)
    }

    @Test("answers of another region, index, size or access are lies")
    func otherAnswers() throws {
        func lie(_ body: [UInt8], _ ask: (inout VFIOUserClient) throws(VFIOUserError) -> Void) throws {
            var client = try client { server in
                let asked = try server.answer()
                try server.send(
                    MessageHeader(
                        id: asked.header.id, command: asked.header.command, messageSize: UInt32(16 + body.count),
                        flags: 1
                    ).encoded + body)
            }
            #expect(kind { () throws(VFIOUserError) in try ask(&client) } == .protocolViolation)
        }
        try lie(DeviceInfo(regions: 100_000).encoded) { (client) throws(VFIOUserError) in
            _ = try client.deviceInfo()
        }
        try lie([1, 2, 3]) { (client) throws(VFIOUserError) in _ = try client.deviceInfo() }
        try lie(IRQInfoMessage(index: 1).encoded) { (client) throws(VFIOUserError) in
            _ = try client.interruptInfo(.msix)
        }
        try lie(IRQInfoMessage(IRQInfo(count: 100_000), index: .msix).encoded) { (client) throws(VFIOUserError) in
            _ = try client.interruptInfo(.msix)
        }
        try lie(RegionInfoMessage.reply(RegionLayout(), index: 3, room: 32)) { (client) throws(VFIOUserError) in
            _ = try client.region(0)
        }
        try lie(RegionAccessMessage(region: 0, offset: 0, count: 4).encoded()) { (client) throws(VFIOUserError) in
            _ = try client.read(region: 0, offset: 0, count: 4)
        }
        try lie(RegionAccessMessage(region: 0, offset: 8, count: 4).encoded(data: [1, 2, 3, 4])) {
            (client) throws(VFIOUserError) in _ = try client.read(region: 0, offset: 0, count: 4)
        }
    }

    @Test("an answer that needs more room each time it is asked for is given up")
    func growing() throws {
        var client = try client { server in
            for room in [64, 128] as [UInt32] {
                guard let asked = try server.receive() else { return }
                var body = RegionInfoMessage.reply(RegionLayout(), index: 0, room: 32)
                body[0] = UInt8(room)
                try server.send(
                    MessageHeader(id: asked.header.id, command: 5, messageSize: 48, flags: 1).encoded + body)
            }
        }
        #expect(kind { () throws(VFIOUserError) in _ = try client.region(0) } == .protocolViolation)
    }

    @Test("the server's own commands are answered in between, those for memory that is not there with an error")
    func serverCommands() throws {
        var client = try client { server in
            let map = try server.answer()
            try server.send(MessageHeader(id: map.header.id, command: 2, messageSize: 16, flags: 1).encoded)
            let asked = try server.answer()
            var errors: [UInt32] = []
            for (command, address) in [(11, 0x1000), (11, 0x9000), (12, 0x1000), (99, 0)] as [(UInt16, UInt64)] {
                let body = DMAAccessMessage(address: address, count: 4).encoded(
                    data: command == 12 ? [9, 8, 7, 6] : [])
                try server.send(command, id: 77, body)
                let answer = try server.answer()
                errors.append(answer.header.id == 77 ? answer.header.errno : 999)
            }
            let expected = errors == [0, UInt32(EFAULT), 0, UInt32(ENOTSUP)]
            try server.send(
                MessageHeader(
                    id: asked.header.id, command: 13, messageSize: 16, flags: expected ? 1 : 0x21, errno: 42
                ).encoded)
        }
        let memory = try makeMemory(1)
        defer { close(memory) }
        try client.mapMemory(DMAMapMessage(address: 0x1000, length: 4096), descriptor: memory, isShared: false)
        try client.reset()
        var bytes = [UInt8](repeating: 0, count: 4)
        // SAFETY: the array lives for the call.
        #expect(unsafe pread(memory, &bytes, 4, 0) == 4 && bytes == [9, 8, 7, 6])
    }

    @Test("descriptors that nobody asked for are closed")
    func uninvitedDescriptors() throws {
        var client = try client { server in
            for _ in 0..<50 {
                guard let asked = try server.receive() else { return }
                let eventFD = try Signal()
                try server.send(
                    MessageHeader(id: asked.header.id, command: 13, messageSize: 16, flags: 1).encoded,
                    fds: Array(repeating: eventFD.number, count: 10))
            }
            _ = try server.receive()
        }
        try client.reset()
        let before = try openDescriptors()
        for _ in 0..<49 { try client.reset() }
        #expect(try eventually { try openDescriptors() <= before + 2 })
    }
}

/// Two connected sockets; −1 twice when there are none to be had.
private func connectedPair() -> (Int32, Int32) {
    var pair: (Int32, Int32) = (-1, -1)
    // SAFETY: a pair of 32-bit numbers is laid out as an array of two, and lives for the call.
    _ = unsafe withUnsafeMutableBytes(of: &pair) { bytes in
        unsafe irqmux_socket_pair(bytes.baseAddress!.assumingMemoryBound(to: Int32.self))
    }
    return pair
}
