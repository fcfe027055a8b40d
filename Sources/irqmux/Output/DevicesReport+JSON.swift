internal import HostDevices
internal import InterruptModel
internal import VFIO

extension DevicesReport {
    var json: JSON {
        let vectors = tree.hostVectors()
        return .object([
            ("schema", .string("irqmux.devices/1")),
            ("devices", .array(devices.map(Self.json))),
            ("mdev_types", .array(types.map(Self.json))),
            ("mdevs", .array(mediated.map(Self.json))),
            (
                "host",
                .object([
                    ("interrupt_remapping", .boolean(tree.remapsInterrupts())),
                    ("allow_unsafe_interrupts", .boolean(tree.allowsUnsafeInterrupts())),
                    ("interrupts_used", vectors.map { .integer(UInt64($0.used)) } ?? .null),
                    ("vectors_left", vectors?.left.map { .integer(UInt64($0)) } ?? .null),
                ])
            ),
        ])
    }

    /// `irqmux.mdevs/1`: types and devices alone.
    var mediatedJSON: JSON {
        .object([
            ("schema", .string("irqmux.mdevs/1")),
            ("mdev_types", .array(types.map(Self.json))),
            ("mdevs", .array(mediated.map(Self.json))),
        ])
    }

    private static func json(_ device: HostDevice) -> JSON {
        .object([
            ("address", .string(device.address.description)),
            ("vendor", .string(hex(device.vendor, 4))), ("device", .string(hex(device.device, 4))),
            ("class", .string(hex(device.classCode, 6))),
            ("driver", device.driver.map { .string($0) } ?? .null),
            ("iommu_group", device.group.map { .integer(UInt64($0)) } ?? .null),
            (
                "group_members",
                .array(
                    device.neighbours.map { neighbour in
                        .object([
                            ("address", .string(neighbour.address.description)),
                            ("driver", neighbour.driver.map { .string($0) } ?? .null),
                            ("bridge", .boolean(neighbour.isBridge)),
                        ])
                    })
            ),
            ("modes", .array(device.modes.map(json))),
            ("interrupts", .array(device.interrupts.map { json($0.index, $0.info) })),
            ("interrupts_by", .string(device.interruptSource.rawValue)),
            ("usable", .boolean(device.isUsable)),
            (
                "troubles",
                .array(
                    device.troubles.map { trouble in
                        .object([
                            ("name", .string(trouble.name)), ("obstacle", .boolean(trouble.isObstacle)),
                            ("detail", .string(trouble.explanation)),
                            ("remedy", .string(trouble.remedy(for: device.address))),
                        ])
                    })
            ),
        ])
    }

    private static func json(_ mode: HostDevice.Mode) -> JSON {
        switch mode {
        case .mdev(let types): return .object([("mode", .string("mdev")), ("types", .array(types.map(json)))])
        case .physicalFunction(let enabled, let total, let functions):
            return .object([
                ("mode", .string("sriov-pf")), ("enabled", .integer(UInt64(enabled))),
                ("total", .integer(UInt64(total))),
                ("functions", .array(functions.map { .string($0.description) })),
            ])
        case .virtualFunction(let physical):
            return .object([("mode", .string("sriov-vf")), ("of", .string(physical.description))])
        case .scalable(let bits, let character):
            return .object([
                ("mode", .string("scalable")), ("pasid_bits", .integer(UInt64(bits))),
                ("character_device", character.map { .string($0) } ?? .null),
            ])
        }
    }

    private static func json(_ index: IRQIndex, _ info: IRQInfo) -> JSON {
        .object([
            ("index", .string(index.name)), ("count", .integer(UInt64(info.count))),
            ("maskable", .boolean(info.maskable)), ("automasked", .boolean(info.automasked)),
            ("noresize", .boolean(info.noResize)),
        ])
    }

    private static func json(_ type: MediatedType) -> JSON {
        .object([
            ("parent", .string(type.parent)), ("type", .string(type.id)), ("name", .string(type.name)),
            ("description", .string(type.description)), ("device_api", .string(type.deviceAPI)),
            ("available", type.available.map { .integer(UInt64(max(0, $0))) } ?? .null),
        ])
    }

    private static func json(_ device: MediatedDevice) -> JSON {
        .object([
            ("uuid", .string(device.uuid.description)), ("parent", .string(device.parent)),
            ("type", .string(device.type)), ("iommu_group", device.group.map { .integer(UInt64($0)) } ?? .null),
            ("iommu_backed", .boolean(device.isIOMMUBacked)),
        ])
    }
}
