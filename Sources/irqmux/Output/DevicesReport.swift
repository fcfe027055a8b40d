internal import HostDevices
internal import InterruptModel
internal import VFIO

/// What devices the host has: `irqmux.devices/1`.
struct DevicesReport {
    let devices: [HostDevice]
    let mediated: [MediatedDevice]
    let types: [MediatedType]
    let tree: HostTree

    // MARK: Text

    func text(terminal: Terminal) -> String {
        var text = ""
        for device in devices { text += Self.text(device, terminal: terminal) }
        if !mediated.isEmpty || !types.isEmpty { text += mediatedText(terminal: terminal) }
        let usable = devices.count { $0.isUsable }
        text += "\(devices.count) functions, \(usable) usable through VFIO"
        if !mediated.isEmpty { text += ", \(mediated.count) mediated devices" }
        return text + "\n"
    }

    private static func text(_ device: HostDevice, terminal: Terminal) -> String {
        let mark = device.isUsable ? terminal.paint("✓", .green) : terminal.paint("-", .yellow)
        var text = "\(mark) \(device.address)  \(hex(device.vendor, 4)):\(hex(device.device, 4))"
        text += "  \(className(device.classCode))  \(device.driver ?? "no driver")\n"
        text += line("group", group(device))
        for mode in device.modes { text += line("mode", Self.text(mode)) }
        text += line("interrupts", interrupts(device))
        for trouble in device.troubles {
            let sign = trouble.isObstacle ? terminal.paint("✗", .red) : terminal.paint("!", .yellow)
            text += "    \(sign) \(trouble.explanation)\n"
            let remedy = trouble.remedy(for: device.address)
            if !remedy.isEmpty { text += "      " + terminal.paint("→ \(remedy)", .dim) + "\n" }
        }
        return text
    }

    private static func line(_ name: String, _ value: String) -> String {
        "    \(NumberText.left(name, 10))  \(value)\n"
    }

    private static func group(_ device: HostDevice) -> String {
        guard let group = device.group else { return "none" }
        guard !device.neighbours.isEmpty else { return "\(group), alone in it" }
        let others = device.neighbours.map { "\($0.address) (\($0.driver ?? "no driver"))" }
        return "\(group), with \(others.joined(separator: ", "))"
    }

    private static func interrupts(_ device: HostDevice) -> String {
        guard !device.interrupts.isEmpty else { return "none that can be seen" }
        let parts = device.interrupts.map { row in
            var part = "\(row.index.label) \(row.info.count)"
            if row.info.maskable { part += " maskable" }
            if row.info.automasked { part += " automasked" }
            if row.info.noResize { part += " noresize" }
            return part
        }
        return parts.joined(separator: ", ") + " (by \(device.interruptSource.rawValue))"
    }

    private static func text(_ mode: HostDevice.Mode) -> String {
        switch mode {
        case .mdev(let types): return "mdev: " + types.map { "\($0.id) (\(left($0)))" }.joined(separator: ", ")
        case .physicalFunction(let enabled, let total, let functions):
            let list = functions.isEmpty ? "" : ": " + functions.map(\.description).joined(separator: ", ")
            return "SR-IOV: \(enabled) of \(total) virtual functions enabled\(list)"
        case .virtualFunction(let physical): return "SR-IOV: virtual function of \(physical)"
        case .scalable(let bits, let character):
            let pasid = bits > 0 ? "PASID of \(bits) bits" : "no PASID"
            return "scalable: \(pasid), " + (character.map { "iommufd by /dev/vfio/devices/\($0)" } ?? "no iommufd")
        }
    }

    private static func left(_ type: MediatedType) -> String { type.available.map { "\($0) left" } ?? "any number" }

    /// Types and devices, a line each.
    func mediatedText(terminal: Terminal) -> String {
        var text = ""
        for type in types {
            let words = [type.name, type.description.split(separator: "\n").joined(separator: ", ")]
            let told = words.filter { !$0.isEmpty }.joined(separator: ": ")
            let api = type.deviceAPI.isEmpty ? "" : " as \(type.deviceAPI)"
            text += "type \(type.parent)/\(type.id)  \(Self.left(type))\(api)\(told.isEmpty ? "" : "  \(told)")\n"
        }
        for device in mediated {
            let group = device.group.map { "group \($0)" } ?? "no group"
            let backing = device.isIOMMUBacked ? "IOMMU-backed" : "isolated by its driver"
            text += "mdev:\(device.uuid)  \(device.type) of \(device.parent)  \(group), \(backing)\n"
        }
        if types.isEmpty, mediated.isEmpty { text += "no parent offers mediated devices\n" }
        return text
    }

    private static let classes: [UInt32: String] = [
        0x00: "unclassified", 0x01: "storage", 0x02: "network", 0x03: "display", 0x04: "multimedia", 0x05: "memory",
        0x06: "bridge", 0x07: "communication", 0x08: "system", 0x09: "input", 0x0b: "processor", 0x0c: "serial bus",
        0x0d: "wireless", 0x10: "encryption", 0x11: "signal processing", 0x12: "accelerator",
    ]

    static func className(_ code: UInt32) -> String { classes[code >> 16] ?? "class \(hex(UInt16(code >> 16), 2))" }

    static func hex(_ number: some BinaryInteger, _ digits: Int) -> String {
        let text = String(number, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
}
