internal import CKernel
internal import InterruptModel

/// A copy of a device's configuration space, to be read as a device's is: one parser for both is half the size.
///
/// Belongs to whoever has the bytes, which stay in place as long as this lives.
@safe package final class ConfigurationCopy: AttachedDevice {
    private let bytes: UnsafeRawPointer
    private let count: Int

    /// A copy at `bytes`, of `count` bytes.
    package init(_ bytes: UnsafeRawPointer, count: Int) {
        // SAFETY: the caller keeps them.
        unsafe self.bytes = bytes
        self.count = count
        super.init(generation: 0)
    }

    override func region(_ number: UInt32) throws(DeviceError) -> RegionInfo {
        RegionInfo(index: number, size: UInt64(count), offset: 0)
    }

    override func readRegion(_ region: UInt32, _ offset: UInt64, _ count: Int) throws(DeviceError) -> UInt64 {
        guard offset < UInt64(self.count) else { throw DeviceError("reading a region", errno: EINVAL) }
        // SAFETY: within the copy; its parser reads bytes.
        return unsafe UInt64(bytes.load(fromByteOffset: Int(offset), as: UInt8.self))
    }
}
