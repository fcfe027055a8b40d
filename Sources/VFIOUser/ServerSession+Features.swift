internal import CKernel
internal import InterruptModel

// Features, and the device's state. What they mean is the device's; here is what the protocol asks of any of them.
extension ServerSession {
    func feature(_ header: MessageHeader, _ body: [UInt8]) throws(DeviceError) -> ServerReply {
        guard let message = FeatureMessage(decoding: body), let request = message.request else { throw Self.invalid }
        let data = try device.feature(request)
        var answer = message
        switch request.action {
        case .probe: break
        case .set: answer.data = data
        case .get:
            let needed = FeatureMessage.size + data.count
            guard needed <= limits.dataTransfer else { throw DeviceError("DEVICE_FEATURE", errno: EIO) }
            // With too little room the fixed part says how much is needed, as with other descriptions.
            answer.data = needed <= Int(message.argsz) ? data : []
            answer.argsz = UInt32(needed)
        }
        return reply(header, answer.encoded)
    }

    func readMigration(_ header: MessageHeader, _ body: [UInt8]) throws(DeviceError) -> ServerReply {
        guard let request = MigrationDataMessage(request: body), Int(request.count) <= limits.dataTransfer else {
            throw Self.invalid
        }
        let data = try device.readMigration(count: Int(request.count))
        guard data.count <= Int(request.count) else { throw DeviceError("MIG_DATA_READ", errno: EIO) }
        return reply(header, MigrationDataMessage(carrying: data).encoded)
    }

    func writeMigration(_ header: MessageHeader, _ body: [UInt8]) throws(DeviceError) -> ServerReply {
        guard let message = MigrationDataMessage(carrier: body), message.data.count <= limits.dataTransfer else {
            throw Self.invalid
        }
        try device.writeMigration(message.data)
        return reply(header, [])
    }
}
