internal import CKernel
public import InterruptModel

/// VFIO or iommufd refused an operation, or the machine lacks what it needs: what was asked, the errno, why, and what
/// to do about it.
public struct VFIOError: Error, Equatable, Sendable {
    /// What was asked for.
    public var operation: Operation
    /// The positive errno, for example `EBUSY`.
    public var errno: Int32
    /// Why, as far as it can be known.
    public var reason: Reason

    /// What to change, in one sentence; empty where there is nothing to add.
    public var remedy: StaticString { reason.remedy }

    /// Makes an error of its three parts.
    public init(_ operation: Operation, errno: Int32, _ reason: Reason = .unknown) {
        self.operation = operation
        self.errno = errno
        self.reason = reason
    }

    /// The same in the terms of ``InterruptDevice``.
    public var deviceError: DeviceError {
        let hasRemedy = remedy.utf8CodeUnitCount > 0
        return DeviceError(operation.name, errno: errno, remedy: hasRemedy ? remedy : reason.explanation)
    }

    /// The operations of this room.
    public enum Operation: UInt8, CaseIterable, Sendable {
        /// `open` of `/dev/vfio/vfio`, and the look whether its version is known.
        case openContainer
        /// Finding the device's IOMMU group in sysfs.
        case findGroup
        /// `open` of `/dev/vfio/N`.
        case openGroup
        /// `VFIO_GROUP_GET_STATUS`.
        case groupStatus
        /// `VFIO_GROUP_SET_CONTAINER`.
        case setContainer
        /// `VFIO_SET_IOMMU`.
        case setIOMMU
        /// `VFIO_GROUP_GET_DEVICE_FD`.
        case openDevice
        /// Finding the device's `vfio-dev/vfioN` in sysfs.
        case findCharacterDevice
        /// `open` of `/dev/vfio/devices/vfioN`.
        case openCharacterDevice
        /// `open` of `/dev/iommu`.
        case openIOMMUFD
        /// `VFIO_DEVICE_BIND_IOMMUFD`.
        case bind
        /// `VFIO_DEVICE_ATTACH_IOMMUFD_PT`.
        case attach
        /// `VFIO_DEVICE_DETACH_IOMMUFD_PT`.
        case detach
        /// `IOMMU_IOAS_ALLOC`, `IOMMU_DESTROY`.
        case addressSpace
        /// Taking a device's file descriptor from whoever opened it.
        case adopt
        /// `VFIO_DEVICE_GET_INFO`.
        case deviceInfo
        /// `VFIO_DEVICE_GET_REGION_INFO`.
        case regionInfo
        /// `VFIO_IOMMU_GET_INFO`, `IOMMU_IOAS_IOVA_RANGES`, `IOMMU_GET_HW_INFO`.
        case iommuInfo
        /// `VFIO_IOMMU_MAP_DMA`, `IOMMU_IOAS_MAP`.
        case mapDMA
        /// `VFIO_IOMMU_UNMAP_DMA`, `IOMMU_IOAS_UNMAP`.
        case unmapDMA
        /// `mmap` of a region.
        case mapRegion
        /// `VFIO_DEVICE_RESET`.
        case reset
        /// `VFIO_DEVICE_PCI_HOT_RESET` and its info.
        case hotReset
        /// `VFIO_DEVICE_IOEVENTFD`.
        case doorbell
        /// `VFIO_DEVICE_FEATURE`.
        case feature

        /// The kernel's name of the operation, for messages.
        public var name: StaticString {
            switch self {
            case .openContainer: "open /dev/vfio/vfio"
            case .findGroup: "finding the IOMMU group"
            case .openGroup: "opening the group under /dev/vfio"
            case .groupStatus: "VFIO_GROUP_GET_STATUS"
            case .setContainer: "VFIO_GROUP_SET_CONTAINER"
            case .setIOMMU: "VFIO_SET_IOMMU"
            case .openDevice: "VFIO_GROUP_GET_DEVICE_FD"
            case .findCharacterDevice: "finding the device under vfio-dev"
            case .openCharacterDevice: "opening the device under /dev/vfio/devices"
            case .openIOMMUFD: "open /dev/iommu"
            case .bind: "VFIO_DEVICE_BIND_IOMMUFD"
            case .attach: "VFIO_DEVICE_ATTACH_IOMMUFD_PT"
            case .detach: "VFIO_DEVICE_DETACH_IOMMUFD_PT"
            case .addressSpace: "IOMMU_IOAS_ALLOC"
            case .adopt: "adopting a device"
            case .deviceInfo: "VFIO_DEVICE_GET_INFO"
            case .regionInfo: "VFIO_DEVICE_GET_REGION_INFO"
            case .iommuInfo: "VFIO_IOMMU_GET_INFO"
            case .mapDMA: "VFIO_IOMMU_MAP_DMA"
            case .unmapDMA: "VFIO_IOMMU_UNMAP_DMA"
            case .mapRegion: "mmap of a region"
            case .reset: "VFIO_DEVICE_RESET"
            case .hotReset: "VFIO_DEVICE_PCI_HOT_RESET"
            case .doorbell: "VFIO_DEVICE_IOEVENTFD"
            case .feature: "VFIO_DEVICE_FEATURE"
            }
        }
    }
}

#if !hasFeature(Embedded)
    extension VFIOError: CustomStringConvertible {
        /// `operation: ERRNO: why; remedy`.
        public var description: String {
            // SAFETY: irqmux_errno_name returns a static NUL-terminated text for every number.
            var text = unsafe "\(operation.name): \(String(cString: irqmux_errno_name(errno)))"
            if reason.explanation.utf8CodeUnitCount > 0 { text += ": \(reason.explanation)" }
            if remedy.utf8CodeUnitCount > 0 { text += "; \(remedy)" }
            return text
        }
    }
#endif
