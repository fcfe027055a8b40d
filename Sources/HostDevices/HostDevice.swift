public import InterruptModel
public import VFIO

/// A PCI function as the host sees it: what it is, whose it is, which way its functions can be given away, and what
/// stands in the way.
public struct HostDevice: Sendable {
    /// Another function of the same IOMMU group.
    public struct Neighbour: Equatable, Sendable {
        /// Where it sits.
        public var address: PCIAddress
        /// Its driver; `nil` for none.
        public var driver: String?
        /// It is a bridge, which may stay with its driver.
        public var isBridge: Bool
    }

    /// A way in which functions of a device are given away.
    public enum Mode: Equatable, Sendable {
        /// Mediated devices can be made of it, of these types.
        case mdev(types: [MediatedType])
        /// Virtual functions can be enabled: so many of so many are.
        case physicalFunction(enabled: Int, total: Int, functions: [PCIAddress])
        /// It is a virtual function of that one.
        case virtualFunction(of: PCIAddress)
        /// iommufd can address it (a character device), and work of several owners by PASID of so many bits.
        case scalable(pasidBits: Int, characterDevice: String?)
    }

    /// Where the interrupts were read.
    public enum InterruptSource: String, Sendable {
        /// VFIO_DEVICE_GET_IRQ_INFO.
        case vfio
        /// The capabilities in configuration space; what only the kernel knows is not told.
        case configuration
    }

    /// Where it sits.
    public var address: PCIAddress
    /// Vendor and device.
    public var vendor: UInt16
    /// The vendor's number of the device.
    public var device: UInt16
    /// Base class, subclass and interface, 24 bits.
    public var classCode: UInt32
    /// Its driver; `nil` for none.
    public var driver: String?
    /// Its IOMMU group; `nil` for none.
    public var group: UInt32?
    /// The group's other functions.
    public var neighbours: [Neighbour]
    /// In which ways its functions can be given away; empty for a device that can only be given away whole.
    public var modes: [Mode]
    /// What each index has; those that are missing the device lacks.
    public var interrupts: [(index: IRQIndex, info: IRQInfo)]
    /// Where that was read.
    public var interruptSource: InterruptSource
    /// What stands in the way of using it through VFIO, and what is doubtful about it.
    public var troubles: [Trouble]

    /// It is a bridge.
    public var isBridge: Bool { classCode >> 16 == 0x06 }
    /// It can be opened through VFIO now.
    public var isUsable: Bool { !troubles.contains { $0.isObstacle } }
    /// It is driven by vfio-pci or a driver derived from it.
    public var isBoundToVFIO: Bool { driver.map(Self.isVFIO) ?? false }

    /// Whether a driver's name is one of VFIO's.
    static func isVFIO(_ driver: String) -> Bool {
        driver == "vfio-pci" || driver.hasSuffix("-vfio-pci") || driver.hasSuffix("_vfio_pci")
            || driver == "hisi_acc_vfio_pci"
    }
}

/// Something that stands in the way of a device, or that is doubtful about it.
public enum Trouble: Equatable, Sendable {
    /// The machine has no IOMMU group at all.
    case iommuOff
    /// The machine has groups, and this device is in none.
    case noGroup
    /// It belongs to a driver of the host, or to none.
    case notBound(driver: String?)
    /// Other functions of the group belong to drivers of the host.
    case groupNotViable([PCIAddress])
    /// The group is shared because a conventional bridge puts its own address on what comes through it.
    case sharedByAliasing(bridge: PCIAddress)
    /// The group is shared because this function, or the port above it, lacks access control services.
    case sharedWithoutACS(PCIAddress)
    /// The IOMMU does not remap interrupts.
    case noInterruptRemapping(allowsUnsafe: Bool)
    /// Somebody has it open.
    case inUse
    /// It cannot be opened, for another reason.
    case refused(VFIOError)
    /// It is a bridge, which VFIO does not give away.
    case bridge
    /// Opening it resets it and ends its virtual functions.
    case ownsVirtualFunctions(Int)
    /// It has more vectors than the host's processors have room for.
    case moreVectorsThanRoom(vectors: UInt32, room: Int, processors: Int)

