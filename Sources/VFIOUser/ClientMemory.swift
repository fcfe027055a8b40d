internal import CKernel
public import InterruptModel
internal import Synchronization

/// The memory of a client as far as it mapped any for the device. Valid while the client is there; afterwards every
/// access is `ENOTCONN`.
///
/// Memory that came with a descriptor is read and written by pread(2) and pwrite(2), never through a mapping: a client
/// that cuts its file short gets an error and not the server a SIGBUS. Other memory is asked for by DMA_READ and
/// DMA_WRITE. Every call may be made from any thread; one that asks the client waits for its answer.
public final class ClientMemory: Sendable {
    private struct Mapping: Sendable {
        var map: DMAMapMessage
        /// −1 for memory that has to be asked for.
        var descriptor: Int32

        func offset(of address: UInt64) -> UInt64 { map.fileOffset + (address - map.address) }
    }

    private struct State: ~Copyable {
        /// By address, none of them overlapping.
        var mappings: [Mapping] = []
        var isOpen = true
    }

    private let state = Mutex(State())
    private let connection: Connection?
    /// The most bytes the client takes in one message.
    private let chunk: Int
    private let limit: Int

    init(connection: Connection?, chunk: Int, limit: Int) {
        self.connection = connection
        self.chunk = chunk
        self.limit = limit
    }

    deinit { close() }

    /// How many mappings there are.
    public var mappingCount: Int { state.withLock { $0.mappings.count } }

