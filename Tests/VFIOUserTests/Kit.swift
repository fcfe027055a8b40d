import CKernel
import EventRing
import Foundation
import Glibc
import InterruptModel
import Synchronization
import Testing

@testable import VFIOUser

/// A path for a socket that nobody has.
func freshPath() -> String {
    NSTemporaryDirectory() + "irqmux-test-\(getpid())-\(UInt64.random(in: 0..<UInt64.max)).sock"
}

/// How many descriptors this process has open.
func openDescriptors() throws -> Int {
    try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count
}

/// A device in a process of its own.
final class PeerProcess {
    let path = freshPath()
    private let process = Process()

    init(vectors: Int, once: Bool = false) throws {
        let bundle = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        process.executableURL = bundle.deletingLastPathComponent().appendingPathComponent("vfio-user-peer")
        process.arguments = [path, "\(vectors)"] + (once ? ["once"] : [])
        try start(process)
    }

    private func start(_ process: Process) throws {
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        // One line says that clients may come; an end without it that the peer could not.
        let line = output.fileHandleForReading.readData(ofLength: 6)
        try #require(String(decoding: line, as: UTF8.self) == "ready\n", "the peer did not start")
    }

    deinit {
        kill()
        removeFile(path)
    }

    var id: Int32 { process.processIdentifier }

    func kill() { Self.end(process) }

    /// Not by SIGTERM, which a child of a test's thread has blocked.
    static func end(_ process: Process) {
        if process.isRunning { Glibc.kill(process.processIdentifier, SIGKILL) }
        process.waitUntilExit()
    }

    /// Waits for the end; the exit status.
    func join() -> Int32 {
        process.waitUntilExit()
        return process.terminationStatus
    }

    /// Another process in place of the one that ended.
    static func again(at path: String, vectors: Int) throws -> Process {
        let process = Process()
        let bundle = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        process.executableURL = bundle.deletingLastPathComponent().appendingPathComponent("vfio-user-peer")
        process.arguments = [path, "\(vectors)"]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        _ = output.fileHandleForReading.readData(ofLength: 6)
        return process
    }
}

/// A server of this process on a thread of its own, with a device that the test looks at.
final class LocalServer {
    let path = freshPath()
    let server: Server<ProbeDevice>
    let device: ProbeDevice
    private let thread: Thread
    private let ended = DispatchSemaphore(value: 0)

    init(_ device: ProbeDevice = ProbeDevice(), options: ServerOptions = ServerOptions(), once: Bool = false) throws {
        self.device = device
        let server = try Server(device, path: path, options: options)
        self.server = server
        let ended = ended
        thread = Thread {
            try? server.run(once: once)
            ended.signal()
        }
        thread.start()
    }

    func stop() {
        server.stop()
        ended.wait()
        ended.signal()
    }

    /// Whether the server's thread has ended by itself.
    func hasEnded(within seconds: Double) -> Bool {
        guard ended.wait(timeout: .now() + seconds) == .success else { return false }
        ended.signal()
        return true
    }

    deinit { stop() }
}

/// A server with a device, on a thread of its own, and a client of it.
func connected<Device: MediatedDevice>(
    _ device: Device, _ change: (inout ClientOptions) -> Void = { _ in },
    _ body: (inout VFIOUserClient) throws -> Void
) throws {
    let path = freshPath()
    let server = try Server(device, path: path)
    let ended = DispatchSemaphore(value: 0)
    Thread.detachNewThread {
        try? server.run()
        ended.signal()
    }
    defer {
        server.stop()
        ended.wait()
    }
    var options = ClientOptions()
    change(&options)
    var client = try VFIOUserClient.connecting(to: path, options: options)
    try body(&client)
}

/// A device that remembers what it was told.
final class ProbeDevice: MediatedDevice {
    struct Told: Sendable {
        var written: [(region: UInt32, offset: UInt64, bytes: [UInt8])] = []
        var resets = 0
        var changes: [IRQIndex] = []
        var mapped: [DMAMapMessage] = []
        var unmapped: [UInt64] = []
        var arrivals = 0
        var departures = 0
        var memory: ClientMemory?
    }

