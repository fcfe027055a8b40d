internal import CKernel

/// Hands out GSI numbers for message routes, lowest first, and takes them back.
///
/// A bitmap of fixed size, taken at creation. It never hands out GSIs 0 to 23, which are the PIC's and IOAPIC's pins by
/// custom. Not safe for use from several threads at once; its owner serialises.
public struct GSIAllocator: Sendable {
    /// The first GSI that is ever handed out.
    public static let first: UInt32 = 24

    /// The first GSI that is out of range.
    public let limit: UInt32
    /// How many GSIs are free.
    public private(set) var available: Int
    /// One bit a GSI; set when it is taken.
    private var words: [UInt64]
    /// No word before this one has a clear bit.
    private var hint = 0

    /// Makes an allocator of the GSIs 24 to `limit` - 1.
    ///
    /// - Parameter limit: What the running kernel routes, ``KVMCapabilities/routes``; 4096 on x86 since Linux 4.18.
    public init(limit: UInt32 = GSIRoutes.kernelLimit) {
        self.limit = limit
        words = [UInt64](repeating: 0, count: (Int(limit) + 63) / 64)
        available = max(0, Int(limit) - Int(GSIAllocator.first))
        for gsi in 0..<min(GSIAllocator.first, limit) { words[Int(gsi >> 6)] |= 1 << UInt64(gsi & 63) }
        for gsi in Int(limit)..<words.count * 64 { words[gsi >> 6] |= 1 << UInt64(gsi & 63) }
    }

    /// Whether `gsi` has been handed out or reserved.
    public func isTaken(_ gsi: UInt32) -> Bool {
        gsi >= limit || words[Int(gsi >> 6)] & 1 << UInt64(gsi & 63) != 0
    }

    /// Hands out the lowest free GSI.
    ///
    /// - Throws: `ENOSPC` when none is left.
    public mutating func allocate() throws(KVMError) -> UInt32 {
        while hint < words.count, words[hint] == .max { hint += 1 }
        guard hint < words.count else { throw KVMError(.allocateGSI, errno: ENOSPC, .noGSILeft) }
        let bit = (~words[hint]).trailingZeroBitCount
        words[hint] |= 1 << UInt64(bit)
        available -= 1
        return UInt32(hint * 64 + bit)
    }

    /// Says whether `count` GSIs are left, before something is spent on them.
    ///
    /// - Throws: `ENOSPC` when there are fewer.
    public func checkRoom(for count: Int) throws(KVMError) {
        guard count <= available else { throw KVMError(.allocateGSI, errno: ENOSPC, .noGSILeft) }
    }

    /// Takes a certain GSI, because somebody else (the VMM of an adopted machine) uses it already.
    ///
    /// - Throws: `EINVAL` out of range, `EEXIST` when it is taken; 0 to 23 always are.
    public mutating func reserve(_ gsi: UInt32) throws(KVMError) {
        guard gsi < limit else { throw KVMError(.allocateGSI, errno: EINVAL, .gsiOutOfRange) }
        guard !isTaken(gsi) else { throw KVMError(.allocateGSI, errno: EEXIST, .gsiTaken) }
        words[Int(gsi >> 6)] |= 1 << UInt64(gsi & 63)
        available -= 1
    }

    /// Takes back a GSI; it may be handed out again at once. Its irqfds and its route must be gone.
    ///
    /// - Throws: `ENOENT` for a GSI that is not out, or never is (0 to 23).
    public mutating func free(_ gsi: UInt32) throws(KVMError) {
        guard gsi >= GSIAllocator.first, gsi < limit, isTaken(gsi) else {
            throw KVMError(.allocateGSI, errno: ENOENT, .gsiNotAllocated)
        }
        words[Int(gsi >> 6)] &= ~(1 << UInt64(gsi & 63))
        available += 1
        hint = min(hint, Int(gsi >> 6))
    }
}