    /// Whether it stands in the way; otherwise it is worth knowing.
    public var isObstacle: Bool {
        switch self {
        case .iommuOff, .noGroup, .notBound, .groupNotViable, .inUse, .refused, .bridge: true
        case .noInterruptRemapping(let allowsUnsafe): !allowsUnsafe
        case .sharedByAliasing, .sharedWithoutACS, .ownsVirtualFunctions, .moreVectorsThanRoom: false
        }
    }

    /// A short name that does not change: for JSON.
    public var name: String {
        switch self {
        case .iommuOff: "iommu-off"
        case .noGroup: "no-group"
        case .notBound: "not-bound"
        case .groupNotViable: "group-not-viable"
        case .sharedByAliasing: "shared-by-aliasing"
        case .sharedWithoutACS: "shared-without-acs"
        case .noInterruptRemapping: "no-interrupt-remapping"
        case .inUse: "in-use"
        case .refused: "refused"
        case .bridge: "bridge"
        case .ownsVirtualFunctions: "owns-virtual-functions"
        case .moreVectorsThanRoom: "more-vectors-than-room"
        }
    }

    /// What is the matter, in one clause.
    public var explanation: String {
        switch self {
        case .iommuOff: "the machine has no IOMMU, or it is off"
        case .noGroup: "the IOMMU does not cover it: it is in no group"
        case .notBound(let driver): driver.map { "it belongs to \($0)" } ?? "no driver has it"
        case .groupNotViable(let others):
            "drivers of the host have others of its group: \(others.map(\.description).joined(separator: ", "))"
        case .sharedByAliasing(let bridge):
            "its group is shared by aliasing: the conventional bridge \(bridge) puts its own address on all behind it"
        case .sharedWithoutACS(let port):
            "its group is shared: \(port) lacks access control services (ACS), so functions could reach each other"
        case .noInterruptRemapping(let allowsUnsafe):
            allowsUnsafe
                ? "the IOMMU does not remap interrupts, and allow_unsafe_interrupts lets any device raise any of them"
                : "the IOMMU does not remap interrupts: a device could raise any interrupt of the host"
        case .inUse: "another process has it, or its group, open"
        case .refused(let error): error.description
        case .bridge: "it is a bridge, and VFIO gives away endpoints only"
        case .ownsVirtualFunctions(let count): "opening it resets it and ends its \(count) virtual functions"
        case .moreVectorsThanRoom(let vectors, let room, let processors):
            "it has \(vectors) vectors, and the host has room for about \(room) more: each of its \(processors) "
                + "processors takes about \(HostTree.HostVectors.perProcessor)"
        }
    }

    /// What to do, in one clause; empty where nothing can be done.
    public func remedy(for address: PCIAddress) -> String {
        switch self {
        case .iommuOff: "enable VT-d or AMD-Vi in the firmware and boot with intel_iommu=on (AMD needs no option)"
        case .noGroup: "choose a device that the IOMMU covers"
        case .notBound: "sudo irqmux bind \(address)"
        case .groupNotViable: "sudo irqmux bind --group \(address)"
        case .sharedByAliasing: "give the group away whole, or move the device to a PCI Express slot"
        case .sharedWithoutACS: "give the group away whole, or move the device to another slot"
        case .noInterruptRemapping(let allowsUnsafe):
            allowsUnsafe
                ? "enable it in the firmware, and set allow_unsafe_interrupts back to N"
                : "enable it in the firmware; where every guest is trusted, "
                    + "echo Y > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
        case .inUse: "sudo fuser -v /dev/vfio/*"
        case .refused, .bridge: ""
        case .ownsVirtualFunctions: "open its virtual functions instead, or set their number to 0 first"
        case .moreVectorsThanRoom: "use fewer of them, free those of other devices, or give the host more processors"
        }
    }
}
