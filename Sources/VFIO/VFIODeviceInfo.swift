internal import CKernel
internal import InterruptModel

/// What `VFIO_DEVICE_GET_INFO` tells of a device.
///
/// Source: `struct vfio_device_info` in `<linux/vfio.h>`.
public struct VFIODeviceInfo: Equatable, Sendable {
    /// `VFIO_DEVICE_RESET` works.
    public var canReset: Bool
    /// A PCI function, or a mediated device that behaves as one.
    public var isPCI: Bool
    /// How many regions there may be; some have size 0.
    public var regionCount: UInt32
    /// How many interrupt indexes there may be.
    public var irqIndexCount: UInt32
    /// The ids of its capabilities, known or not.
    public var capabilities: [UInt16]
    /// The capabilities were malformed; what could be read of them counts.
    public var isMalformed: Bool

    /// Reads a whole `struct vfio_device_info` with what follows it; `nil` when it is cut short.
    public init?(bytes: [UInt8]) {
        guard bytes.count >= Self.oldSize else { return nil }
        let flags = InfoBytes.word(bytes, at: 4)
        canReset = flags & UInt32(VFIO_DEVICE_FLAGS_RESET) != 0
        isPCI = flags & UInt32(VFIO_DEVICE_FLAGS_PCI) != 0
        regionCount = InfoBytes.word(bytes, at: 8)
        irqIndexCount = InfoBytes.word(bytes, at: 12)
        let hasCapabilities = flags & UInt32(VFIO_DEVICE_FLAGS_CAPS) != 0 && bytes.count >= Self.size
        let chain = CapabilityChain(bytes, from: hasCapabilities ? InfoBytes.word(bytes, at: 16) : 0)
        capabilities = chain.entries.map { $0.id }
        isMalformed = chain.isMalformed
    }

    /// Before capabilities (Linux 5.8), and with their offset.
    private static let oldSize = 16
    private static let size = 20

    init(of device: Int32) throws(VFIOError) {
        let (bytes, result) = InfoBytes.ask(device, irqmux_VFIO_DEVICE_GET_INFO, size: Self.size)
        guard result >= 0 else { throw VFIOError(.deviceInfo, errno: -result, .plain(-result)) }
        guard let info = VFIODeviceInfo(bytes: bytes) else { throw VFIOError(.deviceInfo, errno: EIO) }
        self = info
    }
}
