internal import CKernel
public import VFIO

/// A type of mediated devices that a parent can make.
public struct MediatedType: Equatable, Sendable {
    /// The parent's name: a PCI address, or another device's as `mtty`.
    public var parent: String
    /// The type's name in sysfs, as `mtty-1`.
    public var id: String
    /// What the driver calls it; empty where it says nothing.
    public var name: String
    /// What it is, by the driver's words; empty where it says nothing.
    public var description: String
    /// As what the device presents itself, as `vfio-pci`.
    public var deviceAPI: String
    /// How many more can be made; `nil` where the driver does not say.
    public var available: Int?
}

/// A mediated device that exists.
public struct MediatedDevice: Equatable, Sendable {
    /// Its name.
    public var uuid: UUIDBytes
    /// The parent's name.
    public var parent: String
    /// The type it was made of.
    public var type: String
    /// Its IOMMU group; `nil` for none.
    public var group: UInt32?
    /// It shares its parent's IOMMU group: the hardware keeps its DMA apart, and not the driver alone.
    public var isIOMMUBacked: Bool
}

extension HostTree {
    private static var parents: String { "/sys/class/mdev_bus" }
    private static var devices: String { "/sys/bus/mdev/devices" }

    /// Every type of every parent.
    public func mediatedTypes() -> [MediatedType] {
        names(Self.parents).flatMap { mediatedTypes(ofParent: $0) }
    }

    func mediatedTypes(ofParent parent: String) -> [MediatedType] {
        let types = "\(Self.parents)/\(parent)/mdev_supported_types"
        return names(types).map { id in
            let type = "\(types)/\(id)"
            return MediatedType(
                parent: parent, id: id, name: text(type + "/name") ?? "",
                description: text(type + "/description") ?? "",
                deviceAPI: text(type + "/device_api") ?? "", available: number(type + "/available_instances"))
        }
    }

    /// The mediated devices that exist.
    public func mediatedDevices() -> [MediatedDevice] {
        names(Self.devices).compactMap { name in
            guard let uuid = UUIDBytes(parsing: name.utf8) else { return nil }
            let directory = "\(Self.devices)/\(name)"
            let parent = link(directory).flatMap { path in
                path.split(separator: "/").dropLast().last.map { String($0) }
            }
            let group = linkName(directory + "/iommu_group").flatMap { UInt32($0) }
            let parentGroup = parent.flatMap { linkName("\(Self.parents)/\($0)/iommu_group") }.flatMap { UInt32($0) }
            return MediatedDevice(
                uuid: uuid, parent: parent ?? "", type: linkName(directory + "/mdev_type") ?? "", group: group,
                isIOMMUBacked: group != nil && group == parentGroup)
        }
    }

    /// A UUID of the kernel's drawing.
    public func randomUUID() throws(HostError) -> UUIDBytes {
        guard let uuid = text("/proc/sys/kernel/random/uuid").flatMap({ UUIDBytes(parsing: $0.utf8) }) else {
            throw HostError("drawing a UUID", errno: ENOENT, remedy: "mount /proc, or give the UUID")
        }
        return uuid
    }

    /// Makes a mediated device.
    ///
    /// - Parameters:
    ///   - type: The type's name in sysfs.
    ///   - parent: Whose type; may be left out where only one parent has it.
    /// - Throws: A type or parent that does not exist, or a UUID that is taken (all ``HostError/Kind/request``); no
    ///   instance left, no mdev at all (``HostError/Kind/machine``).
    public func createMediated(_ uuid: UUIDBytes, type: String, parent: String?) throws(HostError) -> MediatedDevice {
        guard exists(Self.parents) else {
            throw HostError(
                "making a mediated device", "the kernel has no mediated devices, or no driver offers any",
                remedy: "sudo modprobe mdev, and the driver that offers them (mtty, vfio_ap, kvmgt, …)", kind: .machine)
        }
        guard !exists("\(Self.devices)/\(uuid)") else {
            throw HostError(
                "making \(uuid)", errno: EEXIST, "that UUID is taken", remedy: "leave it out, and a free one is drawn",
                kind: .request)
        }
        let offers = mediatedTypes().filter { $0.id == type && (parent == nil || $0.parent == parent) }
        guard let offer = offers.first else {
            let known = mediatedTypes().filter { parent == nil || $0.parent == parent }
            let list = known.isEmpty ? "none" : known.map { "\($0.parent)/\($0.id)" }.joined(separator: ", ")
            throw HostError("type '\(type)'", "no parent offers it", remedy: "offered are: \(list)", kind: .request)
        }
        guard offers.count == 1 else {
            let list = offers.map(\.parent).joined(separator: ", ")
            throw HostError(
                "type '\(type)'", "several parents offer it", remedy: "choose one of: \(list)", kind: .request)
        }
        guard offer.available != 0 else {
            throw HostError(
                "making a \(type)", "\(offer.parent) has no instance left", remedy: "remove one: irqmux mdev list",
                kind: .machine)
        }
        try write("\(uuid)\n", to: "\(Self.parents)/\(offer.parent)/mdev_supported_types/\(type)/create")
        guard let made = mediatedDevices().first(where: { $0.uuid == uuid }) else {
            throw HostError("making \(uuid)", "the kernel took it, and it is not there", remedy: "sudo dmesg | tail")
        }
        return made
    }

    /// Removes a mediated device.
    ///
    /// - Throws: One that does not exist (``HostError/Kind/machine``); `EAGAIN` while it is being removed or in use.
    public func removeMediated(_ uuid: UUIDBytes) throws(HostError) {
        let directory = "\(Self.devices)/\(uuid)"
        guard exists(directory) else {
            throw HostError(
                "mdev:\(uuid)", errno: ENODEV, "there is no such device", remedy: "irqmux mdev list", kind: .machine)
        }
        try write("1\n", to: directory + "/remove")
    }
}
