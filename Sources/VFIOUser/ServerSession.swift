internal import CKernel
internal import InterruptModel

/// What the server answers to a command.
struct ServerReply {
    var header: MessageHeader
    var body: [UInt8] = []
    /// Descriptors that go along; they stay whoever's they are.
    var fds: [Int32] = []
}

/// What the server announces and how far it goes.
struct ServerLimits: Sendable {
    /// The most descriptors of one message.
    var messageFDs: UInt32 = 16
    /// The most data bytes of one access.
    var dataTransfer: Int = 1 << 20
    /// The most DMA mappings.
    var dmaMaps: Int = 65535

    /// The largest message: the data, and the largest fixed part in front of it.
    var messageSize: Int { dataTransfer + 32 }
}

/// The protocol of one client, without the socket: a command in, a reply out.
struct ServerSession: ~Copyable {
    // Not generic: the server is compiled without the device, and would look its type up for every message.
    let device: any MediatedDevice
    let regions: [RegionDescription]
    let limits: ServerLimits
    let connection: Connection?
    private(set) var client: Capabilities?
    private(set) var memory: ClientMemory?
    /// The client has lost step, or was told that there is nothing to talk about: its connection ends.
    private(set) var mustEnd = false
    private(set) var refused: UInt64 = 0

    init(_ device: any MediatedDevice, regions: [RegionDescription], limits: ServerLimits, connection: Connection?) {
        self.device = device
        self.regions = regions
        self.limits = limits
        self.connection = connection
    }

    /// Answers a message; `nil` where no reply is due. Descriptors that are not kept are closed with the message.
    mutating func answer(_ message: consuming IncomingMessage) -> ServerReply? {
        let header = message.header
        // A reply that nobody waits for: too late, or made up. It was read whole, so the stream is in step.
        if header.isReply { return nil }
        var reply: ServerReply
        do throws(DeviceError) {
            guard header.isCommand, !header.isError else { throw Self.invalid }
            reply = try answer(header, &message)
        } catch {
            refused += 1
            reply = ServerReply(header: header.failure(error.errno > 0 ? error.errno : EIO))
        }
        return header.wantsNoReply ? nil : reply
    }

    private mutating func answer(
        _ header: MessageHeader, _ message: inout IncomingMessage
    ) throws(DeviceError) -> ServerReply {
        guard let command = MessageCommand(rawValue: header.command) else { throw Self.unknown }
        guard command == .version || client != nil else {
            mustEnd = true
            throw DeviceError("VERSION", errno: EINVAL, remedy: "VERSION comes first")
        }
        guard message.fds.count == 0 || command == .setIRQs || command == .dmaMap else { throw Self.invalid }
        let body = message.body
        switch command {
        case .version: return try negotiate(header, body)
        case .dmaMap: return try mapMemory(header, body, &message.fds)
        case .dmaUnmap: return try unmapMemory(header, body)
        case .deviceInfo: return try deviceInfo(header, body)
        case .regionInfo: return try regionInfo(header, body)
        case .regionIOFDs: return try regionIOFDs(header, body)
        case .irqInfo: return try irqInfo(header, body)
        case .setIRQs: return try setIRQs(header, body, message.fds)
        case .regionRead: return try readRegion(header, body)
        case .regionWrite: return try writeRegion(header, body)
        case .regionWriteMulti: return try writeMultiple(header, body)
        case .reset:
            try device.reset()
            return ServerReply(header: header.reply(bodySize: 0))
        case .deviceFeature: return try feature(header, body)
        case .migrationRead: return try readMigration(header, body)
        case .migrationWrite: return try writeMigration(header, body)
        case .dmaRead, .dmaWrite: throw Self.unknown
        }
    }

    static var invalid: DeviceError { DeviceError("command", errno: EINVAL) }
    static var unknown: DeviceError { DeviceError("command", errno: ENOTSUP) }

    func reply(_ header: MessageHeader, _ body: [UInt8], fds: [Int32] = []) -> ServerReply {
        ServerReply(header: header.reply(bodySize: body.count), body: body, fds: fds)
    }

    // MARK: Beginning and end

    private mutating func negotiate(_ header: MessageHeader, _ body: [UInt8]) throws(DeviceError) -> ServerReply {
        // A second VERSION would change limits under requests that are on their way.
        guard client == nil else { throw Self.invalid }
        guard let proposal = VersionMessage(decoding: body), proposal.major == VersionMessage.spoken.major else {
            mustEnd = true
            throw DeviceError("VERSION", errno: EINVAL, remedy: "this server speaks major version 0")
        }
        client = proposal.capabilities
        var ours = Capabilities()
        ours.maxMessageFDs = limits.messageFDs
        ours.maxDataTransfer = UInt64(limits.dataTransfer)
        ours.maxDMAMaps = UInt64(limits.dmaMaps)
        ours.writesMultiple = proposal.capabilities.writesMultiple
        var fds: [Int32] = []
        if proposal.capabilities.twinSocket, proposal.capabilities.maxMessageFDs > 0, let connection {
            let peer = connection.makeTwin()
            if peer >= 0 {
                fds = [peer]
                ours.twinSocket = true
                ours.twinSocketIndex = 0
            }
        }
        let memory = ClientMemory(
            connection: connection,
            chunk: Int(min(proposal.capabilities.maxDataTransfer, UInt64(limits.dataTransfer))),
            limit: limits.dmaMaps)
        self.memory = memory
        device.enabled(memory: memory)
        let minor = min(proposal.minor, VersionMessage.spoken.minor)
        return reply(header, VersionMessage(minor: minor, capabilities: ours).encoded, fds: fds)
    }

    /// The client is gone: its memory is unmapped, its eventfds are closed, and the device keeps the rest of its state.
    mutating func end() {
        guard let memory else { return }
        device.releaseInterrupts()
        memory.close()
        device.disabled()
        self.memory = nil
    }

    // MARK: Description

    private func deviceInfo(_ header: MessageHeader, _ body: [UInt8]) throws(DeviceError) -> ServerReply {
        var reader = WireReader(body)
        guard let argsz = reader.u32(), body.count >= DeviceInfo.size, argsz >= UInt32(DeviceInfo.size) else {
            throw Self.invalid
        }
        let isPCIWithReset: UInt32 = 3
        return reply(
            header,
            DeviceInfo(
                flags: isPCIWithReset, regions: UInt32(regions.count),
                interruptIndexes: UInt32(IRQIndex.allCases.count)
            ).encoded)
    }

    private func irqInfo(_ header: MessageHeader, _ body: [UInt8]) throws(DeviceError) -> ServerReply {
        guard let request = IRQInfoMessage(decoding: body), request.argsz >= UInt32(IRQInfoMessage.size),
            let index = IRQIndex(rawValue: request.index)
        else { throw Self.invalid }
        return reply(header, IRQInfoMessage(try device.interruptInfo(index), index: index).encoded)
    }
}
