internal import CKernel
public import InterruptModel

// Description, regions, memory and reset.
extension VFIOUserClient {
    /// What the device is.
    public mutating func deviceInfo() throws(VFIOUserError) -> DeviceInfo {
        let operation: StaticString = "DEVICE_GET_INFO"
        let reply = try call(.deviceInfo, DeviceInfo().encoded, operation)
        guard let info = DeviceInfo(decoding: reply.body), info.regions <= 256, info.interruptIndexes <= 256 else {
            throw violated(operation, "the answer makes no sense")
        }
        return info
    }

    /// What the device says of the interrupts of `index`.
    public mutating func interruptInfo(_ index: IRQIndex) throws(VFIOUserError) -> IRQInfo {
        let operation: StaticString = "GET_IRQ_INFO"
        let reply = try call(.irqInfo, IRQInfoMessage(index: index.rawValue).encoded, operation)
        guard let answer = IRQInfoMessage(decoding: reply.body), answer.index == index.rawValue else {
            throw violated(operation, "the answer is of another index")
        }
        guard answer.count <= Self.most(index) else {
            throw violated(operation, "the device states more vectors than PCI has")
        }
        return answer.info
    }

    private static func most(_ index: IRQIndex) -> UInt32 {
        switch index {
        case .intx, .err, .req: 1
        case .msi: DeviceProfile.mostMSIVectors
        case .msix: DeviceProfile.mostMSIXVectors
        }
    }

    /// What the device says of a region, and, where clients may map it, its file.
    public mutating func region(_ index: UInt32) throws(VFIOUserError) -> ClientRegion {
        let operation: StaticString = "GET_REGION_INFO"
        var room = UInt32(RegionInfoMessage.size)
        while true {
            let request = RegionInfoMessage(index: index, argsz: room)
            let reply = try call(.regionInfo, request.encodedRequest, operation)
            guard let answer = RegionInfoMessage(reply: reply.body), answer.index == index else {
                throw violated(operation, "the answer contradicts itself")
            }
            // The fixed part alone says how much the whole needs; then it is asked for once more.
            if answer.argsz > room, room == UInt32(RegionInfoMessage.size) {
                guard answer.argsz <= UInt32(options.dataTransfer) else {
                    throw violated(operation, "the answer is larger than anything it could hold")
                }
                room = answer.argsz
                continue
            }
            guard answer.argsz <= room else { throw violated(operation, "the answer grows each time") }
            return ClientRegion(index: index, info: answer.info, descriptor: reply.take(0))
        }
    }

    /// The doorbells of a region that a VMM can hand to KVM, with their descriptors.
    public mutating func doorbells(region index: UInt32) throws(VFIOUserError) -> ClientDoorbells {
        let operation: StaticString = "GET_REGION_IO_FDS"
        var room = UInt32(RegionIOFDsMessage.size)
        while true {
            let request = RegionIOFDsMessage(index: index, argsz: room)
            let reply = try call(.regionIOFDs, request.encodedRequest, operation)
            guard let answer = RegionIOFDsMessage(reply: reply.body, fds: reply.count), answer.index == index else {
                throw violated(operation, "the answer contradicts itself")
            }
            if answer.argsz > room, room == UInt32(RegionIOFDsMessage.size) {
                guard answer.argsz <= UInt32(options.dataTransfer) else {
                    throw violated(operation, "the answer is larger than anything it could hold")
                }
                room = answer.argsz
                continue
            }
            guard answer.argsz <= room else { throw violated(operation, "the answer grows each time") }
            return ClientDoorbells(entries: answer.entries, reply.takeAll())
        }
    }

    /// Reads `count` bytes of a region.
    public mutating func read(region: UInt32, offset: UInt64, count: Int) throws(VFIOUserError) -> [UInt8] {
        let operation: StaticString = "REGION_READ"
        var bytes: [UInt8] = []
        while bytes.count < count {
            let part = min(count - bytes.count, chunk)
            let access = RegionAccessMessage(
                region: region, offset: offset &+ UInt64(bytes.count), count: UInt32(part))
            let reply = try call(.regionRead, access.encoded(), operation)
            guard RegionAccessMessage(decoding: reply.body) == access,
                reply.body.count == RegionAccessMessage.size + part
            else { throw violated(operation, "the answer is of another access") }
            bytes += reply.body[RegionAccessMessage.size...]
        }
        return bytes
    }

    /// Writes bytes of a region.
    public mutating func write(region: UInt32, offset: UInt64, _ bytes: [UInt8]) throws(VFIOUserError) {
        let operation: StaticString = "REGION_WRITE"
        var done = 0
        while done < bytes.count {
            let part = bytes[done...].prefix(chunk)
            let access = RegionAccessMessage(
                region: region, offset: offset &+ UInt64(done), count: UInt32(part.count))
            let reply = try call(.regionWrite, access.encoded(data: part), operation)
            guard RegionAccessMessage(decoding: reply.body) == access else {
                throw violated(operation, "the answer is of another access")
            }
            done += part.count
        }
    }

    var chunk: Int { Int(min(server.maxDataTransfer, UInt64(options.dataTransfer))) }

    /// Resets the device's function.
    public mutating func reset() throws(VFIOUserError) { _ = try call(.reset, [], "DEVICE_RESET") }

    // MARK: Memory

    /// Lets the device reach memory: a file that can be read and written at an offset, as a memfd.
    ///
    /// - Parameters:
    ///   - descriptor: The file; duplicated, so the caller may close his own.
    ///   - isShared: Hands the file to the server. Otherwise the server asks for every access, which is answered
    ///     whenever this client waits for something.
    public mutating func mapMemory(
        _ map: DMAMapMessage, descriptor: Int32, isShared: Bool = true
    ) throws(VFIOUserError) {
        let operation: StaticString = "DMA_MAP"
        let copy = irqmux_duplicate(descriptor)
        guard copy >= 0 else { throw .system(operation, Int(copy)) }
        do throws(DeviceError) { try memory.add(map, owning: copy) } catch {
            throw VFIOUserError(operation, .system, errno: error.errno, remedy: "map whole pages of the file, once")
        }
        let shares = isShared && server.maxMessageFDs > 0
        do throws(VFIOUserError) {
            _ = try call(.dmaMap, map.encoded, fds: shares ? [copy] : [], operation)
        } catch {
            memory.remove(map.address, map.length)
            throw error
        }
        // The copy is the memory's to close, and stays open as long as the mapping is remembered here.
        maps.append(SharedMap(map: map, descriptor: copy, isShared: shares))
    }

    /// Takes memory away from the device: a mapping as it was made.
    public mutating func unmapMemory(address: UInt64, length: UInt64) throws(VFIOUserError) {
        let operation: StaticString = "DMA_UNMAP"
        guard let place = maps.firstIndex(where: { $0.map.address == address && $0.map.length == length }) else {
            throw VFIOUserError(operation, .system, errno: ENOENT, remedy: "unmap what was mapped, as it was mapped")
        }
        let request = DMAUnmapMessage(address: address, length: length)
        let reply = try call(.dmaUnmap, request.encoded, operation)
        // Some servers leave the body out (digest 2.8, 12).
        if let answer = DMAUnmapMessage(decoding: reply.body), answer.address != address || answer.length != length {
            throw violated(operation, "the answer is of other memory")
        }
        maps.remove(at: place)
        memory.remove(address, length)
    }
}
