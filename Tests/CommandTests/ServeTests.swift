import CKernel
import EventRing
import Foundation
import Glibc
import InterruptModel
import Testing
import VFIOUser

@testable import irqmux

private let folder = NSTemporaryDirectory()

@Suite("irqmux serve", .serialized, .timeLimit(.minutes(10)))
struct ServeTests {
    /// `irqmux serve`, running.
    private final class Serving {
        let path: String
        private let process = Process()
        private let output = Pipe()
        private let diagnostics = Pipe()

        /// At a path that nobody has, or at `place`.
        init(_ arguments: [String] = [], at place: String? = nil) throws {
            path = place ?? folder + "irqmux-serve-\(getpid())-\(UInt32.random(in: 0 ... .max)).sock"
            process.executableURL = CommandProcess.binary
            process.arguments = ["serve", "--socket", path] + arguments
            process.standardOutput = output
            process.standardError = diagnostics
            try process.run()
            // The line that says so: the socket is there a moment before it is listened to.
            _ = diagnostics.fileHandleForReading.availableData
        }

        deinit {
            if process.isRunning { kill(process.processIdentifier, SIGKILL) }
            process.waitUntilExit()
            try? FileManager.default.removeItem(atPath: path)
        }

        func terminate() { signal(SIGTERM) }

        func signal(_ number: Int32) { kill(process.processIdentifier, number) }

        /// Waits for the end: status and stdout.
        func end() -> (status: Int32, output: String) {
            let written = output.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            return (process.terminationStatus, String(decoding: written, as: UTF8.self))
        }

