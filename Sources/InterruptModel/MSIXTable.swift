/// The MSI-X of one function as its guest sees it: table, pending bits, message control; and what has to be done about
/// it.
///
/// A pure value: no system calls, no clock; nothing is allocated after `init`, as long as the value is not copied. One
/// owner at a time. Accesses change registers and note which vectors they touched; `synchronise` then emits the fewest
/// `MessageOperation`s that make the world agree. The two may happen on different threads, one after the other: a
/// virtual CPU writes registers in tens of nanoseconds, and only when `hasWork` somebody else has to be called.
///
///     if table.writeTable(offset: offset, width: 4, value) { table.synchronise(&sink) }
///
/// **Host side** (a VMM passing a device through): the sink assigns eventfds and routes. Vectors come into use when
/// first unmasked, not when MSI-X is enabled. Signals of masked vectors are kept by the sink, so the pending bits that
/// the guest reads are `isPending` here *or* the sink's: see `readPending`.
///
/// **Device side** (a software device with its table in a BAR): call `raise`; the sink answers `true` to everything and
/// sends on `deliver`.
///
/// Out of reset every entry is masked and reads 0 otherwise. A write that changes nothing makes no work, however often
/// it comes: guests rewrite masked entries (Linux 5.18 at each boot), and mask what is masked.
///
/// Source: PCI Express Base Specification, section 7.7.2; PCI Local Bus Specification 3.0, section 6.8.2.
public struct MSIXTable: Equatable, Sendable {
    /// The most vectors a function has.
    public static let mostVectors: UInt32 = 2048
    /// Bytes an entry takes in the table.
    public static let entrySize: UInt64 = 16

    /// Function mask and enable in the message control register.
    static let functionMaskBit: UInt16 = 1 << 14
    static let enableBit: UInt16 = 1 << 15

    /// One entry: what the guest wrote, what was carried out, and what became of it. 24 bytes: bits 1:0 of a message's
    /// address are always zero, so what is true of the entry stands there.
    struct Entry: Equatable, Sendable, BitwiseCopyable {
        /// With `isMasked` in bit 0 and `isRefused` in bit 1.
        private var wanted: UInt64 = 1
        /// With `inUse` in bit 0 and `isHeld` in bit 1.
        private var carried: UInt64 = 0
        var data: UInt32 = 0
        /// The data last carried out; meaningful while `inUse`, as is `carriedAddress`.
        var carriedData: UInt32 = 0

        var address: UInt64 {
            get { wanted & ~3 }
            set { wanted = newValue & ~3 | wanted & 3 }
        }

        var carriedAddress: UInt64 {
            get { carried & ~3 }
            set { carried = newValue & ~3 | carried & 3 }
        }

        /// Bit 0 of vector control.
        var isMasked: Bool {
            get { wanted & 1 != 0 }
            set { wanted = newValue ? wanted | 1 : wanted & ~1 }
        }

        /// The sink refused the last operation.
        var isRefused: Bool {
            get { wanted & 2 != 0 }
            set { wanted = newValue ? wanted | 2 : wanted & ~2 }
        }

        /// The sink has a vector of the host for it.
        var inUse: Bool {
            get { carried & 1 != 0 }
            set { carried = newValue ? carried | 1 : carried & ~1 }
        }

        /// The sink keeps its signals.
        var isHeld: Bool {
            get { carried & 2 != 0 }
            set { carried = newValue ? carried | 2 : carried & ~2 }
        }

        var message: InterruptMessage { InterruptMessage(address: address, data: data) }
        var isCarried: Bool { address == carriedAddress && data == carriedData }
    }

    /// How many vectors the function has.
    public let count: UInt32
    /// Whether the guest enabled MSI-X.
    public internal(set) var isEnabled = false
    /// Whether the guest masked the whole function.
    public internal(set) var isFunctionMasked = false
    /// What the guest did so far that cost nothing, and what it did wrong.
    public internal(set) var statistics = Statistics()
    /// How many vectors the sink refused something for.
    public internal(set) var refused: UInt32 = 0
    /// How many vectors are in use.
    public internal(set) var inUse: UInt32 = 0