    let lines: InterruptLines?
    let told = Mutex(Told())
    let bell: Signal
    let backing: Int32

    init(msix: UInt32 = 64) {
        lines = InterruptLines(DeviceProfile(hasINTx: true, msiVectors: 32, msixVectors: msix))
        bell = try! Signal()
        backing = irqmux_memory_create(8192, true)
    }

    deinit { close(backing) }

    var regions: [RegionDescription] {
        var regions = (0..<9).map { _ in RegionDescription(size: 0) }
        regions[0] = RegionDescription(size: 4096)
        regions[1] = RegionDescription(
            size: 8192,
            memory: RegionDescription.Memory(
                descriptor: backing, areas: [RegionLayout.Area(offset: 4096, length: 4096)]))
        regions[7] = RegionDescription(size: 256, writable: false)
        return regions
    }

    func read(region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> [UInt8] {
        guard offset != 0x800 else { throw DeviceError("read", errno: EIO) }
        return (0..<count).map { UInt8(truncatingIfNeeded: offset &+ UInt64($0)) }
    }

    func write(region: UInt32, offset: UInt64, _ bytes: [UInt8]) throws(DeviceError) {
        guard offset != 0x800 else { throw DeviceError("write", errno: EIO) }
        told.withLock { $0.written.append((region, offset, bytes)) }
    }

    func reset() throws(DeviceError) {
        lines?.reset()
        told.withLock { $0.resets += 1 }
    }

    func interruptsChanged(_ index: IRQIndex) { told.withLock { $0.changes.append(index) } }

    func doorbells(region: UInt32) -> [Doorbell] {
        guard region == 0 else { return [] }
        return [
            Doorbell(descriptor: bell.number, offset: 0x10),
            Doorbell(descriptor: bell.number, offset: 0x20, dataMatch: 7),
        ]
    }

    func enabled(memory: ClientMemory) {
        told.withLock {
            $0.arrivals += 1
            $0.memory = memory
        }
    }

    func disabled() {
        told.withLock {
            $0.departures += 1
            $0.memory = nil
        }
    }

    func memoryMapped(_ map: DMAMapMessage) { told.withLock { $0.mapped.append(map) } }

    func memoryUnmapped(address: UInt64, length: UInt64) { told.withLock { $0.unmapped.append(address) } }
}

/// The client's end of a connection, byte by byte.
final class RawClient {
    let socket: MessageSocket

    init(path: String) throws {
        // SAFETY: the text lives for the call.
        let number = unsafe path.withCString { unsafe irqmux_socket_connect($0) }
        try #require(number >= 0)
        socket = MessageSocket(owning: number)
    }

    init(owning number: Int32) { socket = MessageSocket(owning: number) }

    func send(_ bytes: [UInt8], fds: [Int32] = []) throws {
        var sent = 0
        while sent < bytes.count {
            let result = socket.send(bytes[sent...], fds: sent == 0 ? fds : [])
            if result == Int(-EAGAIN) {
                try #require(socket.wait(POLLOUT, timeoutNs: 5_000_000_000) > 0, "the peer does not read")
                continue
            }
            try #require(result > 0, "sending: \(result)")
            sent += result
        }
    }

    func send(
        _ command: UInt16, id: UInt16 = 1, flags: UInt32 = 0, _ body: [UInt8] = [], fds: [Int32] = []
    ) throws {
        try send(Self.message(command, id: id, flags: flags, body), fds: fds)
    }

    static func message(_ command: UInt16, id: UInt16 = 1, flags: UInt32 = 0, _ body: [UInt8] = []) -> [UInt8] {
        MessageHeader(id: id, command: command, messageSize: UInt32(16 + body.count), flags: flags).encoded + body
    }

