/// Addresses and data of the MSI-X table, and where table and pending bits stand in BAR 4.
///
/// Nothing sends these messages: whoever serves the device turns them into eventfds. They are kept since a driver may
/// read back what it wrote. Mask and pending bits, which do have an effect, belong to `DeviceInterrupts`.
struct MessageTable: Equatable, Sendable {
    /// The table is at most 2048 × 16 bytes long, so the pending bits behind it never share a page with it.
    static let tableOffset: UInt64 = 0
    static let pendingOffset: UInt64 = 0x8000

    /// One 32-bit word of BAR 4.
    enum Place: Equatable {
        case addressLow(UInt32)
        case addressHigh(UInt32)
        case data(UInt32)
        case vectorControl(UInt32)
        /// Pending bits from this vector on.
        case pending(from: UInt32)
    }

    private var words: [UInt32]

    init(vectors: UInt32) { words = Array(repeating: 0, count: Int(vectors) * 3) }

    private var vectors: UInt32 { UInt32(words.count / 3) }

    /// What stands at `offset`, a multiple of four; `nil` between and behind.
    func place(_ offset: UInt64) -> Place? {
        if offset >= Self.pendingOffset {
            let first = (offset - Self.pendingOffset) * 8
            // Pending bits come in words of 64.
            return first < (UInt64(vectors) + 63) / 64 * 64 ? .pending(from: UInt32(first)) : nil
        }
        let (vector, word) = (UInt32(offset / 16), offset % 16 / 4)
        guard vector < vectors else { return nil }
        switch word {
        case 0: return .addressLow(vector)
        case 1: return .addressHigh(vector)
        case 2: return .data(vector)
        default: return .vectorControl(vector)
        }
    }

    private static func index(_ place: Place) -> Int? {
        switch place {
        case .addressLow(let vector): Int(vector) * 3
        case .addressHigh(let vector): Int(vector) * 3 + 1
        case .data(let vector): Int(vector) * 3 + 2
        case .vectorControl, .pending: nil
        }
    }

    /// A word of address or data; 0 for the others.
    subscript(_ place: Place) -> UInt32 {
        get { Self.index(place).map { words[$0] } ?? 0 }
        set {
            guard let index = Self.index(place) else { return }
            // The two lowest bits of an address are reserved: messages are aligned.
            if case .addressLow = place { words[index] = newValue & ~3 } else { words[index] = newValue }
        }
    }
}
