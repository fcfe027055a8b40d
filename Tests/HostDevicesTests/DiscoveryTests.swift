import HostDevices
import InterruptModel
import Testing
import VFIO

@Suite("devices of the host")
struct DiscoveryTests {
    @Test("a function that vfio-pci has, alone in its group, is usable, and its interrupts are told")
    func usable() throws {
        let made = try MadeTree()
        try made.function("0000:00:04.0", driver: "vfio-pci", group: 3)
        #expect(made.tree.pciAddresses() == [address("0000:00:04.0")])
        let device = try made.tree.device(address("0000:00:04.0"))
        #expect(device.isUsable && device.isBoundToVFIO && device.group == 3 && device.neighbours.isEmpty)
        #expect(device.vendor == 0x8086 && device.device == 0x10d3 && device.classCode == 0x020000)
        #expect(device.interrupts.map(\.index) == [.intx, .msi, .msix, .err])
        #expect(device.interrupts.map(\.info.count) == [1, 4, 33, 1])
        #expect(device.interruptSource == .configuration && device.modes.isEmpty)
        #expect(device.interrupts[0].info.maskable && device.interrupts[0].info.automasked)
    }

    @Test("without an IOMMU, without a group, and without VFIO's driver, it says which")
    func obstacles() throws {
        let off = try MadeTree()
        try off.function("0000:00:04.0", driver: "e1000e")
        let device = try off.tree.device(address("0000:00:04.0"))
        #expect(device.troubles == [.iommuOff, .notBound(driver: "e1000e")])
        #expect(device.troubles[0].remedy(for: device.address).contains("intel_iommu=on"))
        #expect(device.troubles[1].remedy(for: device.address) == "sudo irqmux bind 0000:00:04.0")
        let partly = try MadeTree()
        try partly.function("0000:00:04.0", group: 1)
        try partly.function("0000:00:05.0")
        #expect(try partly.tree.device(address("0000:00:05.0")).troubles == [.noGroup, .notBound(driver: nil)])
        let bridge = try MadeTree()
        try bridge.function("0000:00:1c.0", driver: "pcieport", group: 1, code: "0x060400")
        #expect(try bridge.tree.device(address("0000:00:1c.0")).troubles == [.bridge])
    }

    @Test("a group that drivers of the host have a part of is not viable, and names them")
    func viability() throws {
        let made = try MadeTree()
        try made.function("0000:00:1c.0", driver: "pcieport", group: 7, code: "0x060400")
        try made.function("0000:00:04.0", driver: "vfio-pci", group: 7)
        try made.function("0000:00:04.1", driver: "ahci", group: 7)
        try made.function("0000:00:04.2", group: 7)
        try made.function("0000:00:04.3", driver: "pci-stub", group: 7)
        let device = try made.tree.device(address("0000:00:04.0"))
        #expect(device.troubles.first == .groupNotViable([address("0000:00:04.1")]))
        #expect(!device.isUsable && device.neighbours.count == 4)
        let members = ["0000:00:04.0", "0000:00:04.1", "0000:00:04.2", "0000:00:04.3"].map(address)
        #expect(try made.tree.groupMembers(device.address) == members)
    }

    @Test("a group shared by functions of one slot is for want of ACS; with ACS the port above is looked at")
    func accessControl() throws {
        let made = try MadeTree()
        for function in 0..<2 { try made.function("0000:00:04.\(function)", driver: "vfio-pci", group: 7) }
        let shared = try made.tree.device(address("0000:00:04.1"))
        #expect(shared.troubles == [.sharedWithoutACS(address("0000:00:04.1"))] && shared.isUsable)
        let ported = try MadeTree()
        let acs = MadeTree.endpoint(extended: [0x01, 0x0d])
        let port = MadeTree.endpoint(extended: [], header: 1, port: 4)
        try ported.function("0000:00:1c.0", driver: "pcieport", group: 7, code: "0x060400", config: port)
        for function in 0..<2 {
            try ported.function(
                "0000:01:00.\(function)", below: "0000:00:1c.0", driver: "vfio-pci", group: 7, config: acs)
        }
        let device = try ported.tree.device(address("0000:01:00.0"))
        #expect(device.troubles == [.sharedWithoutACS(address("0000:00:1c.0"))])
    }

    @Test("a group behind a conventional bridge is shared by aliasing", arguments: [true, false])
    func aliasing(express: Bool) throws {
        let made = try MadeTree()
        let bridge = MadeTree.endpoint(header: 1, port: 7, express: express)
        try made.function("0000:00:1e.0", group: 9, code: "0x060400", config: bridge)
        for slot in 1...2 {
            try made.function("0000:02:0\(slot).0", below: "0000:00:1e.0", driver: "vfio-pci", group: 9)
        }
        let device = try made.tree.device(address("0000:02:01.0"))
        #expect(device.troubles == [.sharedByAliasing(bridge: address("0000:00:1e.0"))])
        #expect(device.troubles[0].explanation.contains("by aliasing"))
    }

