/// Reads little-endian numbers out of bytes that may be too few: every read says whether they were there.
///
/// The protocol is in the hosts' byte order, and every machine irqmux runs on is little-endian.
struct WireReader {
    private let bytes: ArraySlice<UInt8>
    private(set) var offset = 0

    init(_ bytes: ArraySlice<UInt8>) { self.bytes = bytes }

    init(_ bytes: [UInt8]) { self.bytes = bytes[...] }

    var remaining: Int { bytes.count - offset }

    /// What has not been read yet.
    var rest: ArraySlice<UInt8> { bytes.dropFirst(offset) }

    private mutating func number<Number: FixedWidthInteger & UnsignedInteger>(_: Number.Type) -> Number? {
        let size = Number.bitWidth / 8
        guard remaining >= size else { return nil }
        var value: Number = 0
        let start = bytes.startIndex + offset
        for place in (0..<size).reversed() { value = value << 8 | Number(bytes[start + place]) }
        offset += size
        return value
    }

    mutating func u16() -> UInt16? { number(UInt16.self) }
    mutating func u32() -> UInt32? { number(UInt32.self) }

    mutating func u64() -> UInt64? {
        guard let low = u32(), let high = u32() else { return nil }
        return UInt64(high) << 32 | UInt64(low)
    }
}

extension [UInt8] {
    mutating func append(u16 value: UInt16) {
        append(UInt8(truncatingIfNeeded: value))
        append(UInt8(truncatingIfNeeded: value >> 8))
    }

    mutating func append(u32 value: UInt32) {
        append(u16: UInt16(truncatingIfNeeded: value))
        append(u16: UInt16(truncatingIfNeeded: value >> 16))
    }

    mutating func append(u64 value: UInt64) {
        append(u32: UInt32(truncatingIfNeeded: value))
        append(u32: UInt32(truncatingIfNeeded: value >> 32))
    }
}
