internal import CKernel
internal import HostDevices

/// What the host offers for real devices: iommufd, the IOMMU's remapping of interrupts, the vectors left.
struct HostFacts {
    /// The errno of opening /dev/iommu, 0 when it opens.
    var iommufd: Int32
    /// Whether there is any IOMMU group.
    var hasGroups: Bool
    var remapsInterrupts: Bool
    var allowsUnsafeInterrupts: Bool
    /// Whether vfio-pci is loaded.
    var hasVFIOPCI: Bool
    var vectors: HostTree.HostVectors?

    static func read() -> HostFacts {
        let tree = HostTree.real
        return HostFacts(
            iommufd: SystemFiles.tryOpening("/dev/iommu"),
            hasGroups: !SystemFiles.names(in: "/sys/kernel/iommu_groups").isEmpty,
            remapsInterrupts: tree.remapsInterrupts(), allowsUnsafeInterrupts: tree.allowsUnsafeInterrupts(),
            hasVFIOPCI: !SystemFiles.names(in: "/sys/bus/pci/drivers/vfio-pci").isEmpty,
            vectors: tree.hostVectors())
    }

    /// A host without anything for real devices.
    static let none = HostFacts(
        iommufd: ENOENT, hasGroups: false, remapsInterrupts: false, allowsUnsafeInterrupts: false, hasVFIOPCI: false,
        vectors: nil)
}
