internal import CKernel

extension VFIOError {
    /// Why an operation failed.
    public enum Reason: UInt8, CaseIterable, Sendable {
        /// Nothing is known beyond the errno.
        case unknown
        /// There is no `/dev/vfio/vfio`.
        case noVFIO
        /// There is no `/dev/iommu`.
        case noIOMMUFD
        /// The process may not use the file.
        case forbidden
        /// The kernel's VFIO has another version than this room knows, or no type-1 IOMMU.
        case unknownVersion
        /// The device has no IOMMU group.
        case noIOMMU
        /// sysfs has no such device.
        case noSuchDevice
        /// The device has a group, and no driver of VFIO offers it.
        case notBound
        /// Somebody else has the group, or the device, open.
        case inUse
        /// Other devices of the group are bound to drivers of the host.
        case groupNotViable
        /// The group is in another container already.
        case groupTaken
        /// The IOMMU does not remap interrupts, and the host does not allow that.
        case noInterruptRemapping
        /// The physical function is driven by VFIO, and its virtual functions need its token.
        case needsToken
        /// The device is in no container, or bound to no iommufd.
        case notAttached
        /// The kernel has no character devices for VFIO (CONFIG_VFIO_DEVICE_CDEV, Linux 6.6).
        case noCharacterDevice
        /// The file descriptor is not a VFIO device's.
        case notADevice
        /// The process or the system has no file descriptor left.
        case tooManyFiles
        /// The kernel has no memory for it.
        case noMemory
        /// Pinning would exceed RLIMIT_MEMLOCK.
        case lockedMemory
        /// Something is mapped at that address.
        case addressTaken
        /// The address, the length or the memory is not aligned, or not one that the IOMMU can map.
        case badAddress
        /// No more mappings are allowed (the dma_entry_limit of vfio_iommu_type1).
        case noMappingLeft
        /// The region, or this part of it, cannot be mapped.
        case notMappable
        /// The device has no such region, or the place lies outside of it.
        case noSuchPlace
        /// The device cannot be reset by itself.
        case noReset
        /// The reset touches devices that the caller does not own.
        case resetTouchesOthers
        /// Another doorbell does the same write.
        case doorbellTaken
        /// There is no such doorbell.
        case noSuchDoorbell
        /// The device has as many doorbells as the kernel allows.
        case tooManyDoorbells
        /// The kernel, or the device's driver, does not know the request.
        case unsupported

        /// What an errno says by itself, whatever the operation.
        static func plain(_ errno: Int32) -> Reason {
            switch errno {
            case ENOMEM: .noMemory
            case EMFILE, ENFILE: .tooManyFiles
            case EACCES, EPERM: .forbidden
            case ENOTTY, ENOSYS, EOPNOTSUPP: .unsupported
            case EBUSY: .inUse
            default: .unknown
            }
        }
    }
}

extension VFIOError.Reason {
    /// What is the matter, in one clause; empty where nothing is known.
    public var explanation: StaticString {
        switch self {
        case .unknown: ""
        case .noVFIO: "the kernel has no VFIO, or its module is not loaded"
        case .noIOMMUFD: "the kernel has no iommufd, or its module is not loaded"
        case .forbidden: "this user may not"
        case .unknownVersion: "the kernel's VFIO is of a version that irqmux does not know"
        case .noIOMMU: "the device is in no IOMMU group: the IOMMU is off, or does not cover it"
        case .noSuchDevice: "there is no such device"
        case .notBound: "the device is not bound to vfio-pci or another driver of VFIO"
        case .inUse: "another process has it open"
        case .groupNotViable: "other devices of the IOMMU group are bound to drivers of the host"
        case .groupTaken: "the group is in another container"
        case .noInterruptRemapping:
            "the IOMMU does not remap interrupts: a device could raise any interrupt of the host"
        case .needsToken: "its physical function is driven by VFIO and asks for its token"
        case .notAttached: "the device is in no container, or bound to no iommufd"
        case .noCharacterDevice: "the kernel offers no character device for it"
        case .notADevice: "the file is not a VFIO device"
        case .tooManyFiles: "no file descriptor is left"
        case .noMemory: "the kernel has no memory for it"
        case .lockedMemory: "it would pin more memory than RLIMIT_MEMLOCK allows"
        case .addressTaken: "something is mapped there already"
        case .badAddress: "address or length is not one that the IOMMU can map"
        case .noMappingLeft: "there are as many mappings as the module allows"
        case .notMappable: "this part of the region cannot be mapped"
        case .noSuchPlace: "the device has no such region, or the place lies outside of it"
        case .noReset: "the device cannot be reset by itself"
        case .resetTouchesOthers: "the reset would touch devices that are not yours"
        case .doorbellTaken: "another doorbell does the same write"
        case .noSuchDoorbell: "there is no such doorbell"
        case .tooManyDoorbells: "the device has as many doorbells as the kernel allows"
        case .unsupported: "the kernel or the device's driver does not know the request"
        }
    }

    /// What to change, in one clause; empty where there is nothing to add.
    public var remedy: StaticString {
        switch self {
        case .noVFIO: "sudo modprobe vfio-pci"
        case .noIOMMUFD: "sudo modprobe iommufd (Linux 6.2), or go through the group"
        case .forbidden: "run as root, or give this user the device's file under /dev/vfio"
        case .unknownVersion: "run a kernel with the type-1 IOMMU of VFIO (vfio_iommu_type1)"
        case .noIOMMU: "enable VT-d or AMD-Vi in the firmware and boot with intel_iommu=on (AMD needs no option)"
        case .noSuchDevice: "irqmux devices lists those that are there"
        case .notBound: "sudo irqmux bind ADDRESS"
        case .inUse: "end the process that uses it: sudo fuser -v /dev/vfio/*"
        case .groupNotViable: "bind the group's other devices to vfio-pci too: irqmux devices names them"
        case .groupTaken: "add the group's other devices through the container it is in"
        case .noInterruptRemapping:
            "enable it in the firmware; if guests are trusted: allow_unsafe_interrupts=1 of vfio_iommu_type1 or iommufd"
        case .needsToken: "give the token that was set on the physical function"
        case .notAttached: "add its group to a container with an IOMMU, or bind it to an iommufd"
        case .noCharacterDevice: "go through the group, or run a kernel with CONFIG_VFIO_DEVICE_CDEV (Linux 6.6)"
        case .notADevice: "pass the descriptor that VFIO_GROUP_GET_DEVICE_FD or the character device gave"
        case .tooManyFiles: "raise RLIMIT_NOFILE (ulimit -n)"
        case .noMemory: "free memory, or raise the memory limit of the control group"
        case .lockedMemory: "raise RLIMIT_MEMLOCK (ulimit -l), or map less"
        case .addressTaken: "unmap it first, or choose another address"
        case .badAddress: "use whole pages inside the ranges that the IOMMU's info lists"
        case .noMappingLeft: "map fewer, larger pieces, or raise dma_entry_limit of vfio_iommu_type1"
        case .notMappable: "read and write it instead, or map one of the areas that the region's info lists"
        case .noSuchPlace: "ask the region's info for its size"
        case .noReset: "reset the bus that it is on (hot reset), or leave it as it is"
        case .resetTouchesOthers: "open the groups of all devices that hot reset would touch"
        case .doorbellTaken: "remove the other one first, or use it"
        case .noSuchDoorbell: "remove it with the place, the width and the value that it was made with"
        case .tooManyDoorbells: "remove some first"
        case .unsupported: "run a newer kernel, or do without"
        case .unknown: ""
        }
    }
}
