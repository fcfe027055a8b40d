import CKernel
import Foundation
import InterruptModel
import Synchronization
import Testing

@testable import VFIOUser

/// A device whose whole state is some bytes, and which migrates.
private final class MovableDevice: MediatedDevice {
    struct State: Sendable {
        var bytes: [UInt8]
        var device: UInt32 = 2  // VFIO_DEVICE_STATE_RUNNING
        var place = 0
        var arriving: [UInt8] = []
        var written: [RegionWrite] = []
    }

    let lines: InterruptLines? = InterruptLines(DeviceProfile(hasINTx: false, msiVectors: 0, msixVectors: 1))
    let state: Mutex<State>
    var regions: [RegionDescription] { [RegionDescription(size: 4096)] }

    init(_ bytes: [UInt8]) { state = Mutex(State(bytes: bytes)) }

    func read(region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> [UInt8] {
        [UInt8](repeating: 0, count: count)
    }

    func write(region: UInt32, offset: UInt64, _ bytes: [UInt8]) throws(DeviceError) {
        guard offset != 0x800 else { throw DeviceError("write", errno: ENXIO) }
        state.withLock { $0.written.append(RegionWrite(region: region, offset: offset, bytes)) }
    }

    func reset() throws(DeviceError) {}

    func feature(_ request: FeatureRequest) throws(DeviceError) -> [UInt8] {
        switch (request.feature, request.action) {
        case (1, .probe(_, false)), (2, .probe): return []
        case (1, .get): return [1] + [UInt8](repeating: 0, count: 7)
        case (2, .get): return word(state.withLock { $0.device }) + word(.max)
        case (2, .set(let data)): return try enter(data)
        // More than a client has room for at first: the question, and a page of ones behind it.
        case (8, .get(let range)): return range + [UInt8](repeating: 0xff, count: 4096)
        case (1, _): throw DeviceError("feature", errno: EINVAL)
        default: throw DeviceError("feature", errno: ENOTTY)
        }
    }

    private func word(_ value: UInt32) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(u32: value)
        return bytes
    }

    private func enter(_ data: [UInt8]) throws(DeviceError) -> [UInt8] {
        guard data.count == 8, (1...4).contains(data[0]) else { throw DeviceError("feature", errno: EINVAL) }
        state.withLock { state in
            if state.device == 4 { state.bytes = state.arriving }
            state.device = UInt32(data[0])
            state.place = 0
            state.arriving = []
        }
        return data
    }

    func readMigration(count: Int) throws(DeviceError) -> [UInt8] {
        try state.withLock { (state) throws(DeviceError) in
            guard state.device == 3 else { throw DeviceError("reading the state", errno: EINVAL) }
            let part = state.bytes[state.place...].prefix(count)
            state.place += part.count
            return Array(part)
        }
    }

    func writeMigration(_ bytes: [UInt8]) throws(DeviceError) {
        try state.withLock { (state) throws(DeviceError) in
            guard state.device == 4 else { throw DeviceError("writing the state", errno: EINVAL) }
            state.arriving += bytes
        }
    }
}

@Suite("vfio-user features, migration data and writes in one message", .timeLimit(.minutes(5)))
struct FeatureTests {
    private static let migration: UInt16 = 1
    private static let deviceState: UInt16 = 2
    private static let dirtyPages: UInt16 = 8

    private func state(_ number: UInt8) -> [UInt8] { [number, 0, 0, 0, 255, 255, 255, 255] }

