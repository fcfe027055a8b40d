internal import CKernel

/// An iommufd: address spaces for the DMA of devices that are bound to it. Closes with its scope, which ends its
/// address spaces once no device is attached to them.
///
/// Every call may be made from any thread. Source: Documentation/userspace-api/iommufd.rst; since Linux 6.2, and for
/// VFIO's character devices since 6.6.
@frozen public struct IOMMUFD: ~Copyable, Sendable {
    /// Names an address space of this iommufd.
    public struct AddressSpace: Hashable, Sendable {
        /// The kernel's number.
        public let id: UInt32
    }

    /// What the IOMMU in front of a device can do.
    public struct Hardware: Equatable, Sendable {
        /// Which kind it is: 1 VT-d, 2 SMMUv3, 3 tegra, 4 AMD; 0 where the kernel does not say more.
        public var type: UInt32
        /// The device can use this many bits of PASID; 0 for none, or before Linux 6.15.
        public var pasidBits: UInt8
        /// Whether dirty pages are tracked (Linux 6.9).
        public var tracksDirtyPages: Bool
    }

    /// The file descriptor. Valid as long as this owner lives.
    public let number: Int32

    /// Opens `/dev/iommu`.
    ///
    /// - Throws: `ENOENT`, `ENODEV` without iommufd; `EACCES`.
    public init() throws(VFIOError) {
        let opened = openNode(VFIODeviceName.path("/dev/iommu", []))
        guard opened >= 0 else {
            let absent = opened == -ENOENT || opened == -ENODEV || opened == -ENXIO
            throw VFIOError(.openIOMMUFD, errno: -opened, absent ? .noIOMMUFD : .plain(-opened))
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

    /// Makes an empty address space (IOAS).
    public func makeAddressSpace() throws(VFIOError) -> AddressSpace {
        AddressSpace(id: try Self.allocate(number))
    }

    /// Ends an address space; its mappings go with it.
    ///
    /// - Throws: `EBUSY` while a device is attached to it; `ENOENT` when it is not there.
    public func destroy(_ space: AddressSpace) throws(VFIOError) {
        var request = irqmux_iommu_destroy(
            size: UInt32(MemoryLayout<irqmux_iommu_destroy>.size), id: space.id)
        // SAFETY: a whole struct that outlives the call.
        let result = unsafe irqmux_ioctl(number, irqmux_IOMMU_DESTROY, &request)
        guard result >= 0 else { throw VFIOError(.addressSpace, errno: -result, .plain(-result)) }
    }

    /// Lets devices of the address space reach `size` bytes of memory from `address` on at `iova`, in whole pages. As
    /// ``VFIOContainer/map(_:iova:size:access:)``.
    @unsafe
    public func map(
        _ address: UnsafeMutableRawPointer, iova: UInt64, size: UInt64, access: DMAAccess = .readWrite,
        in space: AddressSpace
    ) throws(VFIOError) {
        try Self.map(number, space.id, UInt64(UInt(bitPattern: address)), iova, size, access)
    }

    /// Takes mappings away that lie in the range; one that reaches beyond it is an error.
    ///
    /// - Returns: How many bytes were unmapped.
    /// - Throws: `ENOENT` when nothing is mapped there.
    @discardableResult
    public func unmap(iova: UInt64, size: UInt64, in space: AddressSpace) throws(VFIOError) -> UInt64 {
        try Self.unmap(number, space.id, iova, size)
    }

    /// The ranges that can be mapped; they narrow with each device that is attached.
    public func info(of space: AddressSpace) throws(VFIOError) -> IOMMUInfo { try Self.info(number, space.id) }

    /// What the IOMMU in front of a bound device can do (Linux 6.7).
    public func hardware(of device: borrowing VFIODevice) throws(VFIOError) -> Hardware {
        guard let id = device.iommufdID else { throw VFIOError(.iommuInfo, errno: EINVAL, .notAttached) }
        var request = irqmux_iommu_hw_info()
        request.size = UInt32(MemoryLayout<irqmux_iommu_hw_info>.size)
        request.device_id = id
        // SAFETY: a whole struct that outlives the call.
        let result = unsafe irqmux_ioctl(number, irqmux_IOMMU_GET_HW_INFO, &request)
        guard result >= 0 else { throw VFIOError(.iommuInfo, errno: -result, .plain(-result)) }
        return Hardware(
            type: request.data_type, pasidBits: request.max_pasid_log2, tracksDirtyPages: request.capabilities & 1 != 0)
    }
}

extension IOMMUFD {
    static func allocate(_ descriptor: Int32) throws(VFIOError) -> UInt32 {
        var request = irqmux_iommu_ioas_alloc()
        request.size = UInt32(MemoryLayout<irqmux_iommu_ioas_alloc>.size)
        // SAFETY: a whole struct that outlives the call.
        let result = unsafe irqmux_ioctl(descriptor, irqmux_IOMMU_IOAS_ALLOC, &request)
        guard result >= 0 else { throw VFIOError(.addressSpace, errno: -result, .plain(-result)) }
        return request.id
    }

    static func map(
        _ descriptor: Int32, _ space: UInt32, _ address: UInt64, _ iova: UInt64, _ size: UInt64, _ access: DMAAccess
    ) throws(VFIOError) {
        var request = irqmux_iommu_ioas_map()
        request.size = UInt32(MemoryLayout<irqmux_iommu_ioas_map>.size)
        request.flags = UInt32(irqmux_IOMMU_MAP_FIXED_IOVA)
        if access.contains(.read) { request.flags |= UInt32(irqmux_IOMMU_MAP_READABLE) }
        if access.contains(.write) { request.flags |= UInt32(irqmux_IOMMU_MAP_WRITEABLE) }
        request.id = space
        request.user_address = address
        request.length = size
        request.iova = iova
        // SAFETY: a whole struct that outlives the call; what it points at is the caller's promise.
        let result = unsafe irqmux_ioctl(descriptor, irqmux_IOMMU_IOAS_MAP, &request)
        guard result >= 0 else { throw VFIOError(.mapDMA, errno: -result, DMA.reason(-result)) }
    }

    static func unmap(
        _ descriptor: Int32, _ space: UInt32, _ iova: UInt64, _ size: UInt64
    ) throws(VFIOError) -> UInt64 {
        var request = irqmux_iommu_ioas_unmap()
        request.size = UInt32(MemoryLayout<irqmux_iommu_ioas_unmap>.size)
        request.id = space
        request.iova = iova
        request.length = size
        // SAFETY: a whole struct that outlives the call.
        let result = unsafe irqmux_ioctl(descriptor, irqmux_IOMMU_IOAS_UNMAP, &request)
        guard result >= 0 else { throw VFIOError(.unmapDMA, errno: -result, DMA.reason(-result)) }
        return request.length
    }

    static func info(_ descriptor: Int32, _ space: UInt32) throws(VFIOError) -> IOMMUInfo {
        var room = 16
        // The ranges change only when devices are attached.
        for _ in 0..<3 {
            var pairs = [UInt64](repeating: 0, count: 2 * room)
            var request = irqmux_iommu_ioas_iova_ranges()
            request.size = UInt32(MemoryLayout<irqmux_iommu_ioas_iova_ranges>.size)
            request.id = space
            request.count = UInt32(room)
            // SAFETY: the buffer has room for as many pairs as the request says, and lives for the closure.
            let result = unsafe pairs.withUnsafeMutableBytes { bytes in
                request.ranges = UInt64(UInt(bitPattern: bytes.baseAddress))
                return unsafe irqmux_ioctl(descriptor, irqmux_IOMMU_IOAS_IOVA_RANGES, &request)
            }
            if result == -EMSGSIZE, request.count > room, request.count <= 4096 {
                room = Int(request.count)
                continue
            }
            guard result >= 0 else { throw VFIOError(.iommuInfo, errno: -result, .plain(-result)) }
            var info = IOMMUInfo()
            // The alignment is the smallest page; larger ones are not told.
            info.pageSizes = request.alignment
            for number in 0..<min(room, Int(request.count)) {
                info.ranges.append(IOMMUInfo.Range(first: pairs[2 * number], last: pairs[2 * number + 1]))
            }
            return info
        }
        throw VFIOError(.iommuInfo, errno: EMSGSIZE)
    }
}