    /// The next message; `nil` at the end of the stream.
    func receive() throws -> (header: MessageHeader, body: [UInt8], fds: Int)? {
        var assembler = MessageAssembler(limit: 4 << 20)
        while true {
            switch assembler.step() {
            case .badSize: throw Lie()
            case .complete:
                guard let message = assembler.take() else { throw Lie() }
                return (message.header, message.body, message.fds.count)
            case .wants(let length):
                switch assembler.receive(length, from: socket) {
                case .bytes: continue
                case .nothing:
                    try #require(socket.wait(POLLIN, timeoutNs: 5_000_000_000) > 0, "no answer within five seconds")
                case .closed: return nil
                case .failed: return nil
                }
            }
        }
    }

    /// Sends a command; the errno of its answer, 0 for success.
    func ask(
        _ command: UInt16, id: UInt16 = 1, _ body: [UInt8] = [], fds: [Int32] = []
    ) throws -> UInt32 {
        try send(command, id: id, body, fds: fds)
        let answer = try answer()
        #expect(answer.header.id == id && answer.header.command == command && answer.header.isReply)
        if answer.header.isError { #expect(answer.body.isEmpty && answer.fds == 0, "errors are header-only") }
        return answer.header.isError ? answer.header.errno : 0
    }

    /// The next message, which must come.
    func answer() throws -> (header: MessageHeader, body: [UInt8], fds: Int) {
        guard let message = try receive() else { throw Lie() }
        return message
    }

    func negotiate(_ capabilities: Capabilities = .forTests) throws {
        #expect(try ask(1, VersionMessage(minor: 1, capabilities: capabilities).encoded) == 0)
    }

    static func setIRQs(
        _ flags: UInt32, index: UInt32, start: UInt32 = 0, count: UInt32, payload: [UInt8] = []
    ) -> [UInt8] {
        let header = IRQSetHeader(
            argsz: UInt32(20 + payload.count), flags: flags, index: index, start: start, count: count)
        return RawIRQRequest(header: header, payload: payload).bytes
    }
}

struct Lie: Error {}

extension Capabilities {
    static var forTests: Capabilities {
        var capabilities = Capabilities()
        capabilities.maxMessageFDs = 16
        return capabilities
    }
}

/// A mapping of memory for the device.
func makeMemory(_ pages: Int) throws -> Int32 {
    let descriptor = irqmux_memory_create(UInt64(pages) * 4096, false)
    try #require(descriptor >= 0)
    return descriptor
}

/// Waits until `condition` holds, for ten seconds at most.
func eventually(_ condition: () throws -> Bool) rethrows -> Bool {
    for _ in 0..<2000 {
        if try condition() { return true }
        usleep(5000)
    }
    return false
}

/// An eventfd that expectations can look at.
final class Signal: Sendable {
    private let eventFD: EventFD

    init() throws { eventFD = try EventFD() }

    var number: Int32 { eventFD.number }
    func signal() throws { try eventFD.signal() }
    func take() throws -> UInt64 { try eventFD.take() }
    func peek() throws -> UInt64 { try eventFD.peek() }

    /// Takes the count, waiting for the first signal for five seconds at most; 0 when none comes.
    func wait() throws -> UInt64 {
        _ = irqmux_socket_wait(eventFD.number, Int16(POLLIN), 5_000_000_000)
        return try eventFD.take()
    }
}

/// Removes a file; no matter when there is none.
func removeFile(_ path: String) {
    // SAFETY: the text lives for the call.
    _ = unsafe unlink(path)
}

/// Many of them.
struct Signals: Sendable {
    private let signals: [Signal]

    init(_ count: Int) throws { signals = try (0..<count).map { _ in try Signal() } }

    var numbers: [Int32] { signals.map { $0.number } }
    func take(_ place: Int) throws -> UInt64 { try signals[place].take() }
    func wait(_ place: Int) throws -> UInt64 { try signals[place].wait() }
}
