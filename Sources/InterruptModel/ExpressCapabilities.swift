/// The PCI Express capability, as far as interrupts and resets ask for it.
///
/// Source: PCI Express Base 3.1, 7.8.
public struct ExpressCapability: Equatable, Sendable {
    /// The capability's number in the chain.
    public static let id: UInt8 = 0x10

    /// Where it begins, in bytes.
    public let offset: UInt16
    /// The PCI Express Capabilities register.
    public let capabilities: UInt16
    /// The Device Capabilities register.
    public let deviceCapabilities: UInt32

    /// The structure's version, 1 or 2.
    public var version: UInt8 { UInt8(capabilities & 0xF) }
    /// The function's kind: 0 endpoint, 1 legacy endpoint, 4 root port, 9 integrated endpoint and so on.
    public var portType: UInt8 { UInt8(capabilities >> 4 & 0xF) }
    /// Which of the function's vectors is used for the capability's own events.
    public var interruptMessage: UInt8 { UInt8(capabilities >> 9 & 0x1F) }
    /// The function can be reset by itself (FLR).
    public var resetsFunction: Bool { deviceCapabilities & 1 << 28 != 0 }

    init?<Failure: Error>(
        at offset: Int, _ size: Int, _ fault: inout CapabilityFault?, _ byte: (Int) throws(Failure) -> UInt8
    ) throws(Failure) {
        // Up to the Device Status register: the least that a version 1 structure has.
        guard PCIChain.fits(offset, 12, size, &fault) else { return nil }
        self.offset = UInt16(offset)
        capabilities = try PCIChain.word(offset + 2, byte)
        deviceCapabilities = try PCIChain.long(offset + 4, byte)
    }
}

/// Advanced error reporting: where the errors are, behind the ERR vector.
///
/// Source: PCI Express Base 3.1, 7.10.
public struct ErrorReportingCapability: Equatable, Sendable {
    /// The capability's number in the extended chain.
    public static let id: UInt16 = 0x0001
    /// How many bytes the structure has at least.
    public static let length = 0x2C

    /// Where it begins, in bytes.
    public let offset: UInt16
    /// The structure's version.
    public let version: UInt8
    /// Uncorrectable errors seen.
    public let uncorrectableStatus: UInt32
    /// Uncorrectable errors that are not reported.
    public let uncorrectableMask: UInt32
    /// Uncorrectable errors that are fatal.
    public let uncorrectableSeverity: UInt32
    /// Correctable errors seen.
    public let correctableStatus: UInt32
    /// Correctable errors that are not reported.
    public let correctableMask: UInt32

    /// Whether an error has been seen that is reported as fatal.
    public var hasFatalError: Bool { uncorrectableStatus & ~uncorrectableMask & uncorrectableSeverity != 0 }

    init?<Failure: Error>(
        at offset: Int, _ size: Int, _ fault: inout CapabilityFault?, _ byte: (Int) throws(Failure) -> UInt8
    ) throws(Failure) {
        guard PCIChain.fits(offset, Self.length, size, &fault) else { return nil }
        self.offset = UInt16(offset)
        version = try byte(offset + 2) & 0xF
        uncorrectableStatus = try PCIChain.long(offset + 0x04, byte)
        uncorrectableMask = try PCIChain.long(offset + 0x08, byte)
        uncorrectableSeverity = try PCIChain.long(offset + 0x0C, byte)
        correctableStatus = try PCIChain.long(offset + 0x10, byte)
        correctableMask = try PCIChain.long(offset + 0x14, byte)
    }
}

/// Single-root I/O virtualisation: how many virtual functions there are, and where.
///
/// Source: Single Root I/O Virtualization 1.1, 3.3.
public struct VirtualFunctionsCapability: Equatable, Sendable {
    /// The capability's number in the extended chain.
    public static let id: UInt16 = 0x0010
    /// How many bytes the structure has.
    public static let length = 0x40

    /// Where it begins, in bytes.
    public let offset: UInt16
    /// SR-IOV Control: bit 0 enables the virtual functions, bit 3 their memory.
    public let control: UInt16
    /// InitialVFs: how many can be had at once.
    public let initial: UInt16
    /// TotalVFs: how many there can be.
    public let total: UInt16
    /// NumVFs: how many are there while they are enabled.
    public let number: UInt16
    /// How far the first virtual function's routing identity is from the function's own.
    public let firstOffset: UInt16
    /// How far the next one's is.
    public let stride: UInt16
    /// The device number of the virtual functions; their vendor is the function's.
    public let device: UInt16

    /// The virtual functions are enabled.
    public var isEnabled: Bool { control & 1 != 0 }

    /// The routing identity (bus, device and function) of virtual function `index`, from 0, for a function with the
    /// identity `physical`; `nil` beyond ``total`` or past the last bus.
    public func routingIdentity(_ index: UInt16, physical: UInt16) -> UInt16? {
        guard index < total else { return nil }
        let identity = UInt32(physical) + UInt32(firstOffset) + UInt32(stride) * UInt32(index)
        return UInt16(exactly: identity)
    }

    init?<Failure: Error>(
        at offset: Int, _ size: Int, _ fault: inout CapabilityFault?, _ byte: (Int) throws(Failure) -> UInt8
    ) throws(Failure) {
        guard PCIChain.fits(offset, Self.length, size, &fault) else { return nil }
        self.offset = UInt16(offset)
        control = try PCIChain.word(offset + 0x08, byte)
        initial = try PCIChain.word(offset + 0x0C, byte)
        total = try PCIChain.word(offset + 0x0E, byte)
        number = try PCIChain.word(offset + 0x10, byte)
        firstOffset = try PCIChain.word(offset + 0x14, byte)
        stride = try PCIChain.word(offset + 0x16, byte)
        device = try PCIChain.word(offset + 0x1A, byte)
        if initial > total || number > total { fault = CapabilityFault(.inconsistent, at: self.offset) }
    }
}
