import Foundation
import HostDevices
import Testing
import VFIO

/// A directory laid out as sysfs and procfs are, for machines that are not at hand. Nothing in it answers a write, as a
/// kernel that refuses does not.
final class MadeTree {
    let directory: URL
    var tree: HostTree { HostTree(root: directory.path) }

    init() throws {
        directory = FileManager.default.temporaryDirectory.appendingPathComponent("irqmux-tree-\(UUID())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        try file(
            "/proc/interrupts", "            CPU0       CPU1\n  8:  1  0  IR-IO-APIC    8-edge      rtc0\nNMI: 0 0\n")
        try file("/sys/bus/pci/drivers/vfio-pci/new_id", "")
        try file("/sys/bus/pci/drivers_probe", "")
    }

    deinit { try? FileManager.default.removeItem(at: directory) }

    func file(_ path: String, _ text: String) throws { try file(path, Data(text.utf8)) }

    func file(_ path: String, _ data: Data) throws {
        let place = directory.appendingPathComponent(path)
        try FileManager.default.createDirectory(
            at: place.deletingLastPathComponent(), withIntermediateDirectories: true)
        try data.write(to: place)
    }

    func link(_ path: String, to target: String) throws {
        let place = directory.appendingPathComponent(path)
        try FileManager.default.createDirectory(
            at: place.deletingLastPathComponent(), withIntermediateDirectories: true)
        try FileManager.default.createSymbolicLink(atPath: place.path, withDestinationPath: target)
    }

    func text(_ path: String) -> String? {
        try? String(contentsOf: directory.appendingPathComponent(path), encoding: .utf8)
    }

    /// A function: its directory below that of `parent`, as sysfs nests what is behind bridges, and the link to it.
    func function(
        _ address: String, below parent: String = "", driver: String? = nil, group: Int? = nil,
        code: String = "0x020000", config: [UInt8] = MadeTree.endpoint()
    ) throws {
        let place = "/sys/devices/pci0000:00" + (parent.isEmpty ? "" : "/\(parent)") + "/\(address)"
        try file(place + "/vendor", "0x8086\n")
        try file(place + "/device", "0x10d3\n")
        try file(place + "/class", code + "\n")
        try file(place + "/config", Data(config))
        try file(place + "/driver_override", "(null)\n")
        try link("/sys/bus/pci/devices/\(address)", to: "../../.." + place.dropFirst(4))
        if let driver {
            try file("/sys/bus/pci/drivers/\(driver)/unbind", "")
            // Reached by its whole path, so that it does not matter how deep the function is.
            try link(place + "/driver", to: directory.path + "/sys/bus/pci/drivers/\(driver)")
        }
        if let group {
            try link(place + "/iommu_group", to: directory.path + "/sys/kernel/iommu_groups/\(group)")
            try link(
                "/sys/kernel/iommu_groups/\(group)/devices/\(address)",
                to: directory.path + "/sys/bus/pci/devices/\(address)")
        }
    }

    /// Configuration space of an endpoint with INTA#, 4 MSI and 33 MSI-X vectors, PCI Express, and what is given of
    /// extended capabilities.
    static func endpoint(extended: [UInt16] = [], header: UInt8 = 0, port: UInt16 = 0, express: Bool = true) -> [UInt8]
    {
        var bytes = [UInt8](repeating: 0, count: 4096)
        func put(_ value: UInt32, _ place: Int) {
            for offset in 0..<4 { bytes[place + offset] = UInt8(truncatingIfNeeded: value >> UInt32(8 * offset)) }
        }
        put(0x10d3_8086, 0)
        put(0x0010_0000, 4)
        bytes[0x0e] = header
        bytes[0x34] = 0x40
        bytes[0x3d] = header == 0 ? 1 : 0
        put(0x0084_5005, 0x40)
        put(0x0020_6011, 0x50)
        put(0x0000_0001, 0x54)
        put(0x0000_2001, 0x58)
        put(express ? UInt32(0x0002_0010) | UInt32(port) << 20 : 0x0000_0009, 0x60)
        var place = 0x100
        for (number, id) in extended.enumerated() {
            let next = number + 1 < extended.count ? UInt32(place + 0x40) : 0
            put(UInt32(id) | 1 << 16 | next << 20, place)
            // PASID's capability register: 20 bits wide.
            if id == 0x1b { put(0x1400, place + 4) }
            place += 0x40
        }
        return bytes
    }
}

func address(_ text: String) -> PCIAddress { PCIAddress(parsing: text.utf8)! }
