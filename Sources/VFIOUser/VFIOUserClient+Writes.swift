internal import CKernel

// Several registers at once.
extension VFIOUserClient {
    /// Writes several registers, in their order: with one message each 4096 where the server takes them together, else
    /// one after the other.
    ///
    /// - Throws: What the device says of the first that it refuses; those before it are done, those behind are not.
    public mutating func write(_ writes: [RegionWrite]) throws(VFIOUserError) {
        guard writes.allSatisfy({ $0.bytes.count <= 8 }) else {
            throw VFIOUserError(
                "REGION_WRITE_MULTI", .system, errno: EINVAL, remedy: "a register has eight bytes at most")
        }
        var rest = writes[...]
        let room = max(1, (chunk - RegionWriteMultiMessage.size) / RegionWriteMultiMessage.writeSize)
        while let first = rest.first {
            let part = rest.prefix(min(RegionWriteMultiMessage.most, room))
            guard server.writesMultiple, part.count > 1 else {
                try write(region: first.region, offset: first.offset, first.bytes)
                rest = rest.dropFirst()
                continue
            }
            rest = rest.dropFirst(try writeTogether(Array(part)))
        }
    }

    /// - Returns: How many were done.
    private mutating func writeTogether(_ writes: [RegionWrite]) throws(VFIOUserError) -> Int {
        let operation: StaticString = "REGION_WRITE_MULTI"
        let reply = try call(.regionWriteMulti, RegionWriteMultiMessage(writes).encoded, operation)
        var reader = WireReader(reply.body)
        guard let done = reader.u64(), done <= UInt64(writes.count) else {
            throw violated(operation, "the answer counts more writes than there were")
        }
        guard done < UInt64(writes.count) else { return writes.count }
        // The count does not say why it ended there. The device refused this one, and says why when it comes alone.
        let refused = writes[Int(done)]
        try write(region: refused.region, offset: refused.offset, refused.bytes)
        return Int(done) + 1
    }
}
