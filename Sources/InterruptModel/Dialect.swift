internal import CKernel

/// Where implementations of SET_IRQS differ, as data: the model has one set of rules and reads these switches.
///
/// Source: docs/vfio-semantics.md (Linux 6.1, 6.12 and 7.3 sources; libvfio-user efd091b, read and run).
public struct Dialect: Equatable, Sendable {
    /// How the eventfds of INTx, MSI and MSI-X are kept.
    public enum Tables: Sendable {
        /// One type at a time is enabled, and switching means disabling first.
        case oneActiveType
        /// One table for the three types, nothing is ever enabled; INTx 0, MSI 0 and MSI-X 0 are the same entry.
        case sharedByTypes
        /// INTx and MSI have one vector each, and nothing else is there (the kernel's sample mediated device).
        case oneVectorEach
    }

    /// Which implementation this is.
    public var name: StaticString
    /// How the eventfds are kept.
    public var tables: Tables = .oneActiveType
    /// Flag bits that mean nothing are refused (EINVAL).
    public var refusesUnknownFlags = true
    /// What a missing, doubled or unsupported action earns.
    public var badActionErrno: Int32 = ENOTTY
    /// Any non-zero byte of a BOOL payload is true; otherwise only 1 is.
    public var anyNonZeroIsTrue = true
    /// A BOOL payload must have exactly as many bytes as vectors; otherwise extra bytes are ignored.
    public var boolPayloadIsExact = false
    /// The eventfd numbers stand in the payload; otherwise they travel beside it, and none means de-assign.
    public var eventFDsInPayload = true
    /// Count 0 is accepted with TRIGGER, NONE and start 0 only.
    public var emptyRangeOnlyDisables = false
    /// A file that is not an eventfd is refused (EINVAL).
    public var refusesOtherFiles = true
    /// A device that is not PCI Express has an ERR vector too (Linux after 6.12).
    public var errWithoutPCIe = false
    /// MSI-X can grow after it is enabled, where the platform can (Linux 6.5).
    public var growsMSIX = true
    /// MSI can grow after it is enabled; Linux never does that.
    public var growsMSI = false
    /// A range that reaches beyond the vectors allocated is refused as a whole, for assignment and loopback alike
    /// (before Linux 6.5); otherwise assignment fails at the first such vector, and loopback passes over them.
    public var refusesRangesBeyondAllocation = false
    /// ERR and REQ pass over eventfd numbers below -1 (Linux 6.1); later ones refuse them.
    public var ignoresBelowMinusOne = false
    /// MSI-X vectors take MASK and UNMASK with NONE and BOOL, and GET_IRQ_INFO says so. The kernel's do not; those of a
    /// device in user space can, and a VMM then leaves mask and pending bits to it.
    public var masksMSIX = false
    /// A de-assigned range ends at `count` where it should end at start + count (libvfio-user's arithmetic).
    public var deassignEndsAtCount = false

    /// Linux as of 7.3, and what the software device speaks.
    public static var linux: Dialect {
        var dialect = Dialect(name: "Linux")
        dialect.errWithoutPCIe = true
        return dialect
    }

    /// Linux `major`.`minor` with its stable updates; the oldest whose rules are known is 6.1.
    ///
    /// ERR without PCI Express was read absent in 6.12 and present in 7.3; which release in between brought it is not
    /// known, so it is taken for new in 7.0.
    public static func linux(_ major: Int, _ minor: Int) -> Dialect {
        var dialect = Dialect.linux
        let dynamic = (major, minor) >= (6, 5)
        dialect.growsMSIX = dynamic
        dialect.refusesRangesBeyondAllocation = !dynamic
        // Run: 6.1 ignores, 6.12 refuses. Which release in between changed it is not known.
        dialect.ignoresBelowMinusOne = !dynamic
        dialect.errWithoutPCIe = major >= 7
        return dialect
    }

    /// A vfio-user server that follows Linux wherever the protocol lets it (docs/vfio-user.md).
    ///
    /// One message carries few eventfds, so enabling takes several, and MSI has to grow as MSI-X does. MSI-X vectors
    /// can be masked by request, so that a VMM need not leave them to the guest-facing table.
    public static var vfioUser: Dialect {
        var dialect = Dialect.linux
        dialect.name = "vfio-user"
        dialect.growsMSI = true
        dialect.masksMSIX = true
        return dialect
    }

    /// A libvfio-user server, as it answers over vfio-user.
    public static var libvfioUser: Dialect {
        var dialect = Dialect(name: "libvfio-user")
        dialect.tables = .sharedByTypes
        dialect.refusesUnknownFlags = false
        dialect.badActionErrno = EINVAL
        dialect.anyNonZeroIsTrue = false
        dialect.boolPayloadIsExact = true
        dialect.eventFDsInPayload = false
        dialect.emptyRangeOnlyDisables = true
        dialect.refusesOtherFiles = false
        dialect.errWithoutPCIe = true
        dialect.growsMSIX = false
        dialect.deassignEndsAtCount = true
        return dialect
    }

    /// The kernel's sample mediated device, mtty, as of Linux 6.12. That of 6.1 has no rules to speak of: it ignores
    /// masks and −1, and frees an eventfd twice when it is disabled twice.
    public static var mtty: Dialect {
        var dialect = Dialect(name: "mtty")
        dialect.tables = .oneVectorEach
        return dialect
    }

    /// Whether a byte of a BOOL payload is true.
    func isTrue(_ byte: UInt8) -> Bool { anyNonZeroIsTrue ? byte != 0 : byte == 1 }

    /// Whether both are the same implementation with the same switches; the name is prose and does not count.
    public static func == (left: Dialect, right: Dialect) -> Bool {
        left.tables == right.tables && left.refusesUnknownFlags == right.refusesUnknownFlags
            && left.badActionErrno == right.badActionErrno && left.anyNonZeroIsTrue == right.anyNonZeroIsTrue
            && left.boolPayloadIsExact == right.boolPayloadIsExact
            && left.eventFDsInPayload == right.eventFDsInPayload
            && left.emptyRangeOnlyDisables == right.emptyRangeOnlyDisables
            && left.refusesOtherFiles == right.refusesOtherFiles && left.errWithoutPCIe == right.errWithoutPCIe
            && left.growsMSIX == right.growsMSIX && left.growsMSI == right.growsMSI
            && left.refusesRangesBeyondAllocation == right.refusesRangesBeyondAllocation
            && left.ignoresBelowMinusOne == right.ignoresBelowMinusOne
            && left.masksMSIX == right.masksMSIX && left.deassignEndsAtCount == right.deassignEndsAtCount
    }
}
