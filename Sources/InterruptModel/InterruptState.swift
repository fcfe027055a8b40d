/// The interrupt state of one function at one moment, to be kept or carried elsewhere: registers, pending bits, and
/// what became of every signal so far.
///
/// A plain value. `encoded` makes a self-checking blob of it, and `init(decoding:)` refuses a blob that is damaged in
/// any way before anything is touched. GSIs, eventfds and the host's vectors are not part of it: where the state is
/// loaded they are taken anew. The format is documented in docs/guest-interrupts.md.
public struct InterruptState: Equatable, Sendable {
    /// The way that a vector's signals took when the state was saved.
    public enum Way: UInt8, CaseIterable, Sendable {
        /// None: connected, and never unmasked.
        case none = 0
        /// By the loop, which injected its message.
        case injected = 1
        /// Past the loop.
        case bypassed = 2
    }

    /// What is kept of one vector besides its registers.
    public struct VectorRecord: Equatable, Sendable {
        /// Which vector: of MSI or MSI-X.
        public var vector: Vector
        /// The way that its signals took.
        public var way: Way
        /// It was open: a signal may have been on its way into the guest, or may come before the state is loaded. It is
        /// told once when that happens.
        public var mayHaveLost: Bool
        /// Its account; what is pending is told when it is unmasked.
        public var account: Ledger

        /// A record of its parts.
        public init(_ vector: Vector, way: Way, mayHaveLost: Bool, account: Ledger) {
            self.vector = vector
            self.way = way
            self.mayHaveLost = mayHaveLost
            self.account = account
        }
    }

    /// MSI-X registers and pending bits, where the guest has MSI-X.
    public var msix: MSIXTable?
    /// MSI registers and pending bits, where the guest has MSI.
    public var msi: MSIRegisters?
    /// One record a connected vector, in ascending order of index and number.
    public var vectors: [VectorRecord]
    /// The accounts of vectors that were let go before.
    public var retired: Ledger
    /// INTx, where it was saved.
    public var line: Line?

    /// A state of its parts.
    public init(
        msix: MSIXTable?, msi: MSIRegisters?, vectors: [VectorRecord] = [], retired: Ledger = Ledger(),
        line: Line? = nil
    ) {
        self.line = line
        self.msix = msix
        self.msi = msi
        self.vectors = vectors
        self.retired = retired
    }

    /// Whether its messages are those of a device with as many vectors of MSI-X and such an MSI; `nil` where it has
    /// none.
    public func fits(msixVectors: UInt32?, msi registers: MSIRegisters?) -> Bool {
        msix?.count == msixVectors && msi?.layout == registers?.layout && msi?.next == registers?.next
    }

    /// The account of everything in it.
    public var ledger: Ledger {
        var sum = retired
        for record in vectors { sum.merge(record.account) }
        if let line { sum.merge(line.account) }
        return sum
    }
}

/// Why a saved state was refused. Nothing has been touched then.
public struct StateError: Error, Equatable, Sendable {
    /// What is wrong.
    public enum Reason: UInt8, CaseIterable, Sendable {
        /// It ends before it should.
        case truncated
        /// It does not begin as a saved state does.
        case notAState
        /// A version that this program does not know.
        case unknownVersion
        /// It is longer or shorter than it says.
        case wrongLength
        /// The checksum does not fit: it was damaged.
        case damaged
        /// A section that this version does not have, or has already had, or in the wrong order.
        case unexpectedSection
        /// A section is longer or shorter than what is in it.
        case wrongSectionLength
        /// Reserved bits are set.
        case reservedBits
        /// More vectors than a function can have, or none.
        case badCount
        /// A vector that is not there, or out of order, or there twice.
        case badVector
        /// It is of another device: the number of vectors or the capability differs.
        case otherDevice
        /// It says things of one line that cannot be true together.
        case contradiction

        /// One sentence.
        public var text: StaticString {
            switch self {
            case .truncated: "the saved state ends too early"
            case .notAState: "this is not a saved interrupt state"
            case .unknownVersion: "the saved state has a version that this program does not know"
            case .wrongLength: "the saved state is not as long as it says"
            case .damaged: "the saved state is damaged: its checksum does not fit"
            case .unexpectedSection: "the saved state has a section that is unknown, repeated or out of order"
            case .wrongSectionLength: "a section of the saved state is not as long as what is in it"
            case .reservedBits: "the saved state has reserved bits set"
            case .badCount: "the saved state has a number of vectors that no function has"
            case .badVector: "the saved state names a vector that is not there, or names one twice"
            case .otherDevice: "the saved state is that of another device"
            case .contradiction: "the saved state says things of INTx that cannot be true together"
            }
        }
    }

    /// What is wrong: the first thing that was found.
    public var reason: Reason
    /// Where, in bytes from the beginning.
    public var offset: Int

    /// Makes an error of its parts.
    public init(_ reason: Reason, at offset: Int) {
        self.reason = reason
        self.offset = offset
    }
}

#if !hasFeature(Embedded)
    extension StateError: CustomStringConvertible {
        /// The reason's sentence, and where.
        public var description: String { "\(reason.text) (at byte \(offset))" }
    }
#endif
