/// The 16 bytes of a UUID: the name of a mediated device, or the token of a physical function.
public struct UUIDBytes: Hashable, Sendable {
    /// The bytes in the order in which they are written.
    public var bytes: [UInt8]

    /// Reads `83b8f4f2-509f-382f-3c1e-e6bfe0fa1001`, hexadecimal in either case; `nil` for anything else.
    public init?(parsing text: some Sequence<UInt8>) {
        var bytes: [UInt8] = []
        var digits = 0
        var high: UInt8 = 0
        var length = 0
        for byte in text {
            length += 1
            if length == 9 || length == 14 || length == 19 || length == 24 {
                guard byte == UInt8(ascii: "-") else { return nil }
                continue
            }
            guard let digit = PCIAddress.digit(byte), digits < 32 else { return nil }
            if digits % 2 == 0 { high = UInt8(digit) << 4 } else { bytes.append(high | UInt8(digit)) }
            digits += 1
        }
        guard bytes.count == 16 else { return nil }
        self.bytes = bytes
    }

    /// The usual form, in lower case as the kernel writes it.
    public var text: [UInt8] {
        var text: [UInt8] = []
        for (place, byte) in bytes.enumerated() {
            if place == 4 || place == 6 || place == 8 || place == 10 { text.append(UInt8(ascii: "-")) }
            PCIAddress.append(UInt32(byte), digits: 2, to: &text)
        }
        return text
    }
}

#if !hasFeature(Embedded)
    extension UUIDBytes: CustomStringConvertible {
        /// The usual form, in lower case.
        public var description: String { String(decoding: text, as: UTF8.self) }
    }
#endif
