/// The walk along the two chains of capabilities of configuration space, bounded whatever the device says.
///
/// The caller's `visit` gets every capability with its offset, in the chain's order, and may tell a fault of it, which
/// is kept when it is the first and does not end the walk.
public enum PCIChain {
    /// Where the header ends and capabilities may begin.
    public static let headerEnd = 0x40
    /// Where standard configuration space ends and extended space begins.
    public static let standardEnd = 0x100
    /// Where extended space ends.
    public static let extendedEnd = 0x1000

    /// Walks the standard chain, if the status register says that there is one.
    ///
    /// - Parameters:
    ///   - size: Bytes of configuration space, at least 64.
    ///   - headerType: Decides where the chain begins: 0x34, or 0x14 for a CardBus bridge (2).
    /// - Returns: The first fault.
    /// - Throws: What `byte` and `visit` throw, at once.
    public static func standard<Failure: Error>(
        size: Int, headerType: UInt8, _ byte: (_ offset: Int) throws(Failure) -> UInt8,
        visit: (_ id: UInt8, _ offset: Int) throws(Failure) -> CapabilityFault?
    ) throws(Failure) -> CapabilityFault? {
        guard try word(0x06, byte) & 0x10 != 0 else { return nil }
        let end = min(size, standardEnd)
        var fault: CapabilityFault?
        // One bit for each of the 64 places where a capability can begin: a loop is found at its first repetition.
        var seen: UInt64 = 0
        var offset = Int(try byte(headerType == 2 ? 0x14 : 0x34) & 0xFC)
        while offset != 0 {
            let here = UInt16(offset)
            guard offset >= headerEnd, offset + 2 <= end else {
                return fault ?? CapabilityFault(.pointerOutside, at: here)
            }
            let bit = UInt64(1) << UInt64(offset >> 2)
            guard seen & bit == 0 else { return fault ?? CapabilityFault(.loop, at: here) }
            seen |= bit
            let id = try byte(offset)
            guard id != 0xFF else { return fault ?? CapabilityFault(.notAnswering, at: here) }
            if let found = try visit(id, offset) { fault = fault ?? found }
            // The two low bits are reserved and are to be masked (PCI 3.0, 6.7).
            offset = Int(try byte(offset + 1) & 0xFC)
        }
        return fault
    }

    /// Walks the extended chain, which begins at 0x100 where there is extended space.
    ///
    /// A first header of zeros or ones means that there is none, and so does a repetition of the first register: some
    /// bridges show standard space again in place of extended space.
    /// - Returns: The first fault.
    /// - Throws: What `byte` and `visit` throw, at once.
    public static func extended<Failure: Error>(
        size: Int, _ byte: (_ offset: Int) throws(Failure) -> UInt8,
        visit: (_ id: UInt16, _ offset: Int) throws(Failure) -> CapabilityFault?
    ) throws(Failure) -> CapabilityFault? {
        let end = min(size, extendedEnd)
        guard end >= standardEnd + 4 else { return nil }
        var header = try long(standardEnd, byte)
        guard header != 0, header != .max, try header != long(0, byte) else { return nil }
        var fault: CapabilityFault?
        // One bit for each of the 1024 places.
        var seen = InlineArray<16, UInt64>(repeating: 0)
        var offset = standardEnd
        while true {
            seen[offset >> 8] |= 1 << UInt64(offset >> 2 & 63)
            if let found = try visit(UInt16(truncatingIfNeeded: header), offset) { fault = fault ?? found }
            offset = Int(header >> 20 & 0xFFC)
            if offset == 0 { return fault }
            let here = UInt16(offset)
            guard offset >= standardEnd, offset + 4 <= end else {
                return fault ?? CapabilityFault(.pointerOutside, at: here)
            }
            guard seen[offset >> 8] & 1 << UInt64(offset >> 2 & 63) == 0 else {
                return fault ?? CapabilityFault(.loop, at: here)
            }
            header = try long(offset, byte)
            guard header != .max else { return fault ?? CapabilityFault(.notAnswering, at: here) }
        }
    }

    static func word<Failure: Error>(
        _ offset: Int, _ byte: (Int) throws(Failure) -> UInt8
    ) throws(Failure) -> UInt16 {
        let low = try byte(offset)
        return try UInt16(byte(offset + 1)) << 8 | UInt16(low)
    }

    static func long<Failure: Error>(
        _ offset: Int, _ byte: (Int) throws(Failure) -> UInt8
    ) throws(Failure) -> UInt32 {
        let low = try word(offset, byte)
        return try UInt32(word(offset + 2, byte)) << 16 | UInt32(low)
    }

    /// Whether a structure fits; tells the fault where it does not.
    static func fits(_ offset: Int, _ length: Int, _ size: Int, _ fault: inout CapabilityFault?) -> Bool {
        if offset + length <= size { return true }
        fault = CapabilityFault(.truncated, at: UInt16(offset))
        return false
    }
}
