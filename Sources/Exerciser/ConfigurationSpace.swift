internal import InterruptModel

/// Configuration space of the device: 4096 bytes of which each bit is constant, writable, or cleared by writing a one.
///
/// A pure value that knows bits and where things stand; what a written bit does to the device, `DeviceCore` knows.
/// Source: PCI Local Bus 3.0, chapter 6; PCI Express Base 5.0, chapter 7.
struct ConfigurationSpace: Equatable, Sendable {
    static let size = 4096

    /// Where the capabilities stand; `nil` for one that the device does not have.
    private(set) var msi: Int?
    private(set) var msix: Int?
    private(set) var express = 0
    static let advancedErrors = 0x100

    private var bytes = [UInt8](repeating: 0, count: Self.size)
    private var writable = [UInt8](repeating: 0, count: Self.size)
    private var clearedByOne = [UInt8](repeating: 0, count: Self.size)

    init(_ configuration: ExerciserConfiguration) {
        addHeader(configuration)
        var chain = CapabilityChain()
        addMSI(configuration, &chain)
        addMSIX(configuration, &chain)
        addExpress(&chain)
        addAdvancedErrors()
    }

    /// A capability's offset goes into the pointer of the one before it, the first one's into the header's.
    struct CapabilityChain {
        var pointer = Header.capabilities
        var free = 0x40
    }

    /// Starts a capability of `length` bytes behind the others; returns its offset.
    mutating func append(_ identity: UInt8, _ length: Int, _ chain: inout CapabilityChain) -> Int {
        let offset = chain.free
        bytes[chain.pointer] = UInt8(offset)
        bytes[offset] = identity
        chain.pointer = offset + 1
        // Capabilities begin at multiples of four.
        chain.free = offset + (length + 3) / 4 * 4
        return offset
    }

    /// Lays down `count` bytes: what they hold first, which bits are writable, which a written one clears.
    mutating func lay(_ offset: Int, _ count: Int, _ value: UInt32, writable: UInt32 = 0, clearedByOne: UInt32 = 0) {
        for position in 0..<count {
            let shift = UInt32(position) * 8
            bytes[offset + position] = UInt8(truncatingIfNeeded: value >> shift)
            self.writable[offset + position] = UInt8(truncatingIfNeeded: writable >> shift)
            self.clearedByOne[offset + position] = UInt8(truncatingIfNeeded: clearedByOne >> shift)
        }
    }

    /// The value of `count` bytes, 8 at most, little-endian. The range is within the space.
    func read(_ offset: Int, _ count: Int) -> UInt64 {
        // A loop, since raising ERR reads too, and a raise allocates nothing.
        var value: UInt64 = 0
        for position in 0..<count as Range<Int> { value |= UInt64(bytes[offset + position]) << UInt64(8 * position) }
        return value
    }

    /// Writes `count` bytes, 8 at most, as the bus does: byte by byte, each bit by its kind.
    mutating func write(_ offset: Int, _ count: Int, _ value: UInt64) {
        for position in 0..<count {
            let (at, byte) = (offset + position, UInt8(truncatingIfNeeded: value >> (8 * UInt64(position))))
            bytes[at] = bytes[at] & ~writable[at] | byte & writable[at]
            bytes[at] &= ~(byte & clearedByOne[at])
        }
    }

    /// Sets or clears bits from the device's side, whatever a driver may write there.
    mutating func put(_ offset: Int, _ count: Int, _ value: UInt32) {
        for position in 0..<count as Range<Int> {
            bytes[offset + position] = UInt8(truncatingIfNeeded: value >> UInt32(8 * position))
        }
    }

    /// Takes over from `other` what a function level reset leaves alone: the error registers are sticky.
    mutating func keepSticky(of other: ConfigurationSpace) {
        for offset in Self.advancedErrors..<Self.advancedErrors + AdvancedErrors.length {
            bytes[offset] = other.bytes[offset]
        }
    }

    mutating func setMSI(_ offset: Int) { msi = offset }
    mutating func setMSIX(_ offset: Int) { msix = offset }
    mutating func setExpress(_ offset: Int) { express = offset }
}

