internal import CKernel
package import InterruptModel

// Regions in the mux's words, for whoever serves a guest's accesses.
extension AttachedDevice {
    final func read(_ region: UInt32, _ offset: UInt64, _ width: Int) throws(MuxError) -> UInt64 {
        do throws(DeviceError) { return try readRegion(region, offset, width) } catch { throw MuxError(error) }
    }

    final func write(_ region: UInt32, _ offset: UInt64, _ width: Int, _ value: UInt64) throws(MuxError) {
        do throws(DeviceError) { try writeRegion(region, offset, width, value) } catch { throw MuxError(error) }
    }

    /// Sets DisINTx, as a guest does: bit 10 of the command register.
    final func setDisINTx() throws(MuxError) {
        let command = try read(GuestFunction.configurationRegion, 0x04, 2)
        try write(GuestFunction.configurationRegion, 0x04, 2, command | 0x400)
    }

    /// The command register as a reset leaves it: no decoding, no bus master, DisINTx clear. The kernel puts back what
    /// it was before `VFIO_DEVICE_RESET`, so that this has to come first.
    final func clearCommand() throws(MuxError) {
        let command = try read(GuestFunction.configurationRegion, 0x04, 2)
        try write(GuestFunction.configurationRegion, 0x04, 2, command & ~0x407)
    }

    /// The sizes of the six BARs.
    final func regionSizes() throws(MuxError) -> [UInt64] {
        var sizes: [UInt64] = []
        do throws(DeviceError) {
            for number in 0..<6 as Range<UInt32> { sizes.append(try region(number).size) }
        } catch { throw MuxError(error) }
        return sizes
    }

    /// What configuration space says, faults included.
    package final func capabilities() throws(MuxError) -> PCICapabilities {
        do throws(DeviceError) {
            let size = try region(GuestFunction.configurationRegion).size
            return try PCICapabilities(size: Int(clamping: size)) { (offset) throws(DeviceError) in
                UInt8(truncatingIfNeeded: try readRegion(GuestFunction.configurationRegion, UInt64(offset), 1))
            }
        } catch { throw MuxError(error) }
    }
}
