import CKernel
import EventRing
import Exerciser
import InterruptModel
import ServedExerciser

@testable import VFIOUser

/// Every decoder, fed the same bytes. What it takes it must be able to say again.
enum DecoderTarget {
    static func run(_ bytes: [UInt8]) {
        if let header = MessageHeader(decoding: bytes) {
            precondition(header.encoded == Array(bytes.prefix(MessageHeader.size)))
        }
        if let version = VersionMessage(decoding: bytes) {
            let again = VersionMessage(decoding: version.encoded)
            // A twin socket that is not supported is not said again.
            precondition(again?.capabilities.maxMessageFDs == version.capabilities.maxMessageFDs)
            precondition(again?.capabilities.maxDataTransfer == version.capabilities.maxDataTransfer)
        }
        _ = Capabilities(json: bytes[...])
        _ = DeviceInfo(decoding: bytes)
        _ = IRQInfoMessage(decoding: bytes)
        _ = DMAMapMessage(decoding: bytes)
        _ = DMAUnmapMessage(decoding: bytes)
        _ = RegionAccessMessage(decoding: bytes)
        _ = DMAAccessMessage(decoding: bytes)
        if let writes = RegionWriteMultiMessage(decoding: bytes) {
            precondition(RegionWriteMultiMessage(decoding: writes.encoded) == writes)
        }
        if let feature = FeatureMessage(decoding: bytes) {
            precondition(feature.encoded == bytes)
            // What is asked is all that the flags say.
            if let request = feature.request { precondition(FeatureMessage(request).flags == feature.flags) }
        }
        if let data = MigrationDataMessage(request: bytes) { precondition(data.count <= data.argsz) }
        if let data = MigrationDataMessage(carrier: bytes) { precondition(data.data.count == Int(data.count)) }
        if let region = RegionInfoMessage(reply: bytes) {
            for area in region.info.areas { precondition(area.offset + area.length <= region.info.size) }
        }
        if let bells = RegionIOFDsMessage(reply: bytes, fds: 3) {
            for entry in bells.entries { precondition((entry.fdIndex ?? 0) < 3) }
        }
        _ = RawIRQRequest(bytes: bytes)?.request
    }
}

/// A device with few of everything.
final class FuzzDevice: MediatedDevice {
    let lines: InterruptLines? = InterruptLines(DeviceProfile(hasINTx: true, msiVectors: 4, msixVectors: 16))
    var regions: [RegionDescription] {
        (0..<9).map { RegionDescription(size: $0 == 0 ? 4096 : $0 == 7 ? 256 : 0, writable: $0 != 7) }
    }

    func read(region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> [UInt8] {
        precondition(offset + UInt64(count) <= 4096)
        return [UInt8](repeating: 0, count: count)
    }

    func write(region: UInt32, offset: UInt64, _ bytes: [UInt8]) throws(DeviceError) {
        precondition(region == 0 && offset + UInt64(bytes.count) <= 4096)
        if let first = bytes.first { lines?.raise(Vector(.msix, UInt32(first) % 16)) }
        if offset == 8 { lines?.raise(Vector(.intx, 0)) }
    }

    func reset() throws(DeviceError) { lines?.reset() }

    /// Feature n says as many bytes as its number, whatever room there is, and migration takes and gives what is asked.
    func feature(_ request: FeatureRequest) throws(DeviceError) -> [UInt8] {
        guard request.feature < 9000 else { throw DeviceError("feature", errno: ENOTTY) }
        if case .set(let data) = request.action { return data }
        return [UInt8](repeating: 7, count: Int(request.feature))
    }

    func readMigration(count: Int) throws(DeviceError) -> [UInt8] {
        precondition(count <= 8192)
        return [UInt8](repeating: 7, count: count)
    }

    func writeMigration(_ bytes: [UInt8]) throws(DeviceError) { precondition(bytes.count <= 8192) }
}

/// The server's state machine, fed a client's stream in pieces: for each piece a byte that says how many descriptors
/// come with it and what they are, a byte for its length, and the piece.
enum ServerTarget {
    /// The framework with a device that is hardly one.
    static func runFramework(_ input: [UInt8]) {
        let device = FuzzDevice()
        run(input, device)
        precondition(device.lines?.activeType == nil)
    }

    /// The Exerciser: its registers, plans, doorbells and stamps, and its own state machine of interrupts.
    static func runExerciser(_ input: [UInt8]) {
        var configuration = ExerciserConfiguration(intx: 1, msi: 4, msix: 16)
        configuration.dialect = .vfioUser
        guard let exerciser = try? Exerciser(configuration) else { return }
        run(input, ExerciserService(exerciser))
        for number in 0..<16 as Range<UInt32> {
            precondition(exerciser.ledger(Vector(.msix, number)).unexplained == 0)
        }
    }

