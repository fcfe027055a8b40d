/// The regions of the device, numbered as VFIO numbers them. docs/exerciser.md describes each.
public enum ExerciserRegion: UInt32, CaseIterable, Sendable {
    /// BAR 0: registers.
    case registers = 0
    /// BAR 2: one doorbell a vector.
    case doorbells = 2
    /// BAR 4: MSI-X table and pending bits. Absent without MSI-X.
    case messages = 4
    /// Configuration space, 4096 bytes.
    case configuration = 7
}

/// What the device says it is.
public enum ExerciserIdentity {
    /// The vendor: the number that QEMU's own test devices use, which the PCI SIG gave to nobody.
    public static let vendor: UInt16 = 0x1234
    /// The device: "QI" in memory. QEMU uses 1111 (display) and 11e8 (edu) under the same vendor.
    public static let device: UInt16 = 0x4951
    /// Raised with a change of the register map.
    public static let revision: UInt8 = 1
    /// Base system peripheral, other: no driver binds to it by class.
    public static let classCode: UInt32 = 0x08_8000
}
