/// The MSI of one function as its guest sees it: the capability's registers, and what has to be done about them.
///
/// A pure value like `MSIXTable`, with the same division: accesses note what they touched, `synchronise` emits the
/// fewest `MessageOperation`s. Nothing is allocated after `init`, as long as the value is not copied. One owner at a
/// time.
///
/// All vectors that the guest enabled are allocated at the host at once (`enable(vectors:)`), since MSI cannot grow; an
/// interrupt of the guest is needed only by those that are unmasked (`use`). Vector `n` sends the message's data with
/// its low bits replaced by `n`.
///
/// Source: PCI Express Base Specification, section 7.7.1; PCI Local Bus Specification 3.0, section 6.8.1.
public struct MSIRegisters: Equatable, Sendable {
    /// The most vectors a function has.
    public static let mostVectors: UInt32 = 32

    /// What the capability has; fixed by the device.
    public struct Layout: Equatable, Sendable, BitwiseCopyable {
        /// How many vectors the function can ask for: 1, 2, 4, 8, 16 or 32.
        public var vectors: UInt32
        /// Whether the message's address has 64 bits.
        public var is64Bit: Bool
        /// Whether there are mask and pending bits.
        public var isMaskable: Bool

        /// The layout with these features.
        ///
        /// - Parameter vectors: 1, 2, 4, 8, 16 or 32.
        public init(vectors: UInt32, is64Bit: Bool = true, isMaskable: Bool = true) {
            precondition(1...32 ~= vectors && vectors & (vectors - 1) == 0, "MSI vectors are a power of two up to 32")
            self.vectors = vectors
            self.is64Bit = is64Bit
            self.isMaskable = isMaskable
        }

        /// Bytes of the capability structure: 10, 14, 20 or 24.
        public var size: Int { isMaskable ? (is64Bit ? 24 : 20) : (is64Bit ? 14 : 10) }
    }

    /// What the capability has.
    public let layout: Layout
    /// The next capability's offset, as the guest reads it at offset 1.
    public let next: UInt8
    /// Whether the guest enabled MSI.
    public internal(set) var isEnabled = false
    /// How many vectors the guest enabled; a power of two.
    public internal(set) var enabledVectors: UInt32 = 1
    /// The mask bits as the guest wrote them; always 0 without per-vector masking.
    public internal(set) var maskBits: UInt32 = 0
    /// The registers' own pending bits; the sink may keep more.
    public internal(set) var pendingBits: UInt32 = 0
    /// Vectors in use, one bit each.
    public internal(set) var inUseBits: UInt32 = 0
    /// Vectors that the sink refused something for, one bit each.
    public internal(set) var refusedBits: UInt32 = 0
    /// What the guest did so far that cost nothing, and what it did wrong.
    public internal(set) var statistics = MSIXTable.Statistics()

    var address: UInt64 = 0
    var data: UInt16 = 0
    var heldBits: UInt32 = 0
    /// By vector: the message that was last carried out.
    var carried: [InterruptMessage]
    /// Of `synchronise` alone: vectors asked for at once. Zero otherwise.
    var batch: [UInt64] = [0]
    var isDirty = false
    var isCarriedEnabled = false
    var wasDisabled = false

    /// Registers as they are after a reset.
    public init(_ layout: Layout, next: UInt8 = 0) {
        self.layout = layout
        self.next = next
        carried = [InterruptMessage](repeating: InterruptMessage(address: 0, data: 0), count: 32)
    }

    /// Whether `synchronise` has something to do.
    public var hasWork: Bool { isDirty }

    /// How many vectors the sink refused something for.
    public var refused: UInt32 { UInt32(refusedBits.nonzeroBitCount) }

    /// Whether the guest wants nothing of this vector now. Vectors that are not enabled are masked.
    public func isMasked(_ vector: UInt32) -> Bool {
        !isEnabled || vector >= enabledVectors || maskBits & 1 << vector != 0
    }

    /// Whether the sink has an interrupt of the guest for this vector.
    public func isInUse(_ vector: UInt32) -> Bool { vector < 32 && inUseBits & 1 << vector != 0 }

    /// The message of a vector: the data's low bits are the vector's number, as many as the enabled vectors take.
    public func message(_ vector: UInt32) -> InterruptMessage {
        let low = enabledVectors - 1
        return InterruptMessage(address: address, data: UInt32(data) & ~low | vector & low)
    }

    /// Function-level reset: everything as after `init`. `synchronise` emits `disable` if the sink knew of anything.
    public mutating func reset() {
        if isCarriedEnabled {
            wasDisabled = true
            isDirty = true
        }
        isEnabled = false
        enabledVectors = 1
        maskBits = 0
        pendingBits = 0
        address = 0
        data = 0
    }
}
