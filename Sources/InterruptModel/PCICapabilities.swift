/// What a PCI function's configuration space says that concerns interrupts: MSI, MSI-X, PCI Express, error reporting
/// and virtual functions, found by walking both chains of capabilities.
///
/// Nothing that a device says is believed unseen: a pointer outside, a loop, or a structure that runs over the end
/// stops the walk and is told as a fault, and what was found before it stays. A walk reads at most 48 standard and 960
/// extended headers. Pure: the caller supplies the bytes.
///
/// Source: PCI Local Bus 3.0, 6.1, 6.7, 6.8; PCI Express Base 3.1, 7.8 to 7.10, 9.3; `<linux/pci_regs.h>`.
public struct PCICapabilities: Equatable, Sendable {
    /// Vendor and device, as the first register has them; vendor 0xFFFF means that nobody answers.
    public private(set) var vendor: UInt16 = 0xFFFF
    /// The device's number within its vendor.
    public private(set) var device: UInt16 = 0xFFFF
    /// The header's layout: 0 for a device, 1 for a bridge, 2 for a CardBus bridge.
    public private(set) var headerType: UInt8 = 0
    /// The interrupt pin: 0 for none, 1 to 4 for INTA# to INTD#; a number beyond those is a fault, and 0 here.
    public private(set) var interruptPin: UInt8 = 0
    /// Message-signalled interrupts.
    public private(set) var msi: MSICapability?
    /// Extended message-signalled interrupts.
    public private(set) var msix: MSIXCapability?
    /// PCI Express.
    public private(set) var express: ExpressCapability?
    /// Advanced error reporting.
    public private(set) var errorReporting: ErrorReportingCapability?
    /// Single-root I/O virtualisation.
    public private(set) var virtualFunctions: VirtualFunctionsCapability?
    /// What was wrong with the header or the standard chain, and ended its walk or was passed over; the first one.
    public private(set) var standardFault: CapabilityFault?
    /// What was wrong with the extended chain; the first one.
    public private(set) var extendedFault: CapabilityFault?

    /// Parses configuration space.
    ///
    /// - Parameters:
    ///   - size: How many bytes there are: 256, or 4096 with extended space. What lies beyond is never asked for.
    ///   - byte: Reads the byte at an offset below `size`.
    /// - Throws: What `byte` throws, at once.
    public init<Failure: Error>(
        size: Int, byte: (_ offset: Int) throws(Failure) -> UInt8
    ) throws(Failure) {
        let limit = min(size, PCIChain.extendedEnd)
        guard limit >= PCIChain.headerEnd else {
            standardFault = CapabilityFault(.spaceTooSmall, at: UInt16(max(limit, 0)))
            return
        }
        vendor = try PCIChain.word(0x00, byte)
        device = try PCIChain.word(0x02, byte)
        guard vendor != 0xFFFF else {
            standardFault = CapabilityFault(.nobodyAnswers, at: 0)
            return
        }
        headerType = try byte(0x0E) & 0x7F
        let pin = try byte(0x3D)
        if pin <= 4 { interruptPin = pin } else { standardFault = CapabilityFault(.reservedValue, at: 0x3D) }
        let fault = try PCIChain.standard(size: limit, headerType: headerType, byte) {
            (id, offset) throws(Failure) -> CapabilityFault? in
            try takeStandard(id, offset, size: min(limit, PCIChain.standardEnd), byte)
        }
        standardFault = standardFault ?? fault
        extendedFault = try PCIChain.extended(size: limit, byte) { (id, offset) throws(Failure) -> CapabilityFault? in
            try takeExtended(id, offset, size: limit, byte)
        }
    }

    /// Parses a copy of configuration space that is in memory.
    public init(_ bytes: Span<UInt8>) {
        self.init(size: bytes.count) { bytes[$0] }
    }

    /// The first fault of either chain, thrown, for a caller who takes nothing from a device that lies.
    ///
    /// - Throws: The fault.
    public func requireSound() throws(CapabilityFault) {
        if let fault = standardFault ?? extendedFault { throw fault }
    }

    private mutating func takeStandard<Failure: Error>(
        _ id: UInt8, _ offset: Int, size: Int, _ byte: (Int) throws(Failure) -> UInt8
    ) throws(Failure) -> CapabilityFault? {
        var fault: CapabilityFault?
        switch id {
        case MSICapability.id where msi == nil: msi = try MSICapability(at: offset, size, &fault, byte)
        case MSIXCapability.id where msix == nil: msix = try MSIXCapability(at: offset, size, &fault, byte)
        case ExpressCapability.id where express == nil: express = try ExpressCapability(at: offset, size, &fault, byte)
        case MSICapability.id, MSIXCapability.id, ExpressCapability.id:
            fault = CapabilityFault(.duplicate, at: UInt16(offset))
        default: break
        }
        return fault
    }

    private mutating func takeExtended<Failure: Error>(
        _ id: UInt16, _ offset: Int, size: Int, _ byte: (Int) throws(Failure) -> UInt8
    ) throws(Failure) -> CapabilityFault? {
        var fault: CapabilityFault?
        switch id {
        case ErrorReportingCapability.id where errorReporting == nil:
            errorReporting = try ErrorReportingCapability(at: offset, size, &fault, byte)
        case VirtualFunctionsCapability.id where virtualFunctions == nil:
            virtualFunctions = try VirtualFunctionsCapability(at: offset, size, &fault, byte)
        case ErrorReportingCapability.id, VirtualFunctionsCapability.id:
            fault = CapabilityFault(.duplicate, at: UInt16(offset))
        default: break
        }
        return fault
    }
}
