internal import CKernel

/// A region as the server describes it, with its file where clients may map it.
public struct ClientRegion: ~Copyable, Sendable {
    /// Which region.
    public let index: UInt32
    /// What the server says of it.
    public let info: RegionLayout
    private let descriptor: Int32

    init(index: UInt32, info: RegionLayout, descriptor: Int32) {
        self.index = index
        self.info = info
        self.descriptor = descriptor
    }

    deinit { if descriptor >= 0 { _ = irqmux_close(descriptor) } }

    /// Whether some of it can be reached without asking the server.
    public var hasMemory: Bool { info.mappable && descriptor >= 0 }

    /// Whether `count` bytes at `offset` can be reached without asking the server.
    public func covers(_ offset: UInt64, _ count: Int) -> Bool {
        guard hasMemory, offset <= info.size, UInt64(count) <= info.size - offset else { return false }
        if info.areas.isEmpty { return true }
        return info.areas.contains { area in
            offset >= area.offset && offset - area.offset <= area.length
                && UInt64(count) <= area.length - (offset - area.offset)
        }
    }

    /// Maps part of the region into memory: whole pages of what `covers`.
    ///
    /// - Throws: `ENOTSUP` for a file that its owner could cut short under the mapping (it is not sealed with
    ///   F_SEAL_SHRINK): a load would then end this process. `peek` and `poke` reach such a region all the same.
    public func map(offset: UInt64, length: Int) throws(VFIOUserError) -> ClientMapping {
        let operation: StaticString = "mapping a region"
        let start = info.fileOffset.addingReportingOverflow(offset)
        guard covers(offset, length), length > 0, !start.overflow else {
            throw VFIOUserError(operation, .system, errno: EINVAL, remedy: "map what the server lets clients map")
        }
        // SAFETY: only a place to hold the address that the call gives.
        var address: UnsafeMutableRawPointer?
        // SAFETY: the variable lives for the call.
        let result = unsafe irqmux_fd_map(descriptor, start.partialValue, length, info.writable, &address)
        guard result == 0, let address = unsafe address else {
            throw .system(operation, Int(result), "read and write it by peek and poke, or through the server")
        }
        // SAFETY: the mapping has `length` bytes and becomes the owner's.
        return unsafe ClientMapping(address: address, length: length, isWritable: info.writable)
    }

    /// Reads bytes of the region's memory, by pread(2).
    public func peek(_ offset: UInt64, count: Int) throws(VFIOUserError) -> [UInt8] {
        let start = info.fileOffset.addingReportingOverflow(offset)
        guard covers(offset, count), !start.overflow else {
            throw VFIOUserError("reading a region", .system, errno: EINVAL)
        }
        var bytes = [UInt8](repeating: 0, count: count)
        // SAFETY: the array has `count` bytes and lives for the call.
        let result = unsafe bytes.withUnsafeMutableBytes { buffer in
            unsafe irqmux_fd_read_at(descriptor, buffer.baseAddress, count, start.partialValue)
        }
        guard result == 0 else { throw .system("reading a region", Int(result), "the server cut its file short") }
        return bytes
    }

    /// Writes bytes of the region's memory, by pwrite(2).
    public func poke(_ offset: UInt64, _ bytes: [UInt8]) throws(VFIOUserError) {
        let start = info.fileOffset.addingReportingOverflow(offset)
        guard covers(offset, bytes.count), info.writable, !start.overflow else {
            throw VFIOUserError("writing a region", .system, errno: EINVAL)
        }
        // SAFETY: the array lives for the call, which reads no more than its count.
        let result = unsafe bytes.withUnsafeBytes { buffer in
            unsafe irqmux_fd_write_at(descriptor, buffer.baseAddress, buffer.count, start.partialValue)
        }
        guard result == 0 else { throw .system("writing a region", Int(result), "the server cut its file short") }
    }
}

/// Part of a region, mapped into memory. Unmapped when it goes out of scope.
@safe public struct ClientMapping: ~Copyable {
    private let address: UnsafeMutableRawPointer
    /// How many bytes.
    public let length: Int
    /// Whether it may be written.
    public let isWritable: Bool

    init(address: UnsafeMutableRawPointer, length: Int, isWritable: Bool) {
        // SAFETY: the caller gives the mapping up.
        unsafe self.address = address
        self.length = length
        self.isWritable = isWritable
    }

    deinit {
        // SAFETY: mapped with this length, and nobody else has it.
        unsafe irqmux_fd_unmap(address, length)
    }

    /// The 32-bit word at `offset`, a multiple of four; traps beyond the mapping.
    public subscript(offset: Int) -> UInt32 {
        get {
            precondition(offset >= 0 && offset % 4 == 0 && offset <= length - 4, "within the mapping")
            // SAFETY: within the mapping, and aligned, by the precondition.
            return unsafe address.load(fromByteOffset: offset, as: UInt32.self)
        }
        nonmutating set {
            precondition(isWritable, "the server lets clients only read it")
            precondition(offset >= 0 && offset % 4 == 0 && offset <= length - 4, "within the mapping")
            // SAFETY: as above, and mapped for writing.
            unsafe address.storeBytes(of: newValue, toByteOffset: offset, as: UInt32.self)
        }
    }
}

/// The doorbells of a region, with the descriptors that the server handed over; these are closed with their owner.
public struct ClientDoorbells: ~Copyable, Sendable {
    /// Where the doorbells are and what they do.
    public let entries: [RegionIOFD]
    private let descriptors: DescriptorSet

    init(entries: [RegionIOFD], _ descriptors: consuming DescriptorSet) {
        self.entries = entries
        self.descriptors = descriptors
    }

    /// The descriptor that an entry's write signals; −1 for an entry without. Valid as long as the owner lives.
    public func descriptor(of entry: RegionIOFD) -> Int32 {
        guard let place = entry.fdIndex, Int(place) < descriptors.count else { return -1 }
        return descriptors.all[Int(place)]
    }
}