    private static func run(_ input: [UInt8], _ device: some MediatedDevice) {
        var session = ServerSession(
            device, regions: device.regions, limits: ServerLimits(messageFDs: 8, dataTransfer: 8192, dmaMaps: 4),
            connection: nil)
        var assembler = MessageAssembler(limit: 8192 + 32)
        // Most inputs would end at the first message: a client that has negotiated is the interesting one.
        var capabilities = Capabilities()
        capabilities.maxMessageFDs = 8
        capabilities.writesMultiple = true
        let hello = VersionMessage(minor: 1, capabilities: capabilities).encoded
        _ = session.answer(
            IncomingMessage(
                header: MessageHeader(command: .version, id: 0, bodySize: hello.count), body: hello,
                fds: DescriptorSet()))
        var place = 0
        while place + 2 <= input.count, !session.mustEnd {
            let kind = input[place]
            var piece = input[(place + 2)...].prefix(Int(input[place + 1]))
            place += 2 + piece.count
            var fds = descriptors(kind)
            while true {
                guard case .wants(let length) = assembler.step(), !piece.isEmpty || !fds.isEmpty else { break }
                assembler.receive(piece.prefix(length), fds: fds)
                fds = []
                piece = piece.dropFirst(length)
                if case .complete = assembler.step(), let message = assembler.take() {
                    let wantsNoReply = message.header.wantsNoReply
                    if let reply = session.answer(message) {
                        precondition(!wantsNoReply && Int(reply.header.messageSize) == 16 + reply.body.count)
                        precondition(!reply.header.isError || reply.body.isEmpty && reply.fds.isEmpty)
                    }
                }
            }
            for fd in fds { _ = irqmux_close(fd) }
            if case .badSize = assembler.step() { break }
        }
        session.end()
    }

    /// Up to seven descriptors: eventfds, blocking ones, memory, and what nobody wants.
    private static func descriptors(_ kind: UInt8) -> [Int32] {
        (0..<Int(kind & 7)).map { _ in
            switch kind >> 3 & 3 {
            case 0: irqmux_eventfd_create(0)
            case 1: eventfd(0, Int32(EFD_CLOEXEC))
            case 2: irqmux_memory_create(8192, false)
            default: irqmux_duplicate(2)
            }
        }
    }
}

/// The client, told by its server what the input says, whatever it asked.
enum ClientTarget {
    static func run(_ input: [UInt8]) {
        var pair: (Int32, Int32) = (-1, -1)
        // SAFETY: a pair of 32-bit numbers is laid out as an array of two.
        let result = unsafe withUnsafeMutableBytes(of: &pair) { bytes in
            // SAFETY: as above, for the call.
            unsafe irqmux_socket_pair(bytes.baseAddress!.assumingMemoryBound(to: Int32.self))
        }
        guard result == 0 else { return }
        let server = MessageSocket(owning: pair.1)
        // The greeting is right, so that the rest is reached; ids count up from 0 as the client's do.
        var hello = VersionMessage(minor: 1, capabilities: Capabilities()).encoded
        hello = MessageHeader(id: 0, command: 1, messageSize: UInt32(16 + hello.count), flags: 1).encoded + hello
        _ = server.send((hello + input)[...], fds: [])
        _ = shutdown(server.number, Int32(SHUT_WR))
        var options = ClientOptions()
        options.timeoutNs = 200_000_000
        options.dataTransfer = 8192
        do throws(VFIOUserError) {
            var client = try VFIOUserClient.adopting(pair.0, options: options)
            while client.isConnected { try everything(&client) }
        } catch {
            precondition(error.errno > 0)
        }
    }

    private static func everything(_ client: inout VFIOUserClient) throws(VFIOUserError) {
        func attempt(_ body: (inout VFIOUserClient) throws(VFIOUserError) -> Void) throws(VFIOUserError) {
            do throws(VFIOUserError) { try body(&client) } catch {
                guard error.kind == .refused || error.kind == .system else { throw error }
            }
        }
        try attempt { (client) throws(VFIOUserError) in _ = try client.deviceInfo() }
        try attempt { (client) throws(VFIOUserError) in _ = try client.interruptInfo(.msix) }
        try attempt { (client) throws(VFIOUserError) in _ = try client.region(0) }
        try attempt { (client) throws(VFIOUserError) in _ = try client.doorbells(region: 0) }
        try attempt { (client) throws(VFIOUserError) in _ = try client.read(region: 0, offset: 0, count: 4) }
        try attempt { (client) throws(VFIOUserError) in try client.write(region: 0, offset: 0, [1, 2, 3, 4]) }
        try attempt { (client) throws(VFIOUserError) in
            try client.setInterrupts(IRQRequest(.msix, .trigger, .eventfd([-1, -1])))
        }
        try attempt { (client) throws(VFIOUserError) in try client.reset() }
        try attempt { (client) throws(VFIOUserError) in _ = try client.hasFeature(1) }
        try attempt { (client) throws(VFIOUserError) in _ = try client.getFeature(8, [1], room: 8) }
        try attempt { (client) throws(VFIOUserError) in _ = try client.setFeature(2, [3]) }
        try attempt { (client) throws(VFIOUserError) in _ = try client.readMigration(count: 9) }
        try attempt { (client) throws(VFIOUserError) in try client.writeMigration([1, 2]) }
        try attempt { (client) throws(VFIOUserError) in
            try client.write([0, 8].map { RegionWrite(region: 0, offset: $0, [1]) })
        }
    }
}
