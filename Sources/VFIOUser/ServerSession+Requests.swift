internal import CKernel
internal import InterruptModel

// Interrupts, regions and memory.
extension ServerSession {
    // MARK: Interrupts

    func setIRQs(
        _ header: MessageHeader, _ body: [UInt8], _ fds: borrowing DescriptorSet
    ) throws(DeviceError) -> ServerReply {
        guard var raw = RawIRQRequest(bytes: body), raw.header.argsz >= UInt32(IRQSetHeader.size) else {
            throw Self.invalid
        }
        let known = IRQSetHeader.dataMask | IRQSetHeader.actionMask
        guard raw.header.flags & ~known == 0, let index = IRQIndex(rawValue: raw.header.index) else {
            throw Self.invalid
        }
        // The count is bounded before anything as long is made.
        let vectors = try device.interruptInfo(index).count
        guard raw.header.start < vectors, raw.header.count <= vectors - raw.header.start else { throw Self.invalid }
        let isEventFD = raw.header.flags & IRQSetHeader.dataMask == 4
        guard fds.count == 0 || isEventFD && fds.count == Int(raw.header.count) else { throw Self.invalid }
        if isEventFD {
            // Eventfds for all vectors of the range came along, or none did, which takes them away.
            raw.payload = []
            for place in 0..<Int(raw.header.count) {
                raw.payload.append(u32: UInt32(bitPattern: fds.count == 0 ? -1 : fds.all[place]))
            }
        }
        guard let request = raw.request else {
            let oneAction = IRQRequest.Action(rawValue: raw.header.flags & IRQSetHeader.actionMask) != nil
            throw oneAction ? Self.invalid : DeviceError("SET_IRQS", errno: ENOTTY)
        }
        let available = try device.setInterrupts(request)
        // The ioctl's positive answer has no form in the protocol.
        guard available == 0 else { throw DeviceError("SET_IRQS", errno: ENOSPC) }
        device.interruptsChanged(index)
        return reply(header, [])
    }

    // MARK: Regions

    private func region(_ index: UInt32) throws(DeviceError) -> RegionDescription {
        guard index < UInt32(regions.count) else { throw Self.invalid }
        return regions[Int(index)]
    }

    func regionInfo(_ header: MessageHeader, _ body: [UInt8]) throws(DeviceError) -> ServerReply {
        guard let request = RegionInfoMessage(request: body), request.argsz >= UInt32(RegionInfoMessage.size) else {
            throw Self.invalid
        }
        let region = try region(request.index)
        var info = RegionLayout()
        info.size = region.size
        info.readable = region.size > 0 && region.readable
        info.writable = region.size > 0 && region.writable
        if region.size > 0, let memory = region.memory {
            info.mappable = true
            info.fileOffset = memory.fileOffset
            info.areas = memory.areas
        }
        let body = RegionInfoMessage.reply(info, index: request.index, room: request.argsz)
        // The descriptor goes with the whole answer only, so that a client which asks twice gets it once.
        let isWhole = body.count == RegionInfoMessage.replySize(info)
        return reply(header, body, fds: isWhole ? region.memory.map { [$0.descriptor] } ?? [] : [])
    }

    func regionIOFDs(_ header: MessageHeader, _ body: [UInt8]) throws(DeviceError) -> ServerReply {
        guard let request = RegionIOFDsMessage(request: body), request.argsz >= UInt32(RegionIOFDsMessage.size) else {
            throw Self.invalid
        }
        _ = try region(request.index)
        let room = Int(min(client?.maxMessageFDs ?? 1, UInt32(irqmux_SCM_MAX_FD)))
        var fds: [Int32] = []
        var entries: [RegionIOFD] = []
        for bell in device.doorbells(region: request.index) {
            // Descriptors may be shared by entries. What the client cannot receive is left out: its writes still reach
            // the device as REGION_WRITE.
            let place: Int
            if let known = fds.firstIndex(of: bell.descriptor) {
                place = known
            } else if fds.count < room {
                place = fds.count
                fds.append(bell.descriptor)
            } else {
                continue
            }
            let matches: UInt32 = bell.dataMatch == nil ? 0 : 1  // KVM_IOEVENTFD_FLAG_DATAMATCH
            entries.append(
                RegionIOFD(
                    offset: bell.offset, size: bell.size, fdIndex: UInt32(place), flags: matches,
                    dataMatch: bell.dataMatch ?? 0))
        }
        let body = RegionIOFDsMessage.reply(entries, index: request.index, room: request.argsz)
        let isWhole = body.count > RegionIOFDsMessage.size
        return reply(header, body, fds: isWhole ? fds : [])
    }