    var entries: [Entry]
    /// One bit a vector, as the guest reads them.
    var pending: [UInt64]
    /// One bit a vector: `synchronise` has to look at it.
    var dirty: [UInt64]
    /// Of `synchronise` alone: vectors asked for at once. Zeros otherwise.
    var batch: [UInt64]
    /// Some bit of `dirty`, or of the two below, is set.
    var isDirty = false
    /// The sink was told `enable`, and not `disable` since.
    var isCarriedEnabled = false
    /// MSI-X was switched off since the sink was last told, perhaps on again.
    var wasDisabled = false

    /// Counts of accesses; for reports. They wrap.
    public struct Statistics: Equatable, Sendable, BitwiseCopyable {
        /// Writes that changed nothing.
        public internal(set) var unchangedWrites: UInt64 = 0
        /// Changes of a vector's mask bit, in either direction: a storm shows here.
        public internal(set) var maskChanges: UInt64 = 0
        /// Changes of a vector's message.
        public internal(set) var messageChanges: UInt64 = 0
        /// Accesses that PCI does not define: reads gave ones, writes were ignored.
        public internal(set) var illegalAccesses: UInt64 = 0
        /// Operations that sinks carried out.
        public internal(set) var operations: UInt64 = 0
    }

    /// A table as it is after a reset.
    ///
    /// - Parameter count: 1 to 2048.
    public init(count: UInt32) {
        precondition(1...MSIXTable.mostVectors ~= count, "a function has 1 to 2048 MSI-X vectors")
        self.count = count
        entries = [Entry](repeating: Entry(), count: Int(count))
        let words = (Int(count) + 63) / 64
        pending = [UInt64](repeating: 0, count: words)
        dirty = [UInt64](repeating: 0, count: words)
        batch = [UInt64](repeating: 0, count: words)
    }

    /// Bytes that the value takes for each vector, but for three bits.
    public static var bytesPerVector: Int { MemoryLayout<Entry>.stride }

    /// Bytes of the table.
    public var tableSize: UInt64 { UInt64(count) * MSIXTable.entrySize }

    /// Bytes of the pending bit array: one QWORD for each 64 vectors begun.
    public var pendingSize: UInt64 { UInt64(pending.count) * 8 }

    /// Whether `synchronise` has something to do.
    public var hasWork: Bool { isDirty }

    /// Whether the guest wants nothing of this vector now: by its own mask, the function's, or because MSI-X is off.
    /// Vectors the function does not have are masked.
    public func isMasked(_ vector: UInt32) -> Bool {
        guard vector < count, isEnabled, !isFunctionMasked else { return true }
        return entries[Int(vector)].isMasked
    }

    /// Whether the sink has a vector of the host for this one.
    public func isInUse(_ vector: UInt32) -> Bool { vector < count && entries[Int(vector)].inUse }

    /// Whether the sink refused the last operation for this vector.
    public func isRefused(_ vector: UInt32) -> Bool { vector < count && entries[Int(vector)].isRefused }

    /// The message that the guest wrote for a vector; zeros for one the function does not have.
    public func message(_ vector: UInt32) -> InterruptMessage {
        vector < count ? entries[Int(vector)].message : InterruptMessage(address: 0, data: 0)
    }

    /// Function-level reset, from whatever side: everything as after `init`, pending bits included. `synchronise` emits
    /// `disable` if the sink knew of anything. Counts stay.
    public mutating func reset() {
        if isCarriedEnabled { wasDisabled = true }
        isEnabled = false
        isFunctionMasked = false
        for index in 0..<entries.count {
            entries[index].address = 0
            entries[index].data = 0
            entries[index].isMasked = true
        }
        for index in 0..<pending.count { pending[index] = 0 }
        if wasDisabled { isDirty = true }
    }
}
