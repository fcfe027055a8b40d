internal import CKernel

/// An info structure with whatever follows it. The kernel says how large it is and is asked again with that much room.
enum InfoBytes {
    /// More than any chain of capabilities has; what says more is not believed.
    static let most = 1 << 16

    /// Asks until everything fits.
    ///
    /// - Parameters:
    ///   - size: The structure's fixed part, which begins with its own size.
    ///   - index: What goes to byte 8, where the structure takes an index.
    /// - Returns: The bytes, or −errno.
    static func ask(
        _ descriptor: Int32, _ request: UInt, size: Int, index: UInt32? = nil
    ) -> (bytes: [UInt8], result: Int32) {
        var size = size
        // A chain grows when something else changes the device; four times in a row it does not.
        for attempt in 0..<4 {
            var bytes = [UInt8](repeating: 0, count: size)
            put(UInt32(size), at: 0, in: &bytes)
            if let index { put(index, at: 8, in: &bytes) }
            // SAFETY: the structure says how many bytes it has, and the kernel writes no more than that.
            let result = unsafe bytes.withUnsafeMutableBytes {
                unsafe irqmux_ioctl(descriptor, request, $0.baseAddress)
            }
            guard result >= 0 else { return ([], result) }
            let wanted = Int(word(bytes, at: 0))
            if wanted <= size || wanted > most || attempt == 3 { return (bytes, result) }
            size = wanted
        }
        return ([], -EIO)
    }

    static func word(_ bytes: [UInt8], at place: Int) -> UInt32 {
        var value: UInt32 = 0
        for offset in 0..<4 { value |= UInt32(bytes[place + offset]) << UInt32(8 * offset) }
        return value
    }

    static func long(_ bytes: [UInt8], at place: Int) -> UInt64 {
        UInt64(word(bytes, at: place + 4)) << 32 | UInt64(word(bytes, at: place))
    }

    static func put(_ value: UInt32, at place: Int, in bytes: inout [UInt8]) {
        for offset in 0..<4 { bytes[place + offset] = UInt8(truncatingIfNeeded: value >> UInt32(8 * offset)) }
    }
}