    @Test("a device's state goes from one server to another, in pieces of the smaller side's size")
    func migrates() throws {
        let bytes = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 * 7) }
        var saved: [UInt8] = []
        try connected(MovableDevice(bytes), { $0.dataTransfer = 999 }) { client in
            #expect(try client.hasFeature(Self.migration, readable: true))
            #expect(try client.getFeature(Self.migration).first == 1)
            #expect(try client.getFeature(Self.deviceState).first == 2)
            #expect(throws: VFIOUserError("MIG_DATA_READ", .refused, errno: EINVAL)) {
                try client.readMigration(count: 1)
            }
            #expect(try client.setFeature(Self.deviceState, state(3)) == state(3))
            while case let part = try client.readMigration(count: 4000), !part.isEmpty { saved += part }
        }
        #expect(saved == bytes)
        let target = MovableDevice([])
        try connected(target, { $0.dataTransfer = 333 }) { client in
            #expect(throws: VFIOUserError("MIG_DATA_WRITE", .refused, errno: EINVAL)) {
                try client.writeMigration([1])
            }
            try client.setFeature(Self.deviceState, state(4))
            try client.writeMigration(saved)
            try client.setFeature(Self.deviceState, state(1))
        }
        #expect(target.state.withLock { $0.bytes } == bytes)
    }

    @Test("an answer longer than was expected is asked for again with room for it")
    func secondStep() throws {
        try connected(MovableDevice([])) { client in
            let range: [UInt8] = Array(1...24)
            let told = try client.getFeature(Self.dirtyPages, range)
            #expect(told == range + [UInt8](repeating: 0xff, count: 4096))
        }
    }

    @Test("a device without features says so, and a probe of one is an answer")
    func none() throws {
        try connected(ProbeDevice()) { client in
            let has = try client.hasFeature(Self.migration)
            #expect(!has)
            #expect(throws: VFIOUserError("DEVICE_FEATURE", .refused, errno: ENOTTY)) {
                try client.getFeature(Self.migration)
            }
            #expect(throws: VFIOUserError("MIG_DATA_READ", .refused, errno: EINVAL)) {
                try client.readMigration(count: 1)
            }
            #expect(throws: VFIOUserError("MIG_DATA_WRITE", .refused, errno: EINVAL)) {
                try client.writeMigration([1])
            }
            let isConnected = client.isConnected
            #expect(isConnected)
        }
        try connected(MovableDevice([])) { client in
            let isWritable = try client.hasFeature(Self.migration, writable: true)
            #expect(!isWritable)
        }
    }

    @Test(
        "flags that nobody knows, no action, two at once and bodies too short are refused as Linux does",
        arguments: [
            ([8, 1], EINVAL), ([8, 1 | 3 << 16], EINVAL), ([8, 1 | 1 << 19 | 1 << 16], EINVAL),
            ([7, 1 | 1 << 16], EINVAL), ([8], EINVAL), ([], EINVAL), ([8, 0xffff | 7 << 16], ENOTTY),
            ([8, 1 | 5 << 16], 0),
        ] as [([UInt32], Int32)])
    func badFeatures(words: [UInt32], errno: Int32) throws {
        var session = ServerSession(
            MovableDevice([]), regions: [], limits: ServerLimits(), connection: nil)
        let hello = VersionMessage(minor: 1, capabilities: Capabilities()).encoded
        func ask(_ command: MessageCommand, _ body: [UInt8]) -> Int32 {
            let header = MessageHeader(command: command, id: 1, bodySize: body.count)
            let reply = session.answer(IncomingMessage(header: header, body: body, fds: DescriptorSet()))
            return Int32(reply?.header.errno ?? .max)
        }
        #expect(ask(.version, hello) == 0)
        var body: [UInt8] = []
        for word in words { body.append(u32: word) }
        #expect(ask(.deviceFeature, body) == errno)
    }

    @Test(
        "state data that is less or more than it says, or beyond the limits, is refused",
        arguments: [
            (MessageCommand.migrationRead, [8, 9], 0), (.migrationRead, [7, 0], 0),
            (.migrationRead, [.max, 1 << 30], 0), (.migrationRead, [16, 4], 4), (.migrationWrite, [12, 4], 3),
            (.migrationWrite, [12, 4], 5),
            (.migrationWrite, [4, 0], 0), (.migrationWrite, [.max, .max], 0),
        ] as [(MessageCommand, [UInt32], Int)])
    func badData(command: MessageCommand, words: [UInt32], extra: Int) throws {
        let device = MovableDevice([1, 2, 3])
        device.state.withLock { $0.device = command == .migrationRead ? 3 : 4 }
        var session = ServerSession(device, regions: [], limits: ServerLimits(), connection: nil)
        let hello = VersionMessage(minor: 1, capabilities: Capabilities()).encoded
        for (command, words, extra) in [(MessageCommand.version, [], 0), (command, words, extra)] {
            var body: [UInt8] = command == .version ? hello : []
            for word in words { body.append(u32: word) }
            body += [UInt8](repeating: 0, count: extra)
            let header = MessageHeader(command: command, id: 1, bodySize: body.count)
            let reply = session.answer(IncomingMessage(header: header, body: body, fds: DescriptorSet()))
            #expect(reply?.header.isError == (command != .version))
        }
        #expect(device.state.withLock { $0.arriving.isEmpty && $0.place == 0 })
    }

    @Test("many writes go with one message, and with one each where the server does not take them together")
    func writesTogether() throws {
        let writes = (0..<5000).map { number in
            RegionWrite(
                region: 0, offset: UInt64(number % 500) * 8, Array(repeating: UInt8(number % 251), count: number % 9))
        }.filter { $0.offset != 0x800 }
        for isTogether in [true, false] {
            let device = MovableDevice([])
            try connected(device) { client in
                let isAgreed = client.server.writesMultiple
                #expect(isAgreed)
                client.server.writesMultiple = isTogether
                try client.write(writes)
            }
            // A write of no bytes reaches no device.
            #expect(device.state.withLock { $0.written } == writes.filter { !$0.bytes.isEmpty })
        }
    }

    @Test("of writes in one message those before the refused one are done, and its reason is told")
    func refusedWrite() throws {
        let device = MovableDevice([])
        try connected(device) { client in
            let writes = [0, 8, 0x800, 16].map { RegionWrite(region: 0, offset: $0, [1, 2]) }
            #expect(throws: VFIOUserError("REGION_WRITE", .refused, errno: ENXIO)) { try client.write(writes) }
            #expect(device.state.withLock { $0.written } == Array(writes[..<2]))
            let wide = RegionWrite(region: 0, offset: 0, [UInt8](repeating: 0, count: 9))
            #expect(throws: (any Error).self) { try client.write([wide]) }
            let isConnected = client.isConnected
            #expect(isConnected)
        }
    }
}
