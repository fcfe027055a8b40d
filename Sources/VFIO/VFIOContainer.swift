internal import CKernel

/// A container of IOMMU groups: the address space that the DMA of their devices goes through. Closes with its scope.
///
/// The way of before iommufd, which every kernel with VFIO has. Changing it belongs to one thread at a time. It may be
/// closed while devices are open: they keep it in the kernel.
/// Source: Documentation/driver-api/vfio.rst; since Linux 3.6.
@frozen public struct VFIOContainer: ~Copyable, Sendable {
    /// The file descriptor. Valid as long as this owner lives.
    public let number: Int32
    private var hasIOMMU = false

    /// Opens `/dev/vfio/vfio` and looks whether its version is known.
    ///
    /// - Throws: `ENOENT` or `ENODEV` without VFIO; `EACCES`; `EPROTONOSUPPORT` for an unknown version, or one without
    ///   the type-1 IOMMU.
    public init() throws(VFIOError) {
        let opened = openNode(VFIODeviceName.path("/dev/vfio/vfio", []))
        guard opened >= 0 else {
            let absent = opened == -ENOENT || opened == -ENODEV || opened == -ENXIO
            throw VFIOError(.openContainer, errno: -opened, absent ? .noVFIO : .plain(-opened))
        }
        guard irqmux_ioctl_value(opened, irqmux_VFIO_GET_API_VERSION, 0) == VFIO_API_VERSION,
            Self.iommuType(opened) != nil
        else {
            _ = irqmux_close(opened)
            throw VFIOError(.openContainer, errno: EPROTONOSUPPORT, .unknownVersion)
        }
        number = opened
    }

    deinit { _ = irqmux_close(number) }

    /// Gives the descriptor up without closing it.
    consuming func release() -> Int32 {
        let number = number
        discard self
        return number
    }

    /// The newest type-1 IOMMU that the kernel has. Without IOMMU mode is not offered: it protects nobody.
    private static func iommuType(_ container: Int32) -> UInt? {
        for type in [VFIO_TYPE1v2_IOMMU, VFIO_TYPE1_IOMMU]
        where irqmux_ioctl_value(container, irqmux_VFIO_CHECK_EXTENSION, UInt(type)) > 0 {
            return UInt(type)
        }
        return nil
    }

    /// Puts a group into the container; the first one decides which IOMMU serves it.
    ///
    /// - Throws: `EBUSY` for a group that is not viable; `EINVAL` for one that is in a container; `EPERM` where the
    ///   IOMMU does not remap interrupts and `allow_unsafe_interrupts` is not set.
    public mutating func add(_ group: borrowing VFIOGroup) throws(VFIOError) {
        guard try group.status().isViable else { throw VFIOError(.setContainer, errno: EBUSY, .groupNotViable) }
        var container = number
        // SAFETY: the kernel reads one descriptor during the call.
        let result = unsafe irqmux_ioctl(group.number, irqmux_VFIO_GROUP_SET_CONTAINER, &container)
        guard result >= 0 else {
            throw VFIOError(.setContainer, errno: -result, result == -EINVAL ? .groupTaken : .plain(-result))
        }
        guard !hasIOMMU else { return }
        guard let type = Self.iommuType(number) else {
            throw VFIOError(.setIOMMU, errno: EPROTONOSUPPORT, .unknownVersion)
        }
        let chosen = irqmux_ioctl_value(number, irqmux_VFIO_SET_IOMMU, type)
        guard chosen >= 0 else {
            throw VFIOError(.setIOMMU, errno: -chosen, chosen == -EPERM ? .noInterruptRemapping : .plain(-chosen))
        }
        hasIOMMU = true
    }

    /// Lets devices of the container reach `size` bytes of memory from `address` on at `iova`, in whole pages.
    ///
    /// The memory is pinned and counts towards RLIMIT_MEMLOCK; it must stay mapped until ``unmap(iova:size:)``.
    /// - Throws: `EEXIST` where something is mapped; `ENOMEM` beyond RLIMIT_MEMLOCK; `ENOSPC` with as many mappings as
    ///   the module allows; `EINVAL`.
    @unsafe
    public func map(
        _ address: UnsafeMutableRawPointer, iova: UInt64, size: UInt64, access: DMAAccess = .readWrite
    ) throws(VFIOError) {
        try DMA.map(container: number, UInt64(UInt(bitPattern: address)), iova, size, access)
    }

    /// Takes mappings away that lie in the range; one that reaches beyond it is an error.
    ///
    /// - Returns: How many bytes were unmapped.
    @discardableResult
    public func unmap(iova: UInt64, size: UInt64) throws(VFIOError) -> UInt64 {
        try DMA.unmap(container: number, iova, size)
    }

    /// What the IOMMU can map, and how much is left.
    ///
    /// - Throws: `ENODEV` or `EINVAL` before the first group was added.
    public func info() throws(VFIOError) -> IOMMUInfo { try DMA.info(container: number) }
}
