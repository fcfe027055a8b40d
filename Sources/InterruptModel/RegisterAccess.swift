/// Which accesses to memory-mapped interrupt structures PCI allows, and what the others read.
///
/// Source: PCI Express Base Specification, section 7.7.2 (MSI-X): aligned, full DWORD or QWORD; the rest is undefined.
enum RegisterAccess {
    /// Whether an access is an aligned DWORD or QWORD inside `size` bytes.
    static func isLegal(offset: UInt64, width: Int, size: UInt64) -> Bool {
        guard width == 4 || width == 8 else { return false }
        let bytes = UInt64(width)
        return offset & (bytes - 1) == 0 && size >= bytes && offset <= size - bytes
    }

    /// Whether an access to configuration space is an aligned byte, word or DWORD. `place` is counted from message
    /// control, two bytes behind a capability's aligned beginning.
    static func isLegal(fromMessageControl place: Int, width: Int) -> Bool {
        (width == 1 || width == 2 || width == 4) && (place &+ 2) & (width - 1) == 0
    }

    /// What a read that nobody answers gives: all ones, in as many bytes as were asked for.
    static func ones(width: Int) -> UInt64 {
        guard width > 0 else { return 0 }
        return width >= 8 ? .max : 1 << UInt64(width * 8) - 1
    }
}
