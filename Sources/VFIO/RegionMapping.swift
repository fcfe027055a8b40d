internal import CKernel
internal import Synchronization

/// Owns a mapped part of a region: device memory in this process. Unmapped with its scope.
///
/// Every access has exactly the width asked for and is neither split nor left out. Threads: several may use it at a
/// time, as the device allows. The device may be closed meanwhile; the mapping then stays valid until it is unmapped.
@safe public struct RegionMapping: ~Copyable, @unchecked Sendable {
    /// Where it begins. Valid as long as this owner lives.
    @unsafe public let address: UnsafeMutableRawPointer
    /// How many bytes.
    public let size: Int

    init(
        _ device: Int32, offset: UInt64, size: Int, isReadable: Bool, isWritable: Bool
    ) throws(VFIOError) {
        var mapped: UnsafeMutableRawPointer?
        // SAFETY: the wrapper writes one pointer, on success only.
        let result = unsafe irqmux_vfio_map(device, offset, size, isReadable ? 1 : 0, isWritable ? 1 : 0, &mapped)
        // SAFETY: compared with nil, not followed.
        guard result == 0, let mapped = unsafe mapped else {
            throw VFIOError(.mapRegion, errno: -result, result == -EINVAL ? .notMappable : .plain(-result))
        }
        // SAFETY: a fresh mapping that nobody else knows.
        unsafe address = mapped
        self.size = size
    }

    deinit {
        // SAFETY: exactly what init mapped, and nobody borrows it any more.
        unsafe irqmux_vfio_unmap(address, size)
    }

    /// Reads the byte at `offset`. Offsets outside of the mapping stop the program.
    public func load8(_ offset: Int) -> UInt8 {
        // SAFETY: the place is checked there, and lives as long as this call.
        unsafe place(offset, of: Atomic<UInt8>.self, 1).pointee.load(ordering: .relaxed)
    }

    /// Reads two bytes at `offset`, a multiple of 2.
    public func load16(_ offset: Int) -> UInt16 {
        // SAFETY: as above.
        unsafe place(offset, of: Atomic<UInt16>.self, 2).pointee.load(ordering: .relaxed)
    }

    /// Reads four bytes at `offset`, a multiple of 4.
    public func load32(_ offset: Int) -> UInt32 {
        // SAFETY: as above.
        unsafe place(offset, of: Atomic<UInt32>.self, 4).pointee.load(ordering: .acquiring)
    }

    /// Reads eight bytes at `offset`, a multiple of 8.
    public func load64(_ offset: Int) -> UInt64 {
        // SAFETY: as above.
        unsafe place(offset, of: Atomic<UInt64>.self, 8).pointee.load(ordering: .acquiring)
    }

    /// Writes the byte at `offset`.
    public func store8(_ value: UInt8, _ offset: Int) {
        // SAFETY: as above.
        unsafe place(offset, of: Atomic<UInt8>.self, 1).pointee.store(value, ordering: .relaxed)
    }

    /// Writes two bytes at `offset`, a multiple of 2.
    public func store16(_ value: UInt16, _ offset: Int) {
        // SAFETY: as above.
        unsafe place(offset, of: Atomic<UInt16>.self, 2).pointee.store(value, ordering: .relaxed)
    }

    /// Writes four bytes at `offset`, a multiple of 4; what was written before it comes before it.
    public func store32(_ value: UInt32, _ offset: Int) {
        // SAFETY: as above.
        unsafe place(offset, of: Atomic<UInt32>.self, 4).pointee.store(value, ordering: .releasing)
    }

    /// Writes eight bytes at `offset`, a multiple of 8; what was written before it comes before it.
    public func store64(_ value: UInt64, _ offset: Int) {
        // SAFETY: as above.
        unsafe place(offset, of: Atomic<UInt64>.self, 8).pointee.store(value, ordering: .releasing)
    }

    private func place<Word: ~Copyable>(_ offset: Int, of: Word.Type, _ width: Int) -> UnsafeMutablePointer<Word> {
        precondition(
            offset >= 0 && offset <= size - width && offset & (width - 1) == 0, "an aligned place in the mapping")
        // SAFETY: aligned and inside; an Atomic is laid out as the number itself.
        return unsafe (address + offset).assumingMemoryBound(to: Word.self)
    }
}
