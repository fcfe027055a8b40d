internal import CKernel
internal import Synchronization

/// Owns a mapping: a guest's memory, or the page that KVM shares with a virtual CPU's thread.
@safe struct Mapping: ~Copyable, @unchecked Sendable {
    /// Where it begins. Valid as long as this owner lives.
    let address: UnsafeMutableRawPointer
    /// How many bytes.
    let size: Int

    /// Maps `size` bytes of `file`, or zeroed memory of its own without one.
    init(size: Int, file: Int32 = -1) throws(MicroGuestError) {
        var mapped: UnsafeMutableRawPointer?
        // SAFETY: the wrapper writes one pointer, on success only.
        let result = unsafe irqmux_kvm_map(file, size, &mapped)
        // SAFETY: compared with nil, not followed.
        guard result == 0, let mapped = unsafe mapped else {
            throw .system(operation: "mmap", errno: -result)
        }
        // SAFETY: a fresh mapping that nobody else knows.
        unsafe address = mapped
        self.size = size
    }

    deinit {
        // SAFETY: exactly what init mapped, and nobody borrows it any more.
        unsafe irqmux_kvm_unmap(address, size)
    }

    /// Copies `bytes` to the beginning. Not while a guest runs on it.
    func fill(_ bytes: [UInt8]) {
        precondition(bytes.count <= size, "an image larger than the guest's memory")
        // SAFETY: both ranges have bytes.count bytes, and a fresh mapping does not overlap an array.
        unsafe bytes.withUnsafeBytes { unsafe address.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
    }

    /// The 32-bit word at `offset`, which somebody else may be writing; what was written before it is seen as well.
    func load(_ offset: Int) -> UInt32 {
        // SAFETY: the place is checked there, and lives as long as this call.
        unsafe word(offset).pointee.load(ordering: .acquiring)
    }

    /// Writes the 32-bit word at `offset`; whoever sees it sees what was written before as well.
    func store(_ value: UInt32, _ offset: Int) {
        // SAFETY: as above.
        unsafe word(offset).pointee.store(value, ordering: .releasing)
    }

    /// Adds to the 32-bit word at `offset`, wrapping; whoever sees it sees what was written before as well.
    func add(_ value: UInt32, _ offset: Int) {
        // SAFETY: as above.
        unsafe word(offset).pointee.wrappingAdd(value, ordering: .releasing)
    }

    private func word(_ offset: Int) -> UnsafeMutablePointer<Atomic<UInt32>> {
        precondition(offset >= 0 && offset <= size - 4 && offset & 3 == 0, "a word at a multiple of 4, in the memory")
        // SAFETY: aligned and inside; an Atomic<UInt32> is laid out as the number itself.
        return unsafe (address + offset).assumingMemoryBound(to: Atomic<UInt32>.self)
    }
}
