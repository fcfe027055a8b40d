// Features of the device, and its state as migration takes and brings it.
extension VFIOUserClient {
    /// Whether the device has a feature, and lets it be read and written as asked.
    ///
    /// - Throws: What the connection says; that the device lacks the feature is an answer.
    public mutating func hasFeature(
        _ feature: UInt16, readable: Bool = false, writable: Bool = false
    ) throws(VFIOUserError) -> Bool {
        let request = FeatureRequest(feature, .probe(readable: readable, writable: writable))
        do throws(VFIOUserError) {
            _ = try ask(FeatureMessage(request))
            return true
        } catch {
            guard error.kind == .refused else { throw error }
            return false
        }
    }

    /// Reads a feature's data.
    ///
    /// - Parameters:
    ///   - question: What some features are asked with, as the range of a dirty bitmap.
    ///   - room: How many bytes are expected. Of more the server is asked once again; some servers refuse instead.
    /// - Throws: `.refused` with `ENOTTY` where the device lacks the feature.
    public mutating func getFeature(
        _ feature: UInt16, _ question: [UInt8] = [], room: Int = 64
    ) throws(VFIOUserError) -> [UInt8] {
        let request = FeatureRequest(feature, .get(question))
        var answer = try ask(FeatureMessage(request, room: min(room, options.dataTransfer)))
        if answer.data.count < Int(answer.argsz) - FeatureMessage.size {
            // The fixed part alone says how much the whole needs; then it is asked for once more.
            let room = Int(answer.argsz) - FeatureMessage.size
            guard room <= options.dataTransfer else {
                throw violated("DEVICE_FEATURE", "the answer is larger than anything it could hold")
            }
            answer = try ask(FeatureMessage(request, room: room))
        }
        guard answer.data.count == Int(answer.argsz) - FeatureMessage.size else {
            throw violated("DEVICE_FEATURE", "the answer has another length than it says")
        }
        return answer.data
    }

    /// Writes a feature's data.
    ///
    /// - Returns: The data as the device took it.
    /// - Throws: `.refused` with `ENOTTY` where the device lacks the feature.
    @discardableResult
    public mutating func setFeature(_ feature: UInt16, _ data: [UInt8]) throws(VFIOUserError) -> [UInt8] {
        try ask(FeatureMessage(FeatureRequest(feature, .set(data)))).data
    }

    private mutating func ask(_ request: FeatureMessage) throws(VFIOUserError) -> FeatureMessage {
        let reply = try call(.deviceFeature, request.encoded, "DEVICE_FEATURE")
        guard let answer = FeatureMessage(decoding: reply.body), answer.flags == request.flags else {
            throw violated("DEVICE_FEATURE", "the answer is of another feature")
        }
        return answer
    }

    /// Reads the next bytes of the device's state, while it is being saved.
    ///
    /// - Returns: `count` bytes, or fewer at the state's end.
    public mutating func readMigration(count: Int) throws(VFIOUserError) -> [UInt8] {
        let operation: StaticString = "MIG_DATA_READ"
        var bytes: [UInt8] = []
        while bytes.count < count {
            let part = min(count - bytes.count, chunk)
            let reply = try call(.migrationRead, MigrationDataMessage(reading: UInt32(part)).encoded, operation)
            guard let answer = MigrationDataMessage(carrier: reply.body), answer.data.count <= part else {
                throw violated(operation, "the answer has another length than it says")
            }
            bytes += answer.data
            if answer.data.count < part { break }
        }
        return bytes
    }

    /// Writes the next bytes of a state that the device is to have, while it is being restored.
    public mutating func writeMigration(_ bytes: [UInt8]) throws(VFIOUserError) {
        var done = 0
        while done < bytes.count {
            let part = bytes[done...].prefix(chunk)
            _ = try call(.migrationWrite, MigrationDataMessage(carrying: Array(part)).encoded, "MIG_DATA_WRITE")
            done += part.count
        }
    }
}