    @Test("missing interrupt remapping stands in the way until allow_unsafe_interrupts is set")
    func remapping() throws {
        let made = try MadeTree()
        try made.file("/proc/interrupts", "            CPU0\n  8:  1  IO-APIC    8-edge      rtc0\n")
        try made.function("0000:00:04.0", driver: "vfio-pci", group: 3)
        let refused = try made.tree.device(address("0000:00:04.0"))
        #expect(refused.troubles == [.noInterruptRemapping(allowsUnsafe: false)] && !refused.isUsable)
        try made.file("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n")
        let allowed = try made.tree.device(address("0000:00:04.0"))
        #expect(allowed.troubles == [.noInterruptRemapping(allowsUnsafe: true)] && allowed.isUsable)
    }

    @Test("the three modes are told apart, and one device may have several")
    func modes() throws {
        let made = try MadeTree()
        try made.function(
            "0000:01:00.0", driver: "nvme", group: 3, config: MadeTree.endpoint(extended: [0x01, 0x1b]))
        let physical = "/sys/devices/pci0000:00/0000:01:00.0"
        try made.file(physical + "/sriov_totalvfs", "4\n")
        try made.file(physical + "/sriov_numvfs", "1\n")
        try made.file(physical + "/vfio-dev/vfio0/dev", "")
        try made.link(physical + "/virtfn0", to: "../0000:01:00.1")
        try made.function("0000:01:00.1", driver: "vfio-pci", group: 4)
        try made.link("/sys/devices/pci0000:00/0000:01:00.1/physfn", to: "../0000:01:00.0")
        try made.file("/sys/class/mdev_bus/0000:01:00.0/mdev_supported_types/nvme-1/available_instances", "8\n")
        let device = try made.tree.device(address("0000:01:00.0"))
        #expect(device.modes.count == 3)
        guard case .mdev(let types) = device.modes[0] else {
            Issue.record("no mdev: \(device.modes)")
            return
        }
        #expect(types.map(\.id) == ["nvme-1"] && types[0].available == 8)
        #expect(
            device.modes[1] == .physicalFunction(enabled: 1, total: 4, functions: [address("0000:01:00.1")]))
        #expect(device.modes[2] == .scalable(pasidBits: 20, characterDevice: "vfio0"))
        let function = try made.tree.device(address("0000:01:00.1"))
        #expect(function.modes == [.virtualFunction(of: address("0000:01:00.0"))])
        let functions = made.tree.functions(of: device.address)
        #expect(functions.map(\.address) == [function.address] && functions.map(\.group) == [4])
        #expect(functions.map(\.isIsolated) == [true])
    }

    @Test("vectors in use and left are counted")
    func vectors() throws {
        let made = try MadeTree()
        #expect(made.tree.hostVectors() == HostTree.HostVectors(processors: 2, used: 1))
        let domain = "name:   VECTOR\n size:   0\nOnline bitmaps:        2\nGlobal available:    380\n"
        try made.file("/sys/kernel/debug/irq/domains/VECTOR", domain)
        #expect(made.tree.hostVectors()?.left == 380)
    }

    @Test("a device with more vectors than the processors have room for is told so, and is usable all the same")
    func tooManyVectors() throws {
        let made = try MadeTree()
        var config = MadeTree.endpoint()
        // Message control of MSI-X: the number of vectors, less one.
        (config[0x52], config[0x53]) = (0xff, 0x07)
        // The pending bits begin after so long a table.
        config[0x59] = 0x80
        try made.function("0000:00:04.0", driver: "vfio-pci", group: 3, config: config)
        let device = try made.tree.device(address("0000:00:04.0"))
        let trouble = Trouble.moreVectorsThanRoom(vectors: 2048, room: 399, processors: 2)
        #expect(device.troubles == [trouble] && device.isUsable)
        #expect(trouble.explanation.contains("2048 vectors"))
        #expect(trouble.explanation.contains("room for about 399") && !trouble.remedy(for: device.address).isEmpty)
        let domain = "Global available:   2048\n"
        try made.file("/sys/kernel/debug/irq/domains/VECTOR", domain)
        #expect(try made.tree.device(address("0000:00:04.0")).troubles.isEmpty, "the kernel knows better")
    }

    @Test("a function that does not exist is told so")
    func absent() throws {
        let made = try MadeTree()
        let error = #expect(throws: HostError.self) { _ = try made.tree.device(address("0000:00:04.0")) }
        #expect(error?.kind == .machine && error?.description.contains("there is no such device") == true)
    }

    @Test(
        "configuration space that lies, or is cut to what a user may see, does no harm", arguments: [0, 4, 63, 64, 200])
    func shortConfiguration(size: Int) throws {
        let made = try MadeTree()
        try made.function(
            "0000:00:04.0", driver: "vfio-pci", group: 3, config: [UInt8](MadeTree.endpoint().prefix(size)))
        #expect(try made.tree.device(address("0000:00:04.0")).isUsable)
        try made.function(
            "0000:00:05.0", driver: "vfio-pci", group: 4, config: [UInt8](repeating: 0xff, count: 4096))
        #expect(try made.tree.device(address("0000:00:05.0")).interrupts.isEmpty)
    }
}
