/// What a device, its slot and its host offer before any request: the constants the rules of SET_IRQS depend on.
public struct DeviceProfile: Equatable, Sendable {
    /// How the interrupt pin reaches the host.
    public enum Line: Sendable {
        /// To an interrupt of its own, or one that may be shared.
        case connected
        /// To an interrupt that other devices use, which needs DisINTx to tell whose it is.
        case shared
        /// Nowhere: enabling INTx is ENODEV.
        case notConnected
    }

    /// The largest number of MSI vectors a function can have (PCI 3.0, 6.8.1).
    public static let mostMSIVectors: UInt32 = 32
    /// The largest MSI-X table (PCI 3.0, 6.8.2).
    public static let mostMSIXVectors: UInt32 = 2048

    /// The device has an interrupt pin.
    public var hasINTx: Bool
    /// MSI vectors, 0…32.
    public var msiVectors: UInt32
    /// Entries of the MSI-X table, 0…2048.
    public var msixVectors: UInt32
    /// The device is PCI Express; older kernels give only such devices an ERR vector.
    public var isPCIe = true
    /// DisINTx works (PCI 2.3), so that the host masks in the device and may share its line.
    public var supportsDisINTx = true
    /// Where the interrupt pin leads.
    public var line = Line.connected
    /// MSI vectors have mask and pending bits; without them a message that nobody takes is lost.
    public var msiHasPendingBits = false
    /// The platform can allocate MSI-X vectors one by one (needs interrupt remapping).
    public var platformGrowsMSIX = true
    /// How many MSI or MSI-X vectors the host has left for this device.
    public var hostVectors: UInt32 = 2048

    /// Describes a device; vector counts beyond what PCI allows are cut to it.
    public init(hasINTx: Bool = true, msiVectors: UInt32 = 32, msixVectors: UInt32 = 64) {
        self.hasINTx = hasINTx
        self.msiVectors = min(msiVectors, Self.mostMSIVectors)
        self.msixVectors = min(msixVectors, Self.mostMSIXVectors)
    }

    /// Whether MSI-X vectors can be added after MSI-X is enabled.
    public func growsMSIX(_ dialect: Dialect) -> Bool { dialect.growsMSIX && platformGrowsMSIX }

    /// How many vectors SET_IRQS counts for `index`.
    public func count(_ index: IRQIndex, _ dialect: Dialect) -> UInt32 {
        switch index {
        case .intx: hasINTx ? 1 : 0
        case .msi: msiVectors
        case .msix: msixVectors
        case .err: isPCIe || dialect.errWithoutPCIe ? 1 : 0
        case .req: 1
        }
    }

    /// What GET_IRQ_INFO answers; `nil` where it answers EINVAL (ERR of a device that has none).
    public func info(_ index: IRQIndex, _ dialect: Dialect) -> IRQInfo? {
        let count = count(index, dialect)
        if dialect.tables == .oneVectorEach, index != .intx && index != .msi { return nil }
        guard dialect.tables != .sharedByTypes else { return IRQInfo(count: count, eventfd: true) }
        switch index {
        case .intx: return IRQInfo(count: count, eventfd: true, maskable: true, automasked: true)
        case .msi: return IRQInfo(count: count, eventfd: true, noResize: !dialect.growsMSI)
        case .req: return IRQInfo(count: count, eventfd: true, noResize: true)
        case .msix:
            let grows = growsMSIX(dialect)
            return IRQInfo(count: count, eventfd: true, maskable: dialect.masksMSIX, noResize: !grows)
        case .err: return count == 0 ? nil : IRQInfo(count: count, eventfd: true, noResize: true)
        }
    }
}
