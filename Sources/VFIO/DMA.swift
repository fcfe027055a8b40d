internal import CKernel
internal import InterruptModel

/// What a device may do with memory.
public struct DMAAccess: OptionSet, Sendable {
    /// The kernel's bits.
    public let rawValue: UInt32

    /// Takes the bits as they are.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The device may read it.
    public static let read = DMAAccess(rawValue: 1)
    /// The device may write it.
    public static let write = DMAAccess(rawValue: 2)
    /// Both.
    public static let readWrite: DMAAccess = [.read, .write]
}

/// What an IOMMU can map.
public struct IOMMUInfo: Equatable, Sendable {
    /// Addresses that can be mapped, from first to last.
    public struct Range: Equatable, Sendable {
        /// The first.
        public var first: UInt64
        /// The last, which belongs to it.
        public var last: UInt64
    }

    /// One bit for each size of page; mappings are whole numbers of the smallest. 0 where it was not told.
    public var pageSizes: UInt64 = 0
    /// The ranges of addresses that can be mapped. Empty where it was not told (before Linux 5.4).
    public var ranges: [Range] = []
    /// How many more mappings are allowed; `nil` where it was not told (before Linux 5.10, and with iommufd).
    public var mappingsLeft: UInt32?
    /// The capabilities were malformed; what could be read of them counts.
    public var isMalformed = false

    /// Knows nothing yet.
    public init() {}

    /// Reads a whole `struct vfio_iommu_type1_info` with what follows it; `nil` when it is cut short.
    public init?(bytes: [UInt8]) {
        guard bytes.count >= 20 else { return nil }
        let flags = InfoBytes.word(bytes, at: 4)
        if flags & UInt32(VFIO_IOMMU_INFO_PGSIZES) != 0 { pageSizes = InfoBytes.long(bytes, at: 8) }
        guard flags & UInt32(VFIO_IOMMU_INFO_CAPS) != 0 else { return }
        let chain = CapabilityChain(bytes, from: InfoBytes.word(bytes, at: 16))
        isMalformed = chain.isMalformed
        for entry in chain.entries {
            switch Int32(entry.id) {
            case VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE: readRanges(chain, entry)
            case VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL: mappingsLeft = chain.word(entry, 0)
            default: break
            }
        }
    }

    private mutating func readRanges(_ chain: CapabilityChain, _ entry: InfoCapability) {
        for number in 0..<Int(chain.word(entry, 0) ?? 0) {
            guard let first = chain.long(entry, 8 + 16 * number), let last = chain.long(entry, 16 + 16 * number) else {
                isMalformed = true
                return
            }
            ranges.append(Range(first: first, last: last))
        }
    }
}

/// Mapping by way of a container, which a device that owns its container and the container itself share.
enum DMA {
    static func map(
        container: Int32, _ address: UInt64, _ iova: UInt64, _ size: UInt64, _ access: DMAAccess
    ) throws(VFIOError) {
        var request = vfio_iommu_type1_dma_map()
        request.argsz = UInt32(MemoryLayout<vfio_iommu_type1_dma_map>.size)
        request.flags = access.rawValue
        request.vaddr = address
        request.iova = iova
        request.size = size
        // SAFETY: a whole struct that outlives the call; what it points at is the caller's promise.
        let result = unsafe irqmux_ioctl(container, irqmux_VFIO_IOMMU_MAP_DMA, &request)
        guard result >= 0 else { throw VFIOError(.mapDMA, errno: -result, reason(-result)) }
    }

    static func unmap(container: Int32, _ iova: UInt64, _ size: UInt64) throws(VFIOError) -> UInt64 {
        var request = vfio_iommu_type1_dma_unmap()
        request.argsz = UInt32(MemoryLayout<vfio_iommu_type1_dma_unmap>.size)
        request.iova = iova
        request.size = size
        // SAFETY: a whole struct that outlives the call.
        let result = unsafe irqmux_ioctl(container, irqmux_VFIO_IOMMU_UNMAP_DMA, &request)
        guard result >= 0 else { throw VFIOError(.unmapDMA, errno: -result, reason(-result)) }
        return request.size
    }

    static func info(container: Int32) throws(VFIOError) -> IOMMUInfo {
        // Up to cap_offset; the kernel takes that much, and tells of more.
        let (bytes, result) = InfoBytes.ask(container, irqmux_VFIO_IOMMU_GET_INFO, size: 20)
        guard result >= 0 else {
            throw VFIOError(.iommuInfo, errno: -result, result == -EINVAL ? .notAttached : .plain(-result))
        }
        guard let info = IOMMUInfo(bytes: bytes) else { throw VFIOError(.iommuInfo, errno: EIO) }
        return info
    }

    static func reason(_ errno: Int32) -> VFIOError.Reason {
        switch errno {
        case EEXIST, EADDRINUSE: .addressTaken
        case ENOMEM: .lockedMemory
        case ENOSPC: .noMappingLeft
        case EINVAL, EFAULT, EOVERFLOW, ENOENT: .badAddress
        case ENODEV, ENOTTY: .notAttached
        default: .plain(errno)
        }
    }
}
