import CKernel
import EventRing
import Foundation
import Glibc
import InterruptModel
import Synchronization
import Testing

@testable import VFIOUser

/// What holds the stream in step, whatever the client does.
@Suite("vfio-user server: frames", .timeLimit(.minutes(5)))
struct ServerFramingTests {
    @Test("a message may come byte by byte, with its eventfds beside its first byte")
    func reassembly() throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        let eventFD = try Signal()
        let bytes = RawClient.message(8, id: 9, RawClient.setIRQs(0x24, index: 2, count: 1))
        for (place, byte) in bytes.enumerated() { try client.send([byte], fds: place == 0 ? [eventFD.number] : []) }
        let answer = try client.answer()
        #expect(answer.header.id == 9 && !answer.header.isError)
        local.device.lines?.raise(Vector(.msix, 0))
        #expect(try eventFD.wait() == 1)
    }

    @Test("descriptors beside any byte of a message are that message's")
    func lateDescriptors() throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        let eventFD = try Signal()
        let bytes = RawClient.message(8, RawClient.setIRQs(0x24, index: 2, count: 1))
        try client.send(Array(bytes[..<10]))
        try client.send(Array(bytes[10..<20]), fds: [eventFD.number])
        try client.send(Array(bytes[20...]))
        #expect(try client.answer().header.isError == false)
        #expect(local.device.lines?.assignedCount(.msix) == 1)
    }

    @Test("commands sent back to back are answered in order, each with its own eventfds")
    func pipelined() throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        let eventFDs = try Signals(40)
        for place in 0..<40 {
            try client.send(
                8, id: UInt16(place), RawClient.setIRQs(0x24, index: 2, start: UInt32(place), count: 1),
                fds: [eventFDs.numbers[place]])
            try client.send(13, id: UInt16(1000 + place))
        }
        for place in 0..<40 {
            #expect(try client.answer().header.id == UInt16(place))
            #expect(try client.answer().header.id == UInt16(1000 + place))
        }
        for place in 0..<40 {
            local.device.lines?.raise(Vector(.msix, UInt32(place)))
            #expect(try eventFDs.wait(place) == 1)
        }
    }

    @Test("a client that sends without reading its answers is held, loses none of them, and holds nobody else up")
    func neverReads() throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        var access: [UInt8] = []
        access.append(u64: 0)
        access.append(u32: 0)
        access.append(u32: 4096)
        let request = RawClient.message(9, access)
        var sent = 0
        // Until the server takes no more: its answers have nowhere to go.
        while true {
            let result = client.socket.send(request[...], fds: [])
            if result == request.count {
                sent += 1
                continue
            }
            try #require(result == Int(-EAGAIN))
            if client.socket.wait(POLLOUT, timeoutNs: 200_000_000) == 0 { break }
        }
        #expect(sent > 10)
        // Another client is still told that this one is being served.
        let visitor = try RawClient(path: local.path)
        #expect(try visitor.ask(1, VersionMessage(capabilities: .forTests).encoded) == UInt32(EBUSY))
        for _ in 0..<sent { #expect(try client.answer().body.count == 16 + 4096) }
    }

    @Test("a size that cannot be is answered and ends the connection", arguments: [0, 1, 15, 2_000_000, UInt32.max])
    func badSize(size: UInt32) throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        try client.send(MessageHeader(id: 5, command: 13, messageSize: size).encoded)
        let answer = try client.answer()
        #expect(answer.header.id == 5 && answer.header.isError && answer.header.errno == UInt32(EINVAL))
        #expect(try client.receive() == nil)
        #expect(eventually { local.server.statistics.broken == 1 })
        try RawClient(path: local.path).negotiate()
    }

    @Test("commands that nobody knows, and refused ones with bodies, leave the stream in step")
    func staysInStep() throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        let body = [UInt8](repeating: 0x5a, count: 5000)
        for command in [0, 14, 19, 999, 0xffff] as [UInt16] {
            #expect(try client.ask(command, body) == UInt32(ENOTSUP), "\(command)")
        }
        for command in [11, 12] as [UInt16] { #expect(try client.ask(command, body) == UInt32(ENOTSUP)) }
        for command in [2, 3, 5, 6, 7, 8, 9, 10, 16, 17, 18] as [UInt16] {
            #expect(try client.ask(command, body) != 0, "\(command)")
            #expect(try client.ask(command, [1, 2, 3]) == UInt32(EINVAL), "\(command)")
        }
        #expect(try client.ask(4, DeviceInfo().encoded) == 0)
    }

    @Test("messages of a type that nobody knows are refused, and replies to nothing are passed over")
    func types() throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        try client.send(13, id: 1, flags: 1, [1, 2, 3, 4])
        try client.send(13, id: 2, flags: 7)
        try client.send(13, id: 3, flags: 0x20)
        for id in [2, 3] as [UInt16] {
            let answer = try client.answer()
            #expect(answer.header.id == id && answer.header.errno == UInt32(EINVAL))
        }
        #expect(local.device.told.withLock { $0.resets } == 0)
    }

    @Test("a command that wants no reply gets none, not even for an error")
    func noReply() throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        try client.send(13, id: 1, flags: 0x10)
        try client.send(999, id: 2, flags: 0x10)
        #expect(try client.ask(13, id: 3) == 0)
        #expect(local.device.told.withLock { $0.resets } == 2)
    }

    @Test("whatever comes before VERSION is refused and ends the connection")
    func versionFirst() throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        #expect(try client.ask(13) == UInt32(EINVAL))
        #expect(try client.receive() == nil)
        #expect(local.device.told.withLock { $0.arrivals } == 0)
    }

    @Test("another major version, and a VERSION that makes no sense, are refused and end the connection")
    func otherMajor() throws {
        let local = try LocalServer()
        for body in [VersionMessage(major: 1, capabilities: .forTests).encoded, [0, 0], [0, 0, 1, 0, 0x7b]] {
            let client = try RawClient(path: local.path)
            #expect(try client.ask(1, body) == UInt32(EINVAL))
            #expect(try client.receive() == nil)
        }
        let client = try RawClient(path: local.path)
        try client.negotiate()
        #expect(try client.ask(1, VersionMessage(capabilities: .forTests).encoded) == UInt32(EINVAL))
        #expect(try client.ask(13) == 0, "a second VERSION is refused, and the first one stands")
    }

    @Test("the minor version is the lower of both", arguments: [(0, 0), (1, 1), (2, 2), (3, 2), (65535, 2)])
    func minor(proposed: UInt16, agreed: UInt16) throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.send(1, VersionMessage(minor: proposed, capabilities: .forTests).encoded)
        let answer = try #require(VersionMessage(decoding: try client.answer().body))
        #expect(answer.minor == agreed && answer.capabilities.maxMessageFDs == 16)
    }
}

