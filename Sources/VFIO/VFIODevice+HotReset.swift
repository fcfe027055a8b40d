internal import CKernel

/// What a reset of the bus would touch.
public struct HotResetInfo: Equatable, Sendable {
    /// A function that it would reset.
    public struct Function: Equatable, Sendable {
        /// Where it sits.
        public var address: PCIAddress
        /// Its IOMMU group, or, where ``HotResetInfo/namesDevices``, its number at the iommufd: −1 there for a
        /// function that is not bound, and 0 for one that somebody else owns.
        public var owner: Int32
    }

    /// Everything that would be reset, this function among it.
    public var functions: [Function]
    /// Owners are numbers at the iommufd and not groups (devices opened by their character device).
    public var namesDevices: Bool
    /// With ``namesDevices``: all of it is the caller's, so that the reset is allowed.
    public var isOwned: Bool
}

extension VFIODevice {
    /// What ``hotReset(groups:)`` would touch (`VFIO_DEVICE_GET_PCI_HOT_RESET_INFO`).
    ///
    /// - Throws: `ENODEV` when the slot or bus cannot be reset.
    public func hotResetInfo() throws(VFIOError) -> HotResetInfo {
        let size = MemoryLayout<vfio_pci_hot_reset_info>.size
        let entry = MemoryLayout<vfio_pci_dependent_device>.size
        var room = 8
        while true {
            var bytes = [UInt8](repeating: 0, count: size + room * entry)
            InfoBytes.put(UInt32(bytes.count), at: 0, in: &bytes)
            // SAFETY: the structure says how many bytes it has, and the kernel writes no more than that.
            let result = unsafe bytes.withUnsafeMutableBytes {
                unsafe irqmux_ioctl(number, irqmux_VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, $0.baseAddress)
            }
            let count = Int(InfoBytes.word(bytes, at: 8))
            // A bus has 256 functions, and a bridge may have several buses behind it.
            if result == -ENOSPC, room < 4096 {
                room = max(2 * room, min(count, 4096))
                continue
            }
            guard result >= 0 else {
                throw VFIOError(.hotReset, errno: -result, result == -ENODEV ? .noReset : .plain(-result))
            }
            let flags = InfoBytes.word(bytes, at: 4)
            var info = HotResetInfo(functions: [], namesDevices: flags & 1 != 0, isOwned: flags & 2 != 0)
            for number in 0..<min(count, room) {
                let place = size + number * entry
                let location = InfoBytes.word(bytes, at: place + 4)
                info.functions.append(
                    HotResetInfo.Function(
                        address: PCIAddress(
                            domain: location & 0xffff, bus: UInt8(location >> 16 & 0xff),
                            device: UInt8(location >> 27 & 31), function: UInt8(location >> 24 & 7)),
                        owner: Int32(bitPattern: InfoBytes.word(bytes, at: place))))
            }
            return info
        }
    }

    /// Resets the slot or bus that the device is on, and with it everything that ``hotResetInfo()`` lists.
    ///
    /// - Parameter groups: The descriptors of all groups concerned; none for devices opened by their character device.
    /// - Throws: `EINVAL`, `EPERM` when something concerned is not the caller's; `ENODEV` when it cannot be reset.
    public func hotReset(groups: [Int32]) throws(VFIOError) {
        // SAFETY: the wrapper reads as many numbers as there are, during the call.
        let result = unsafe groups.withUnsafeBufferPointer {
            unsafe irqmux_vfio_hot_reset(number, $0.baseAddress, UInt32($0.count))
        }
        guard result < 0 else { return }
        let reason: VFIOError.Reason =
            switch result {
            case -EINVAL, -EPERM: .resetTouchesOthers
            case -ENODEV: .noReset
            default: .plain(-result)
            }
        throw VFIOError(.hotReset, errno: -result, reason)
    }
}
