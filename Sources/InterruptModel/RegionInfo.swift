/// What `VFIO_DEVICE_GET_REGION_INFO` tells of one region.
///
/// Source: `struct vfio_region_info` in `<linux/vfio.h>`.
public struct RegionInfo: Equatable, Sendable {
    /// The PCI regions as VFIO numbers them: BAR 0 to 5, then these.
    public static let expansionROM: UInt32 = 6
    /// Configuration space.
    public static let configuration: UInt32 = 7
    /// The legacy VGA ranges.
    public static let vga: UInt32 = 8

    /// The region's number.
    public var index: UInt32
    /// How many bytes; 0 when the device lacks the region.
    public var size: UInt64
    /// Where it begins in the device's file.
    public var offset: UInt64
    /// It can be read.
    public var isReadable = false
    /// It can be written.
    public var isWritable = false
    /// It can be mapped, as a whole or in parts.
    public var isMappable = false

    /// Describes a region that nothing is known of but place and size.
    public init(index: UInt32, size: UInt64, offset: UInt64) {
        self.index = index
        self.size = size
        self.offset = offset
    }
}