        /// Resident memory in bytes.
        func resident() throws -> Int {
            let text = try String(contentsOfFile: "/proc/\(process.processIdentifier)/status", encoding: .utf8)
            let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("VmRSS:") })
            return try #require(Int(line.filter(\.isNumber))) * 1024
        }

        func descriptors() throws -> Int {
            try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process.processIdentifier)/fd").count
        }
    }

    /// A client, as soon as the one before has gone.
    private func client(_ path: String) throws -> VFIOUserClient {
        while true {
            do throws(VFIOUserError) { return try VFIOUserClient.connecting(to: path) } catch {
                guard error.errno == EBUSY || error.errno == EAGAIN else { throw error }
                usleep(200)
            }
        }
    }

    private func assign(_ numbers: [Int32], _ path: String) throws {
        var client = try client(path)
        try client.setInterrupts(IRQRequest(.msix, .trigger, .eventfd(numbers)))
    }

    @Test("2048 vectors fit in 16 MiB, and ten thousand connections leave neither memory nor descriptors behind")
    func memory() throws {
        var files = rlimit()
        // SAFETY: the structure lives for the calls.
        try #require(unsafe getrlimit(Int32(RLIMIT_NOFILE.rawValue), &files) == 0)
        files.rlim_cur = max(files.rlim_cur, 8192)
        // SAFETY: as above.
        try #require(unsafe setrlimit(Int32(RLIMIT_NOFILE.rawValue), &files) == 0, "RLIMIT_NOFILE must exceed 8192")
        let serving = try Serving(["--device", "software:msix=2048,msi=0,intx=1"])
        let numbers = try (0..<2048).map { _ in try EventFD().release() }
        defer { for number in numbers { close(number) } }
        var early = 0
        var open = 0
        for round in 0..<10_000 {
            try assign(Array(numbers.prefix(8)), serving.path)
            if round == 2000 {
                try assign(numbers, serving.path)
                let probe = try client(serving.path)
                early = try serving.resident()
                open = try serving.descriptors()
                _ = consume probe
            }
        }
        var last = try client(serving.path)
        try last.setInterrupts(IRQRequest(.msix, .trigger, .eventfd(numbers)))
        let late = try serving.resident()
        // The bar is the optimised program's: 16 MiB. Without optimisation its code alone is larger by some.
        #if DEBUG
            let limit = 24 << 20
        #else
            let limit = 16 << 20
        #endif
        #expect(late <= limit, "\(late >> 10) KiB with 2048 vectors")
        #expect(late - early <= 1 << 20, "\(early >> 10) KiB grew to \(late >> 10) KiB")
        try last.setInterrupts(IRQRequest(.msix, .trigger, .none(count: 0)))
        #expect(try serving.descriptors() <= open + 1)
    }

    @Test("SIGTERM ends it with what it did, and takes the socket away")
    func terminated() throws {
        let serving = try Serving(["--format", "json"])
        try assign([EventFD().release()], serving.path)
        serving.terminate()
        let (status, output) = serving.end()
        #expect(status == 0)
        let object = try #require(try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any])
        #expect(object["schema"] as? String == "irqmux.serve/1" && object["clients"] as? Int == 1)
        #expect(!FileManager.default.fileExists(atPath: serving.path))
    }

    @Test("SIGTERM ends it while a client is there and silent, and the client is hung up on")
    func terminatedWhileConnected() throws {
        let serving = try Serving(["--format", "json"])
        var other = try client(serving.path)
        let eventFD = try EventFD()
        try other.setInterrupts(IRQRequest(.msix, .trigger, .eventfd([eventFD.number])))
        serving.terminate()
        #expect(serving.end().status == 0)
        #expect(throws: VFIOUserError.self) { try other.setInterrupts(IRQRequest(.msix, .trigger, .none(count: 0))) }
        #expect(!FileManager.default.fileExists(atPath: serving.path))
    }

    @Test("SIGTERM answers every request that has arrived, more than fit on the way back too, and half of one is left")
    func drained() throws {
        let serving = try Serving(["--format", "json"])
        // Of our own, since the library's client waits for each answer.
        let socket = RawSocket(connectedTo: serving.path)
        let version: [UInt8] = [1, 0, 1, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]
        try #require(socket.send(version) && socket.receiveReply() == 1)
        // DEVICE_GET_INFO, argsz 16. While the server stands still they all arrive, and the signal with them.
        let count: UInt16 = 2000
        serving.signal(SIGSTOP)
        var requests: [UInt8] = []
        for id in 2..<count + 2 {
            let number = [UInt8(id & 0xff), UInt8(id >> 8)]
            requests += number + [4, 0, 32, 0, 0, 0] + [UInt8](repeating: 0, count: 8) + [16, 0, 0, 0]
            requests += [UInt8](repeating: 0, count: 12)
        }
        let isSent = socket.send(requests + [7, 7, 4, 0])
        serving.terminate()
        serving.signal(SIGCONT)
        try #require(isSent)
        // So late that the answers no longer fit on their way.
        usleep(100_000)
        for id in 2..<count + 2 { try #require(socket.receiveReply() == id, "request \(id - 1) of \(count)") }
        #expect(socket.receiveReply() == nil)
        let (status, output) = serving.end()
        #expect(status == 0)
        let object = try #require(try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any])
        #expect(object["messages"] as? Int == Int(count) + 1 && object["broken"] as? Int == 0)
    }

    @Test("once ends it with the first client, and the counters are in the file")
    func once() throws {
        let metrics = folder + "irqmux-metrics-\(getpid()).prom"
        defer { try? FileManager.default.removeItem(atPath: metrics) }
        let serving = try Serving(["--once", "--metrics", metrics])
        try assign([EventFD().release()], serving.path)
        let (status, output) = serving.end()
        #expect(status == 0 && output.hasPrefix("served 1 clients, "))
        let text = try String(contentsOfFile: metrics, encoding: .utf8)
        #expect(
            text.contains("\nirqmux_serve_clients_total 1\n") && text.contains("\nirqmux_serve_client_connected 0\n"))
    }

    @Test("a path that is no socket is a usage error, one that is served is not taken over; one line each")
    func paths() throws {
        let file = folder + "irqmux-file-\(getpid())"
        defer { try? FileManager.default.removeItem(atPath: file) }
        try Data("mine".utf8).write(to: URL(fileURLWithPath: file))
        let wrong = try CommandProcess.run("serve", "--socket", file)
        #expect(wrong.status == 64 && wrong.diagnosticLines.count == 1 && wrong.output.isEmpty)
        #expect(wrong.diagnostics.contains("no socket"))
        let serving = try Serving()
        let taken = try CommandProcess.run("serve", "--socket", serving.path)
        #expect(taken.status == 69 && taken.diagnosticLines.count == 1)
        #expect(taken.diagnostics.contains("another server listens"))
        let long = try CommandProcess.run("serve", "--socket", String(repeating: "a", count: 108))
        #expect(long.status == 64 && long.diagnosticLines.count == 1)
        let nowhere = try CommandProcess.run("serve", "--socket", folder + "irqmux-no-such-directory/a.sock")
        #expect(nowhere.status == 69 && nowhere.diagnosticLines.count == 1)
        #expect(nowhere.diagnostics.contains("make the directory"))
        let through = try CommandProcess.run("serve", "--socket", file + "/a.sock")
        #expect(through.status == 64 && through.diagnosticLines.count == 1)
        let device = try CommandProcess.run("serve", "--socket", file, "--device", "vfio-user:a.sock")
        #expect(device.status == 64 && device.diagnosticLines.count == 1)
    }

    // Root, as whom the tests often run, may write everywhere, so it is the rule that is asked.
    @Test(
        "what is typed wrongly is 64, what the machine lacks or another process has is 69, the rest is 2",
        arguments: [
            (ENOTSOCK, 64), (ENAMETOOLONG, 64), (ENOTDIR, 64), (ENOENT, 69), (EACCES, 69), (EPERM, 69), (EROFS, 69),
            (EADDRINUSE, 69), (EMFILE, 2), (ENOSPC, 2),
        ] as [(Int32, Int32)])
    func statuses(errno: Int32, status: Int32) {
        let error = VFIOUserError("listening on the socket", .system, errno: errno)
        #expect(CommandFailure(servingOn: "/run/a.sock", error).status.rawValue == status)
    }

    @Test("a stale socket is replaced")
    func stale() throws {
        let killed = try Serving()
        killed.signal(SIGKILL)
        #expect(killed.end().status == SIGKILL)
        try #require(FileManager.default.fileExists(atPath: killed.path))
        let next = try Serving(at: killed.path)
        try assign([EventFD().release()], next.path)
        next.terminate()
        #expect(next.end().status == 0)
    }

    @Test(
        "a device behind a socket that cannot be opened is one line, with the status that says whose matter it is",
        arguments: ["info", "loopback"])
    func badDevices(command: String) throws {
        let file = folder + "irqmux-device-\(getpid())-\(command)"
        defer { try? FileManager.default.removeItem(atPath: file) }
        try Data("mine".utf8).write(to: URL(fileURLWithPath: file))
        let wrong = try CommandProcess.run(command, "--device", "vfio-user:\(file)")
        #expect(wrong.status == 64 && wrong.diagnosticLines.count == 1 && wrong.diagnostics.contains("no socket"))
        let absent = try CommandProcess.run(command, "--device", "vfio-user:\(folder)irqmux-nobody.sock")
        #expect(absent.status == 69 && absent.diagnosticLines.count == 1)
        #expect(absent.diagnostics.contains("start the server"))
        let foreign = try ForeignServer(path: file + ".sock", major: 3)
        let other = try CommandProcess.run(command, "--device", "vfio-user:\(file).sock")
        #expect(other.status == 69 && other.diagnosticLines.count == 1 && other.output.isEmpty)
        #expect(other.diagnostics.contains("major version"))
        withExtendedLifetime(foreign) {}
        // A server that is busy with another client.
        let serving = try Serving()
        let first = try client(serving.path)
        let busy = try CommandProcess.run(command, "--device", "vfio-user:\(serving.path)")
        #expect(busy.status == 69 && busy.diagnosticLines.count == 1 && busy.diagnostics.contains("another client"))
        let minor = first.minor
        #expect(minor == 2)
    }

    @Test("info and loopback drive a served device as any other, and a vector that it lacks is a usage error")
    func driven() throws {
        let serving = try Serving(["--device", "software:msix=16,msi=8,intx=1"])
        let info = try CommandProcess.run("info", "--device", "vfio-user:\(serving.path)", "--format", "json")
        #expect(info.status == 0, "\(info.diagnostics)")
        let indexes = try #require(try info.object()["indexes"] as? [[String: Any]])
        #expect(indexes.first { $0["index"] as? String == "msix" }?["count"] as? Int == 16)
        let loopback = try CommandProcess.run(
            "loopback", "--device", "vfio-user:\(serving.path)", "--storm", "500", "--format", "json")
        #expect(loopback.status == 0, "\(loopback.diagnostics)\(loopback.output)")
        let ledger = try #require(try loopback.object()["ledger"] as? [String: Any])
        #expect(ledger["unexplained"] as? Int == 0)
        for command in [["loopback"], ["latency", "--path", "loopback"]] {
            let lacking = try CommandProcess.run(
                command + ["--device", "vfio-user:\(serving.path)", "--vectors", "17"])
            #expect(lacking.status == 64 && lacking.diagnosticLines.count == 1 && lacking.output.isEmpty)
            #expect(lacking.diagnostics.contains("--vectors 17 is more MSI-X than the device has; accepted: up to 16"))
        }
    }

    @Test("without MSI-X it is MSI that loopback's vectors are counted against, and INTx without that")
    func drivenWithoutMSIX() throws {
        for (layout, label, most) in [("msix=0,msi=8", "MSI", 8), ("msix=0,msi=0,intx=1", "INTx", 1)] {
            let lacking = try CommandProcess.run(
                "loopback", "--device", "software:\(layout)", "--vectors", "\(most + 1)")
            #expect(lacking.status == 64 && lacking.diagnosticLines.count == 1 && lacking.output.isEmpty)
            #expect(lacking.diagnostics.contains("is more \(label) than the device has; accepted: up to \(most)"))
        }
        let some = try CommandProcess.run(
            "loopback", "--device", "software:msix=0,msi=8,intx=0", "--vectors", "8", "--storm", "100")
        #expect(some.status == 0, "\(some.diagnostics)")
    }
}

