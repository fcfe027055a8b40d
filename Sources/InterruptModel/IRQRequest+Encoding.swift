internal import CKernel

/// The fixed part of `struct vfio_irq_set`, exactly as it stands in memory: nothing about it need be sensible.
///
/// Source: `<linux/vfio.h>`. 20 bytes, five 32-bit words in the machine's order (little-endian on every machine irqmux
/// runs on).
public struct IRQSetHeader: Equatable, Sendable {
    /// How many bytes the fixed part takes.
    public static let size = 20
    /// The `VFIO_IRQ_SET_DATA_*` bits.
    public static let dataMask: UInt32 = 0x07
    /// The `VFIO_IRQ_SET_ACTION_*` bits.
    public static let actionMask: UInt32 = 0x38

    /// The size of header and payload as the sender states it.
    public var argsz: UInt32
    /// Data and action bits.
    public var flags: UInt32
    /// The index, which may name none.
    public var index: UInt32
    /// The first vector.
    public var start: UInt32
    /// How many vectors.
    public var count: UInt32

    /// Makes a header of its five words.
    public init(argsz: UInt32, flags: UInt32, index: UInt32, start: UInt32, count: UInt32) {
        self.argsz = argsz
        self.flags = flags
        self.index = index
        self.start = start
        self.count = count
    }

    /// Payload bytes a vector for the data bits; `nil` when not exactly one of them is set.
    var bytesPerVector: UInt32? {
        switch flags & Self.dataMask {
        case UInt32(VFIO_IRQ_SET_DATA_NONE): 0
        case UInt32(VFIO_IRQ_SET_DATA_BOOL): 1
        case UInt32(VFIO_IRQ_SET_DATA_EVENTFD): 4
        default: nil
        }
    }
}

/// A SET_IRQS request before anybody has judged it: the header's words and whatever bytes follow.
///
/// It can hold anything a hostile sender can write: an index that does not exist, several actions, several kinds of
/// data, a range that wraps, a payload that is shorter than it claims.
public struct RawIRQRequest: Equatable, Sendable {
    /// The fixed part.
    public var header: IRQSetHeader
    /// The bytes after the fixed part that are really there, whatever `argsz` says.
    public var payload: [UInt8]

    /// Makes a request of its two parts.
    public init(header: IRQSetHeader, payload: [UInt8] = []) {
        self.header = header
        self.payload = payload
    }

    /// Reads a request from bytes; `nil` when they do not even hold the fixed part.
    public init?(bytes: [UInt8]) {
        guard bytes.count >= IRQSetHeader.size else { return nil }
        header = IRQSetHeader(
            argsz: bytes.word(at: 0), flags: bytes.word(at: 4), index: bytes.word(at: 8), start: bytes.word(at: 12),
            count: bytes.word(at: 16))
        payload = Array(bytes[IRQSetHeader.size...])
    }

    /// The request's bytes: the header's five words, then the payload as it is.
    public var bytes: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(IRQSetHeader.size + payload.count)
        for word in [header.argsz, header.flags, header.index, header.start, header.count] { bytes.append(word: word) }
        bytes.append(contentsOf: payload)
        return bytes
    }

    /// The request as a value; `nil` unless index, action and data each name one thing and the payload is all there.
    ///
    /// Says nothing of whether a device would take it: `DeviceInterrupts.apply` does.
    public var request: IRQRequest? {
        guard let index = IRQIndex(rawValue: header.index),
            let action = IRQRequest.Action(rawValue: header.flags & IRQSetHeader.actionMask),
            let size = header.bytesPerVector,
            UInt64(payload.count) >= UInt64(header.count) * UInt64(size)
        else { return nil }
        let count = Int(header.count)
        let data: IRQRequest.Data =
            switch size {
            case 0: .none(count: header.count)
            case 1: .bool(Array(payload[..<count]))
            default: .eventfd((0..<count).map { Int32(bitPattern: payload.word(at: $0 * 4)) })
            }
        return IRQRequest(index, action, start: header.start, data)
    }
}

extension IRQRequest {
    /// How many vectors the request is about.
    public var count: UInt32 {
        switch data {
        case .none(let count): count
        case .bool(let values): UInt32(truncatingIfNeeded: values.count)
        case .eventfd(let numbers): UInt32(truncatingIfNeeded: numbers.count)
        }
    }

    /// The fixed part of the request, with `argsz` the exact size of header and payload.
    public var header: IRQSetHeader {
        let (kind, size) =
            switch data {
            case .none: (UInt32(VFIO_IRQ_SET_DATA_NONE), UInt32(0))
            case .bool: (UInt32(VFIO_IRQ_SET_DATA_BOOL), UInt32(1))
            case .eventfd: (UInt32(VFIO_IRQ_SET_DATA_EVENTFD), UInt32(4))
            }
        return IRQSetHeader(
            argsz: UInt32(IRQSetHeader.size) &+ count &* size, flags: kind | action.rawValue, index: index.rawValue,
            start: start, count: count)
    }

    /// The request as the kernel takes it, payload and all.
    public var raw: RawIRQRequest {
        switch data {
        case .none: return RawIRQRequest(header: header)
        case .bool(let values): return RawIRQRequest(header: header, payload: values)
        case .eventfd(let numbers):
            var payload: [UInt8] = []
            payload.reserveCapacity(numbers.count * 4)
            for number in numbers { payload.append(word: UInt32(bitPattern: number)) }
            return RawIRQRequest(header: header, payload: payload)
        }
    }

    /// The exact bytes of `struct vfio_irq_set` for this request. Allocates.
    public var encoded: [UInt8] { raw.bytes }
}

extension [UInt8] {
    /// The 32-bit little-endian word at `offset`; the caller has checked that it is there.
    fileprivate func word(at offset: Int) -> UInt32 {
        UInt32(self[offset]) | UInt32(self[offset + 1]) << 8 | UInt32(self[offset + 2]) << 16
            | UInt32(self[offset + 3]) << 24
    }

    fileprivate mutating func append(word: UInt32) {
        for shift in [0, 8, 16, 24] as [UInt32] { append(UInt8(truncatingIfNeeded: word >> shift)) }
    }
}