    private func check(_ access: RegionAccessMessage) throws(DeviceError) -> RegionDescription {
        let region = try region(access.region)
        guard Int(access.count) <= limits.dataTransfer, access.offset <= region.size,
            UInt64(access.count) <= region.size - access.offset
        else { throw Self.invalid }
        return region
    }

    func readRegion(_ header: MessageHeader, _ body: [UInt8]) throws(DeviceError) -> ServerReply {
        guard body.count == RegionAccessMessage.size, let access = RegionAccessMessage(decoding: body) else {
            throw Self.invalid
        }
        guard try check(access).readable else { throw Self.invalid }
        let data =
            access.count == 0
            ? [] : try device.read(region: access.region, offset: access.offset, count: Int(access.count))
        guard data.count == Int(access.count) else { throw DeviceError("REGION_READ", errno: EIO) }
        return reply(header, access.encoded(data: data[...]))
    }

    func writeRegion(_ header: MessageHeader, _ body: [UInt8]) throws(DeviceError) -> ServerReply {
        guard let access = RegionAccessMessage(decoding: body),
            body.count == RegionAccessMessage.size + Int(access.count)
        else { throw Self.invalid }
        try write(access, Array(body[RegionAccessMessage.size...]))
        return reply(header, access.encoded())
    }

    private func write(_ access: RegionAccessMessage, _ data: [UInt8]) throws(DeviceError) {
        guard try check(access).writable else { throw Self.invalid }
        guard access.count > 0 else { return }
        try device.write(region: access.region, offset: access.offset, data)
    }

    func writeMultiple(_ header: MessageHeader, _ body: [UInt8]) throws(DeviceError) -> ServerReply {
        guard client?.writesMultiple == true else { throw Self.unknown }
        guard let message = RegionWriteMultiMessage(decoding: body) else { throw Self.invalid }
        var done: UInt64 = 0
        do throws(DeviceError) {
            for one in message.writes {
                try write(one.access, one.bytes)
                done += 1
            }
        } catch {
            // The reply tells how many were done; with none it is an error like any other.
            guard done > 0 else { throw error }
        }
        var answer: [UInt8] = []
        answer.append(u64: done)
        return reply(header, answer)
    }

    // MARK: Memory

    func mapMemory(
        _ header: MessageHeader, _ body: [UInt8], _ fds: inout DescriptorSet
    ) throws(DeviceError) -> ServerReply {
        guard body.count == DMAMapMessage.size, let map = DMAMapMessage(decoding: body), fds.count <= 1, let memory
        else {
            throw Self.invalid
        }
        try memory.add(map, owning: fds.take(0))
        device.memoryMapped(map)
        return reply(header, [])
    }

    func unmapMemory(_ header: MessageHeader, _ body: [UInt8]) throws(DeviceError) -> ServerReply {
        guard let request = DMAUnmapMessage(decoding: body), let memory else { throw Self.invalid }
        let everything: UInt32 = 2
        switch request.flags {
        case everything:
            guard request.address == 0, request.length == 0 else { throw Self.invalid }
            for map in memory.maps { unmap(map.address, map.length, memory) }
        case 0:
            guard memory.has(request.address, request.length) else { throw DeviceError("DMA_UNMAP", errno: ENOENT) }
            unmap(request.address, request.length, memory)
        default: throw Self.unknown
        }
        return reply(header, request.encoded)
    }

    private func unmap(_ address: UInt64, _ length: UInt64, _ memory: ClientMemory) {
        device.memoryUnmapped(address: address, length: length)
        memory.remove(address, length)
    }
}