/// A client by hand.
private struct RawSocket: ~Copyable {
    let number: Int32

    init(connectedTo path: String) {
        // SAFETY: the text is NUL-terminated and lives for the call.
        number = unsafe irqmux_socket_connect(path)
    }

    deinit { if number >= 0 { close(number) } }

    /// False where the socket does not take it all at once.
    func send(_ bytes: [UInt8]) -> Bool {
        // SAFETY: the buffer holds the count that is passed with it.
        unsafe write(number, bytes, bytes.count) == bytes.count
    }

    /// The identity of the next message; nil at the end, or when none comes within ten seconds.
    func receiveReply() -> UInt16? {
        guard let head = receive(16) else { return nil }
        let size = Int(head[4]) | Int(head[5]) << 8
        guard size >= 16, receive(size - 16) != nil else { return nil }
        return UInt16(head[0]) | UInt16(head[1]) << 8
    }

    private func receive(_ count: Int) -> [UInt8]? {
        var bytes: [UInt8] = []
        while bytes.count < count {
            guard irqmux_socket_wait(number, Int16(POLLIN), 10_000_000_000) > 0 else { return nil }
            var part = [UInt8](repeating: 0, count: count - bytes.count)
            // SAFETY: as above.
            let received = unsafe read(number, &part, part.count)
            guard received > 0 else { return nil }
            bytes += part.prefix(received)
        }
        return bytes
    }
}
