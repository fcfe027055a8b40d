internal import CKernel
public import InterruptModel

extension VFIODevice {
    static func region(_ device: Int32, _ index: UInt32) throws(VFIOError) -> RegionInfo {
        let (bytes, result) = InfoBytes.ask(
            device, irqmux_VFIO_DEVICE_GET_REGION_INFO, size: RegionInfo.size, index: index)
        // A region that the device does not have (VGA of most) is EINVAL; to us it has no bytes.
        if result == -EINVAL { return RegionInfo(index: index, size: 0, offset: 0) }
        guard result >= 0 else { throw VFIOError(.regionInfo, errno: -result, .plain(-result)) }
        guard let info = RegionInfo(bytes: bytes) else { throw VFIOError(.regionInfo, errno: EIO) }
        return info
    }

    /// What the kernel says of region `number`.
    ///
    /// - Throws: `EINVAL` for a number beyond the device's regions.
    public func regionInfo(_ number: UInt32) throws(DeviceError) -> RegionInfo {
        guard number < UInt32(regions.count) else {
            throw DeviceError("GET_REGION_INFO", errno: EINVAL, remedy: VFIOError.Reason.noSuchPlace.remedy)
        }
        return regions[Int(number)]
    }

    private func place(
        _ region: UInt32, _ offset: UInt64, _ count: Int, _ operation: StaticString
    ) throws(DeviceError) -> UInt64 {
        guard region < UInt32(regions.count), count == 1 || count == 2 || count == 4 || count == 8,
            offset <= regions[Int(region)].size, UInt64(count) <= regions[Int(region)].size - offset
        else {
            throw DeviceError(operation, errno: EINVAL, remedy: VFIOError.Reason.noSuchPlace.remedy)
        }
        return regions[Int(region)].offset + offset
    }

    /// Reads `count` ∈ {1, 2, 4, 8} bytes of a region, little-endian, by pread(2).
    ///
    /// - Throws: `EINVAL` outside of the region; `EIO` for a BAR while the device's memory or I/O decoding is off.
    public func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 {
        let place = try place(region, offset, count, "reading a region")
        var value: UInt64 = 0
        // SAFETY: the number has room for eight bytes, and count is eight at most.
        let result = unsafe irqmux_vfio_read(number, &value, count, place)
        guard result == Int32(count) else { throw Self.failure("reading a region", result) }
        return UInt64(littleEndian: value)
    }

    /// Writes `count` ∈ {1, 2, 4, 8} bytes of a region, little-endian, by pwrite(2).
    ///
    /// - Throws: `EINVAL` outside of the region; `EIO` for a BAR while the device's memory or I/O decoding is off.
    public func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {
        let place = try place(region, offset, count, "writing a region")
        var value = value.littleEndian
        // SAFETY: as above.
        let result = unsafe irqmux_vfio_write(number, &value, count, place)
        guard result == Int32(count) else { throw Self.failure("writing a region", result) }
    }

    private static func failure(_ operation: StaticString, _ result: Int32) -> DeviceError {
        let errno = result < 0 ? -result : EIO
        return DeviceError(
            operation, errno: errno,
            remedy: errno == EIO ? "let the device decode memory: bit 1 of its command register" : "")
    }

    // MARK: The command register

    /// The PCI command register: bit 1 lets the device decode memory, bit 2 lets it master the bus (without it no
    /// message ever leaves the device), bit 10 is DisINTx.
    public func command() throws(DeviceError) -> UInt16 {
        UInt16(truncatingIfNeeded: try readRegion(RegionInfo.configuration, offset: 4, count: 2))
    }

    /// Writes the PCI command register; the kernel lets through what the user may decide.
    public func setCommand(_ value: UInt16) throws(DeviceError) {
        try writeRegion(RegionInfo.configuration, offset: 4, count: 2, value: UInt64(value))
    }

    // MARK: Mapping

    /// Maps a part of a region into this process, for reading and writing as far as the region allows.
    ///
    /// - Parameters:
    ///   - region: The region's number.
    ///   - area: In whole pages, inside one of the region's ``RegionInfo/mappableAreas``.
    /// - Throws: `EINVAL` where it cannot be mapped.
    public func map(_ region: UInt32, _ area: RegionInfo.Area) throws(VFIOError) -> RegionMapping {
        guard region < UInt32(regions.count) else { throw VFIOError(.mapRegion, errno: EINVAL, .noSuchPlace) }
        let info = regions[Int(region)]
        var isInside = false
        for whole in info.mappableAreas
        where area.offset >= whole.offset && area.size > 0 && area.size <= whole.size
            && area.offset - whole.offset <= whole.size - area.size
        {
            isInside = true
        }
        guard isInside, area.size <= UInt64(Int.max) else {
            throw VFIOError(.mapRegion, errno: EINVAL, .notMappable)
        }
        return try RegionMapping(
            number, offset: info.offset + area.offset, size: Int(area.size), isReadable: info.isReadable,
            isWritable: info.isWritable)
    }
}
