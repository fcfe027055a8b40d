internal import CKernel
public import InterruptModel

extension VFIODevice {
    /// `VFIO_DEVICE_RESET`: the function starts anew; interrupt assignments stay.
    ///
    /// - Throws: `EINVAL` or `ENOTTY` when the device cannot be reset by itself.
    public func reset() throws(DeviceError) {
        let result = irqmux_ioctl_value(number, irqmux_VFIO_DEVICE_RESET, 0)
        guard result < 0 else { return }
        let isUnable = result == -EINVAL || result == -ENOTTY
        throw VFIOError(.reset, errno: -result, isUnable ? .noReset : .plain(-result)).deviceError
    }

    /// Whether `VFIO_DEVICE_FEATURE` knows a feature, by the kernel's number of it.
    ///
    /// - Parameter access: What is to be done with it; neither asks only whether it is known.
    public func hasFeature(_ feature: UInt16, access: FeatureAccess = []) -> Bool {
        irqmux_vfio_probe_feature(number, UInt32(feature), access.rawValue << 16) == 0
    }

    /// What can be done with a feature.
    public struct FeatureAccess: OptionSet, Sendable {
        /// The kernel's bits, moved down by 16.
        public let rawValue: UInt32

        /// Takes the bits as they are.
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        /// It can be read.
        public static let get = FeatureAccess(rawValue: 1)
        /// It can be set.
        public static let set = FeatureAccess(rawValue: 2)
    }

    /// Sets the token that whoever opens a virtual function of this physical function has to show.
    ///
    /// Set it before virtual functions are enabled: opening the physical function resets it, and they go. Linux 5.7.
    /// - Throws: `ENOTTY` when the device is no physical function, or vfio-pci's `enable_sriov` is off; `EINVAL`.
    public func setToken(_ token: UUIDBytes) throws(VFIOError) {
        let bytes = token.bytes
        // SAFETY: a UUID has 16 bytes, and the wrapper reads as many.
        let result = unsafe bytes.withUnsafeBufferPointer { unsafe irqmux_vfio_set_vf_token(number, $0.baseAddress) }
        guard result >= 0 else { throw VFIOError(.feature, errno: -result, .plain(-result)) }
    }

    // MARK: DMA

    /// Lets the device reach `size` bytes of memory from `address` on at `iova`, through the container or the address
    /// space that was opened with it. As ``VFIOContainer/map(_:iova:size:access:)``.
    ///
    /// - Throws: `EINVAL` for a device whose container or iommufd is somebody else's: map there.
    @unsafe
    public func mapDMA(
        _ memory: UnsafeMutableRawPointer, iova: UInt64, size: UInt64, access: DMAAccess = .readWrite
    ) throws(VFIOError) {
        let address = UInt64(UInt(bitPattern: memory))
        switch backing {
        case .group(let container, _): try DMA.map(container: container, address, iova, size, access)
        case .iommufd(let iommufd, let space, _): try IOMMUFD.map(iommufd, space, address, iova, size, access)
        case .elsewhere, .bound: throw VFIOError(.mapDMA, errno: EINVAL, .notAttached)
        }
    }

    /// Takes mappings away that lie in the range; returns how many bytes were unmapped.
    @discardableResult
    public func unmapDMA(iova: UInt64, size: UInt64) throws(VFIOError) -> UInt64 {
        switch backing {
        case .group(let container, _): return try DMA.unmap(container: container, iova, size)
        case .iommufd(let iommufd, let space, _): return try IOMMUFD.unmap(iommufd, space, iova, size)
        case .elsewhere, .bound: throw VFIOError(.unmapDMA, errno: EINVAL, .notAttached)
        }
    }

    /// What the IOMMU in front of the device can map.
    public func iommuInfo() throws(VFIOError) -> IOMMUInfo {
        switch backing {
        case .group(let container, _): return try DMA.info(container: container)
        case .iommufd(let iommufd, let space, _): return try IOMMUFD.info(iommufd, space)
        case .elsewhere, .bound: throw VFIOError(.iommuInfo, errno: EINVAL, .notAttached)
        }
    }
}