    /// Reads `count` bytes at `address` as the device sees it.
    ///
    /// - Throws: `EFAULT` where nothing is mapped or the client's file ends before; `EACCES` where it is mapped for
    ///   writing only; `ENOTCONN`, `ETIMEDOUT` and the client's errno where it has to be asked.
    public func read(_ address: UInt64, count: Int) throws(DeviceError) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(min(count, 1 << 20))
        while bytes.count < count {
            bytes += try readPart(address &+ UInt64(bytes.count), count - bytes.count)
        }
        return bytes
    }

    /// Writes `bytes` at `address` as the device sees it.
    ///
    /// - Throws: As `read`; what comes before the failure may have been written.
    public func write(_ address: UInt64, _ bytes: [UInt8]) throws(DeviceError) {
        var done = 0
        while done < bytes.count { done += try writePart(address &+ UInt64(done), bytes[done...]) }
    }

    private func readPart(_ address: UInt64, _ count: Int) throws(DeviceError) -> [UInt8] {
        let shared = try state.withLock { (state) throws(DeviceError) -> [UInt8]? in
            let (mapping, length) = try Self.locate(&state, address, count)
            guard mapping.map.readable else { throw Self.forbidden }
            guard mapping.descriptor >= 0 else { return nil }
            var bytes = [UInt8](repeating: 0, count: length)
            // SAFETY: the array has `length` bytes and lives for the call.
            let result = unsafe bytes.withUnsafeMutableBytes { buffer in
                unsafe irqmux_fd_read_at(mapping.descriptor, buffer.baseAddress, length, mapping.offset(of: address))
            }
            guard result == 0 else { throw DeviceError("DMA", errno: -result, remedy: "the client cut its file short") }
            return bytes
        }
        if let shared { return shared }
        let length = min(count, chunk)
        let request = DMAAccessMessage(address: address, count: UInt64(length)).encoded()
        let reply = try ask(.dmaRead, request, DMAAccessMessage.size + length)
        guard reply.count == DMAAccessMessage.size + length else { throw Self.lied }
        return Array(reply[DMAAccessMessage.size...])
    }

    private func writePart(_ address: UInt64, _ bytes: ArraySlice<UInt8>) throws(DeviceError) -> Int {
        let written = try state.withLock { (state) throws(DeviceError) -> Int in
            let (mapping, length) = try Self.locate(&state, address, bytes.count)
            guard mapping.map.writable else { throw Self.forbidden }
            guard mapping.descriptor >= 0 else { return 0 }
            // SAFETY: the slice has at least `length` bytes and lives for the call.
            let result = unsafe bytes.withUnsafeBytes { buffer in
                unsafe irqmux_fd_write_at(mapping.descriptor, buffer.baseAddress, length, mapping.offset(of: address))
            }
            guard result == 0 else { throw DeviceError("DMA", errno: -result, remedy: "the client cut its file short") }
            return length
        }
        if written > 0 { return written }
        let part = bytes.prefix(chunk)
        let request = DMAAccessMessage(address: address, count: UInt64(part.count)).encoded(data: part)
        let reply = try ask(.dmaWrite, request, DMAAccessMessage.size)
        // Some clients leave the body of this reply out; one that is there must agree.
        if let answer = DMAAccessMessage(decoding: reply) {
            guard answer.count == UInt64(part.count) else { throw Self.lied }
        }
        return part.count
    }

    private func ask(_ command: MessageCommand, _ body: [UInt8], _ limit: Int) throws(DeviceError) -> [UInt8] {
        guard let connection else { throw DeviceError("DMA", errno: ENOTCONN) }
        return try connection.exchange(command, body, replyLimit: limit)
    }

    private static var forbidden: DeviceError {
        DeviceError("DMA", errno: EACCES, remedy: "the client mapped it for the other direction")
    }
    private static var lied: DeviceError { DeviceError("DMA", errno: EPROTO, remedy: "the client answered otherwise") }

    /// The mapping at `address`, and how much of `count` lies in it.
    private static func locate(
        _ state: inout State, _ address: UInt64, _ count: Int
    ) throws(DeviceError) -> (Mapping, Int) {
        guard state.isOpen else { throw DeviceError("DMA", errno: ENOTCONN, remedy: "the client is gone") }
        for mapping in state.mappings where address >= mapping.map.address {
            let into = address - mapping.map.address
            guard into < mapping.map.length else { continue }
            let room = mapping.map.length - into
            return (mapping, room < UInt64(count) ? Int(room) : count)
        }
        throw DeviceError("DMA", errno: EFAULT, remedy: "the client has nothing mapped there")
    }

    // MARK: For the server

    /// Takes a mapping over, with its descriptor or −1.
    func add(_ map: DMAMapMessage, owning descriptor: Int32) throws(DeviceError) {
        do throws(DeviceError) {
            try state.withLock { (state) throws(DeviceError) in
                try Self.check(map, descriptor)
                for other in state.mappings.map(\.map) where map.overlaps(other) {
                    let same = map.address == other.address && map.length == other.length
                    throw DeviceError("DMA_MAP", errno: same ? EEXIST : EINVAL)
                }
                guard state.mappings.count < limit else { throw DeviceError("DMA_MAP", errno: ENOSPC) }
                state.mappings.append(Mapping(map: map, descriptor: descriptor))
            }
        } catch {
            if descriptor >= 0 { _ = irqmux_close(descriptor) }
            throw error
        }
    }

    private static func check(_ map: DMAMapMessage, _ descriptor: Int32) throws(DeviceError) {
        let page: UInt64 = 4095
        let end = map.address.addingReportingOverflow(map.length &- 1)
        guard map.length > 0, !end.overflow, (map.address | map.length | map.fileOffset) & page == 0 else {
            throw DeviceError("DMA_MAP", errno: EINVAL)
        }
        guard descriptor >= 0 else { return }
        let size = irqmux_fd_memory_size(descriptor)
        guard size >= 0 else { throw DeviceError("DMA_MAP", errno: Int32(truncatingIfNeeded: -size)) }
        guard map.fileOffset <= UInt64(size), map.length <= UInt64(size) - map.fileOffset else {
            throw DeviceError("DMA_MAP", errno: EINVAL)
        }
    }

    /// Whether exactly this range is mapped.
    func has(_ address: UInt64, _ length: UInt64) -> Bool {
        state.withLock { $0.mappings.contains { $0.map.address == address && $0.map.length == length } }
    }

    /// Every mapping.
    var maps: [DMAMapMessage] { state.withLock { $0.mappings.map(\.map) } }

    func remove(_ address: UInt64, _ length: UInt64) {
        state.withLock { state in
            guard
                let place = state.mappings.firstIndex(where: {
                    $0.map.address == address && $0.map.length == length
                })
            else { return }
            let mapping = state.mappings.remove(at: place)
            if mapping.descriptor >= 0 { _ = irqmux_close(mapping.descriptor) }
        }
    }

    /// The client is gone.
    func close() {
        state.withLock { state in
            for mapping in state.mappings where mapping.descriptor >= 0 { _ = irqmux_close(mapping.descriptor) }
            state.mappings = []
            state.isOpen = false
        }
    }
}

extension DMAMapMessage {
    fileprivate func overlaps(_ other: DMAMapMessage) -> Bool {
        address <= other.address &+ (other.length &- 1) && other.address <= address &+ (length &- 1)
    }
}
