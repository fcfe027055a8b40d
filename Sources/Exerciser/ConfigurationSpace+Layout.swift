internal import InterruptModel

/// What stands where after power-up. docs/exerciser.md has the picture.
extension ConfigurationSpace {
    /// Base address registers: region and size. The others are absent and read as zero whatever is written.
    static func barSizes(_ configuration: ExerciserConfiguration) -> [(region: ExerciserRegion, size: UInt32)] {
        let always = [(ExerciserRegion.registers, 0x1000 as UInt32), (.doorbells, 0x4000)]
        return configuration.msix > 0 ? always + [(.messages, 0x1_0000)] : always
    }

    mutating func addHeader(_ configuration: ExerciserConfiguration) {
        lay(0x00, 2, UInt32(ExerciserIdentity.vendor))
        lay(0x02, 2, UInt32(ExerciserIdentity.device))
        let enabled = configuration.isBusMasterAtStart ? Header.memorySpace | Header.busMaster : 0
        // Memory space, bus master, parity error response, SERR#, interrupt disable. There is no I/O space.
        lay(Header.command, 2, UInt32(enabled), writable: 0x0546)
        // A capability list; the error bits are cleared by writing ones.
        lay(Header.status, 2, 0x0010, clearedByOne: 0xf900)
        lay(0x08, 4, ExerciserIdentity.classCode << 8 | UInt32(ExerciserIdentity.revision))
        lay(0x0c, 1, 0, writable: 0xff)
        for (region, size) in Self.barSizes(configuration) {
            // 32-bit memory that is not prefetchable. Bits below the size do not exist, so that writing ones sizes it.
            lay(Header.firstBAR + Int(region.rawValue) * 4, 4, 0, writable: ~(size - 1))
        }
        lay(0x2c, 2, UInt32(ExerciserIdentity.vendor))
        lay(0x2e, 2, UInt32(ExerciserIdentity.device))
        lay(Header.interruptLine, 1, 0, writable: 0xff)
        lay(Header.interruptPin, 1, configuration.intx)
    }

    mutating func addMSI(_ configuration: ExerciserConfiguration, _ chain: inout CapabilityChain) {
        guard configuration.msi > 0 else { return }
        let offset = append(0x05, MSI.length, &chain)
        setMSI(offset)
        let capable = UInt32(configuration.msi.trailingZeroBitCount) << 1
        // 64-bit addresses and per-vector masking; Enable and Multiple Message Enable are the driver's.
        lay(offset + MSI.control, 2, 0x0180 | capable, writable: 0x0071)
        lay(offset + 0x04, 4, 0, writable: 0xffff_fffc)
        lay(offset + 0x08, 4, 0, writable: 0xffff_ffff)
        lay(offset + 0x0c, 2, 0, writable: 0xffff)
        // Shifted in 64 bits, since 32 vectors leave no bit over.
        let vectors = UInt32(truncatingIfNeeded: UInt64(1) << UInt64(configuration.msi) - 1)
        lay(offset + MSI.mask, 4, 0, writable: vectors)
    }

    mutating func addMSIX(_ configuration: ExerciserConfiguration, _ chain: inout CapabilityChain) {
        guard configuration.msix > 0 else { return }
        let offset = append(0x11, MSIX.length, &chain)
        setMSIX(offset)
        // Enable and Function Mask are the driver's.
        lay(offset + MSIX.control, 2, configuration.msix - 1, writable: 0xc000)
        lay(offset + 0x04, 4, UInt32(MessageTable.tableOffset) | ExerciserRegion.messages.rawValue)
        lay(offset + 0x08, 4, UInt32(MessageTable.pendingOffset) | ExerciserRegion.messages.rawValue)
    }

    mutating func addExpress(_ chain: inout CapabilityChain) {
        let offset = append(0x10, Express.length, &chain)
        setExpress(offset)
        // Version 2 of the capability, an endpoint.
        lay(offset + 0x02, 2, 0x0002)
        // Payloads of 128 bytes, role-based error reporting, function level reset.
        lay(offset + 0x04, 4, 0x1000_8000)
        // Error reporting, relaxed ordering, payload, no snoop and read request sizes are the driver's.
        lay(offset + Express.control, 2, 0x2810, writable: 0x78ff)
        lay(offset + Express.status, 2, 0, clearedByOne: 0x000f)
        // One lane at 2.5 GT/s, in use; common clock and extended synch are the driver's.
        lay(offset + 0x0c, 4, 0x0000_0011)
        lay(offset + 0x10, 2, 0, writable: 0x00c0)
        lay(offset + 0x12, 2, 0x0011)
        lay(offset + 0x2c, 4, 0x0000_0002)
        lay(offset + 0x30, 2, 0x0001)
    }

    mutating func addAdvancedErrors() {
        let offset = Self.advancedErrors
        // Version 2; no further extended capability.
        lay(offset, 4, 0x0002_0001)
        let uncorrectable: UInt32 = 0x005f_f030
        lay(offset + AdvancedErrors.status, 4, 0, clearedByOne: uncorrectable)
        lay(offset + AdvancedErrors.mask, 4, 0x0040_0000, writable: uncorrectable)
        lay(offset + AdvancedErrors.severity, 4, 0x0046_2030, writable: uncorrectable)
        let correctable: UInt32 = 0x0000_f1c1
        lay(offset + 0x10, 4, 0, clearedByOne: correctable)
        lay(offset + 0x14, 4, 0x0000_e000, writable: correctable)
    }
}