extension ConfigurationSpace {
    /// Offsets of the type 0 header, and bits of its registers.
    enum Header {
        static let command = 0x04
        static let status = 0x06
        static let firstBAR = 0x10
        static let capabilities = 0x34
        static let interruptLine = 0x3c
        static let interruptPin = 0x3d

        static let memorySpace: UInt16 = 1 << 1
        static let busMaster: UInt16 = 1 << 2
        static let systemErrors: UInt16 = 1 << 8
        static let interruptDisable: UInt16 = 1 << 10
        static let interruptStatus: UInt16 = 1 << 3
        static let signalledSystemError: UInt16 = 1 << 14
    }

    /// Offsets within MSI, with 64-bit addresses and a mask for each vector.
    enum MSI {
        static let length = 0x18
        static let control = 0x02
        static let mask = 0x10
        static let pending = 0x14
    }

    /// Offsets within MSI-X.
    enum MSIX {
        static let length = 0x0c
        static let control = 0x02
        static let functionMask: UInt16 = 1 << 14
    }

    /// Offsets within PCI Express.
    enum Express {
        static let length = 0x3c
        static let control = 0x08
        static let status = 0x0a
        static let functionLevelReset: UInt16 = 1 << 15
        static let nonFatalDetected: UInt16 = 1 << 1
        static let fatalDetected: UInt16 = 1 << 2
    }

    /// Offsets within Advanced Error Reporting, and the one error that the device has.
    enum AdvancedErrors {
        static let length = 0x2c
        static let status = 0x04
        static let mask = 0x08
        static let severity = 0x0c
        static let control = 0x18
        static let internalError: UInt32 = 1 << 22
    }

    /// What a driver controls, and what the device has to follow.
    struct Controls: Equatable {
        var command: UInt16
        var msiMask: UInt32
        var isMSIXMasked: Bool
    }

    var controls: Controls {
        Controls(
            command: UInt16(read(Header.command, 2)),
            msiMask: msi.map { UInt32(read($0 + MSI.mask, 4)) } ?? 0,
            isMSIXMasked: msix.map { UInt16(read($0 + MSIX.control, 2)) & MSIX.functionMask != 0 } ?? false)
    }

    /// Whether a write of `value` asks for a function level reset; the bit itself always reads as 0.
    func asksForReset(_ offset: Int, _ count: Int, _ value: UInt64) -> Bool {
        let high = express + Express.control + 1
        guard offset <= high, high < offset + count else { return false }
        return value >> (8 * UInt64(high - offset)) & 0x80 != 0
    }

    /// Shows the level of the interrupt pin, which the status register tells whether or not DisINTx is set.
    mutating func showInterrupt(_ asserted: Bool) {
        let status = UInt16(read(Header.status, 2)) & ~Header.interruptStatus
        put(Header.status, 2, UInt32(asserted ? status | Header.interruptStatus : status))
    }

    /// Shows the pending bits of MSI.
    mutating func showPending(msi pending: UInt32) {
        if let msi { put(msi + MSI.pending, 4, pending) }
    }

    /// Logs an uncorrectable internal error, as the function does that raises ERR.
    mutating func logError() {
        let errors = Self.advancedErrors
        let status = UInt32(read(errors + AdvancedErrors.status, 4))
        let error = AdvancedErrors.internalError
        // The first error pointer holds the first of the errors that nobody has cleared.
        if status == 0 { put(errors + AdvancedErrors.control, 4, UInt32(error.trailingZeroBitCount)) }
        put(errors + AdvancedErrors.status, 4, status | error)
        let isFatal = UInt32(read(errors + AdvancedErrors.severity, 4)) & error != 0
        let detected = isFatal ? Express.fatalDetected : Express.nonFatalDetected
        put(express + Express.status, 2, UInt32(read(express + Express.status, 2)) | UInt32(detected))
        let isMasked = UInt32(read(errors + AdvancedErrors.mask, 4)) & error != 0
        guard !isMasked, controls.command & Header.systemErrors != 0 else { return }
        put(Header.status, 2, UInt32(read(Header.status, 2)) | UInt32(Header.signalledSystemError))
    }
}
