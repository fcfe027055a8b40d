internal import CKernel
public import InterruptModel

/// What a software device is made of.
public struct ExerciserConfiguration: Equatable, Sendable {
    /// Interrupt pins: 0 or 1.
    public var intx: UInt32
    /// MSI vectors: 0, or a power of two up to 32.
    public var msi: UInt32
    /// MSI-X vectors: 0 to 2048.
    public var msix: UInt32
    /// How many vectors its pretended host has left; fewer than asked for give SET_IRQS' positive return.
    public var hostVectors: UInt32 = 2048
    /// Whether MSI-X grows after it was enabled.
    public var growsMSIX = true
    /// Whether memory decoding and bus mastering are on from the beginning, as after a driver has turned them on.
    /// Otherwise the command register is 0, as after power-up, and messages are lost until the driver has.
    public var isBusMasterAtStart = true
    /// Whose rules the device follows.
    public var dialect = Dialect.linux

    /// A device with one pin, 32 MSI and 64 MSI-X vectors, or what is given. ERR and REQ are always there.
    public init(intx: UInt32 = 1, msi: UInt32 = 32, msix: UInt32 = 64) {
        self.intx = intx
        self.msi = msi
        self.msix = msix
    }

    /// Checks the numbers and turns them into the model's terms.
    func profile() throws(DeviceError) -> DeviceProfile {
        guard intx <= 1 else {
            throw DeviceError("create the software device", errno: EINVAL, remedy: "intx is 0 or 1")
        }
        guard msi <= DeviceProfile.mostMSIVectors, msi & (msi &- 1) == 0 else {
            throw DeviceError("create the software device", errno: EINVAL, remedy: "msi is 0, 1, 2, 4, 8, 16 or 32")
        }
        guard msix <= DeviceProfile.mostMSIXVectors else {
            throw DeviceError("create the software device", errno: EINVAL, remedy: "msix is 0 to 2048")
        }
        var profile = DeviceProfile(hasINTx: intx == 1, msiVectors: msi, msixVectors: msix)
        profile.hostVectors = hostVectors
        profile.platformGrowsMSIX = growsMSIX
        // MSI has per-vector masking, and with it pending bits.
        profile.msiHasPendingBits = true
        return profile
    }
}