/// Clients that come, go and vanish.
@Suite("vfio-user server: clients", .timeLimit(.minutes(5)))
struct ServerClientsTests {
    @Test("clients that vanish mid-message, with eventfds assigned and memory mapped, leave nothing open")
    func vanish() throws {
        let local = try LocalServer()
        try RawClient(path: local.path).negotiate()
        #expect(eventually { local.device.told.withLock { $0.departures } == 1 })
        let before = try openDescriptors()
        for round in 0..<20 {
            let client = try RawClient(path: local.path)
            try client.negotiate()
            let eventFDs = try Signals(8)
            #expect(
                try client.ask(8, RawClient.setIRQs(0x24, index: 2, count: 8), fds: eventFDs.numbers) == 0)
            let memory = try makeMemory(2)
            defer { close(memory) }
            #expect(try client.ask(2, DMAMapMessage(address: 0, length: 8192).encoded, fds: [memory]) == 0)
            // Half a message, with descriptors that nobody will ever use.
            try client.send(
                Array(RawClient.message(8, RawClient.setIRQs(0x24, index: 2, count: 8)).prefix(round + 1)),
                fds: eventFDs.numbers)
        }
        #expect(eventually { local.device.told.withLock { $0.departures } == 21 })
        // Twenty clients left 340 of them; other tests of this process open and close some meanwhile.
        #expect(try eventually { try openDescriptors() < before + 150 })
        #expect(local.device.lines?.assignedCount(.msix) == 0)
    }

    @Test("a second client at once is told EBUSY, and served when the first has gone")
    func second() throws {
        let local = try LocalServer()
        do {
            let first = try RawClient(path: local.path)
            try first.negotiate()
            let second = try RawClient(path: local.path)
            #expect(try second.ask(1, VersionMessage(capabilities: .forTests).encoded) == UInt32(EBUSY))
            #expect(try second.receive() == nil)
            #expect(try first.ask(13) == 0)
            do throws(VFIOUserError) {
                _ = try VFIOUserClient.connecting(to: local.path)
                Issue.record("a second client was served")
            } catch { #expect(error.errno == EBUSY && error.kind == .refused) }
        }
        #expect(
            eventually {
                guard let client = try? RawClient(path: local.path) else { return false }
                return (try? client.ask(1, VersionMessage(capabilities: .forTests).encoded)) == 0
            })
        #expect(local.server.statistics.turnedAway >= 2)
    }

    @Test("a crowd of silent visitors does not keep the client from its answers")
    func crowd() throws {
        let local = try LocalServer()
        let first = try RawClient(path: local.path)
        try first.negotiate()
        var crowd: [Int32] = []
        defer { for number in crowd { close(number) } }
        for _ in 0..<12 {
            // SAFETY: the text lives for the call.
            let number = unsafe local.path.withCString { unsafe irqmux_socket_connect($0) }
            if number >= 0 { crowd.append(number) }
        }
        for _ in 0..<100 { #expect(try first.ask(13) == 0) }
    }

    @Test("what the device is survives its clients")
    func keepsState() throws {
        let local = try LocalServer()
        local.device.lines?.raise(Vector(.intx, 0))
        for _ in 0..<3 {
            var client: RawClient? = try RawClient(path: local.path)
            try client?.negotiate()
            let eventFD = try Signal()
            #expect(try client!.ask(8, RawClient.setIRQs(0x24, index: 0, count: 1), fds: [eventFD.number]) == 0)
            #expect(try eventFD.wait() == 1, "the line is still high for the next client")
            let departures = local.device.told.withLock { $0.departures }
            // Leaves by going out of scope; the next may come when the server has noticed.
            client = nil
            #expect(eventually { local.device.told.withLock { $0.departures } == departures + 1 })
        }
    }

    @Test("stop answers what has arrived, and then the socket is gone")
    func drains() throws {
        let local = try LocalServer()
        let client = try RawClient(path: local.path)
        try client.negotiate()
        for id in 0..<200 as Range<UInt16> { try client.send(13, id: id) }
        local.server.stop()
        for id in 0..<200 as Range<UInt16> { #expect(try client.answer().header.id == id) }
        #expect(try client.receive() == nil)
        #expect(local.hasEnded(within: 5))
    }

    @Test("once means one client")
    func once() throws {
        let local = try LocalServer(once: true)
        try RawClient(path: local.path).negotiate()
        #expect(local.hasEnded(within: 5))
    }
}

/// The file that clients find.
@Suite("vfio-user server: socket", .timeLimit(.minutes(5)))
struct ServerSocketTests {
    private func mode(_ path: String) throws -> mode_t {
        var status = stat()
        // SAFETY: the structure lives for the call.
        try #require(unsafe lstat(path, &status) == 0)
        return status.st_mode & 0o7777
    }

    @Test("the socket is the owner's alone, whatever the umask, and is removed at the end")
    func permissions() throws {
        let path = freshPath()
        do {
            let server = try Server(ProbeDevice(), path: path)
            #expect(try mode(path) == 0o600)
            #expect(server.statistics == ServerStatistics())
        }
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test("a socket that nobody listens on is replaced, one that somebody serves is not")
    func stale() throws {
        let path = freshPath()
        defer { removeFile(path) }
        var numbers: (UInt64, UInt64) = (0, 0)
        // SAFETY: text and numbers live for the call.
        let old = unsafe path.withCString { unsafe irqmux_socket_listen($0, 1, &numbers.0, &numbers.1) }
        try #require(old >= 0)
        #expect(throws: VFIOUserError("listening on the socket", .system, errno: EADDRINUSE)) {
            try Server(ProbeDevice(), path: path)
        }
        close(old)
        var server: Server<ProbeDevice>? = try Server(ProbeDevice(), path: path)
        #expect(try mode(path) == 0o600)
        // A server that ends does not remove what took its place.
        removeFile(path)
        try Data("mine".utf8).write(to: URL(fileURLWithPath: path))
        #expect(server?.statistics.connections == 0)
        server = nil
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "mine")
    }

    @Test("a path that is no socket, or cannot be one, is refused and left alone")
    func refused() throws {
        let path = freshPath()
        defer { removeFile(path) }
        try Data("mine".utf8).write(to: URL(fileURLWithPath: path))
        #expect(throws: VFIOUserError("listening on the socket", .system, errno: ENOTSOCK)) {
            try Server(ProbeDevice(), path: path)
        }
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "mine")
        #expect(throws: VFIOUserError("listening on the socket", .system, errno: ENAMETOOLONG)) {
            try Server(ProbeDevice(), path: NSTemporaryDirectory() + String(repeating: "a", count: 120))
        }
        #expect(throws: VFIOUserError("listening on the socket", .system, errno: ENOENT)) {
            try Server(ProbeDevice(), path: NSTemporaryDirectory() + "irqmux-no-such-directory/a.sock")
        }
        // A client says the same of a file.
        do throws(VFIOUserError) {
            _ = try VFIOUserClient.connecting(to: path)
            Issue.record("a file was taken for a socket")
        } catch { #expect(error.errno == ENOTSOCK) }
    }

    @Test("whoever finds a server's socket can connect to it, and a name beside it is not left behind")
    func foundIsServed() throws {
        let directory = NSTemporaryDirectory() + "irqmux-test-\(UInt64.random(in: 0..<UInt64.max))/"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "device.sock"
        let found = DispatchSemaphore(value: 0)
        for _ in 0..<300 {
            let refusal = Mutex<Int32>(-1)
            DispatchQueue.concurrentPerform(iterations: 2) { side in
                if side == 0 {
                    let errno = connectWhenThere(path)
                    refusal.withLock { $0 = errno }
                    found.signal()
                } else {
                    guard let server = try? Server(ProbeDevice(), path: path) else { return }
                    withExtendedLifetime(server) { found.wait() }
                }
            }
            #expect(refusal.withLock { $0 } == 0, "ECONNREFUSED is \(ECONNREFUSED)")
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
    }

    @Test("a directory so long that no other name fits holds a socket all the same")
    func longDirectory() throws {
        let base = NSTemporaryDirectory() + "irqmux-\(getpid())-"
        let directory = base + String(repeating: "d", count: max(1, 105 - base.utf8.count))
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "/s"
        try #require(path.utf8.count == 107)
        let server = try Server(ProbeDevice(), path: path)
        #expect(try mode(path) == 0o600)
        #expect(server.statistics.connections == 0)
    }

    @Test("of servers that start at once on one stale socket, exactly one gets it")
    func race() throws {
        let path = freshPath()
        defer { removeFile(path) }
        for _ in 0..<20 {
            var numbers: (UInt64, UInt64) = (0, 0)
            // SAFETY: text and numbers live for the call.
            let old = unsafe path.withCString { unsafe irqmux_socket_listen($0, 1, &numbers.0, &numbers.1) }
            try #require(old >= 0)
            close(old)
            let results = ResultBox()
            DispatchQueue.concurrentPerform(iterations: 4) { _ in
                if let server = try? Server(ProbeDevice(), path: path) { results.keep(server) }
            }
            #expect(results.count == 1)
        }
    }
}

/// Connects as soon as the name is there; the errno, or 0.
private func connectWhenThere(_ path: String) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    // SAFETY: the closure writes within the bytes of the path, which is shorter.
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
    let number = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(number) }
    while true {
        // SAFETY: the address lives for the call, and every address begins as a sockaddr does.
        let result = unsafe withUnsafePointer(to: &address) {
            unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(number, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result != 0, errno == ENOENT else { return result == 0 ? 0 : errno }
    }
}

private final class ResultBox: @unchecked Sendable {
    private let lock = NSLock()
    private var servers: [Server<ProbeDevice>] = []
    func keep(_ server: Server<ProbeDevice>) { lock.withLock { servers.append(server) } }
    var count: Int { lock.withLock { servers.count } }
}
