import CKernel
import Foundation
import HostDevices
import Testing
import VFIO

/// What is refused, and what is put back: in a made tree no kernel answers, so that every change fails half-way.
/// Changes that succeed are tried in the emulated machine.
@Suite("changes to devices of the host")
struct ChangingTests {
    static let uuid = UUIDBytes(parsing: "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001".utf8)!

    @Test("a kernel that does not give the function to vfio-pci leaves the override as it was, and no note behind")
    func failedBind() throws {
        let made = try MadeTree()
        try made.function("0000:00:04.0", driver: "e1000e", group: 3)
        try made.file("/sys/devices/pci0000:00/0000:00:04.0/driver_override", "mine\n")
        let error = #expect(throws: HostError.self) { try made.tree.bind([address("0000:00:04.0")]) }
        #expect(error?.description.contains("e1000e has it afterwards") == true)
        #expect(made.text("/sys/devices/pci0000:00/0000:00:04.0/driver_override") == "mine\n")
        #expect(made.text("/run/irqmux/bindings/0000:00:04.0") == nil)
    }

    @Test("a bridge, a function that does not exist and a missing module are refused before anything is written")
    func refusedBind() throws {
        let made = try MadeTree()
        try made.function("0000:00:1c.0", driver: "pcieport", group: 1, code: "0x060400")
        try made.function("0000:00:04.0", driver: "e1000e", group: 3)
        let both = [address("0000:00:04.0"), address("0000:00:1c.0")]
        let bridge = #expect(throws: HostError.self) { try made.tree.bind(both) }
        #expect(bridge?.kind == .request)
        let absent = [address("0000:00:04.0"), address("0000:00:09.0")]
        let missing = #expect(throws: HostError.self) { try made.tree.bind(absent) }
        #expect(missing?.errno == ENODEV)
        try FileManager.default.removeItem(at: made.directory.appendingPathComponent("/sys/bus/pci/drivers/vfio-pci"))
        let error = #expect(throws: HostError.self) { try made.tree.bind([both[0]]) }
        #expect(error?.kind == .machine && error?.remedy == "sudo modprobe vfio-pci")
        #expect(made.text("/sys/devices/pci0000:00/0000:00:04.0/driver_override") == "(null)\n")
    }

    @Test("without an IOMMU, and without a group, binding is refused with the remedy before anything is written")
    func bindWithoutGroup() throws {
        let made = try MadeTree()
        try made.function("0000:00:04.0", driver: "e1000e")
        let off = #expect(throws: HostError.self) { try made.tree.bind([address("0000:00:04.0")]) }
        #expect(off?.kind == .machine && off?.remedy.contains("intel_iommu=on") == true)
        try made.function("0000:00:05.0", driver: "e1000e", group: 3)
        let both = [address("0000:00:05.0"), address("0000:00:04.0")]
        let uncovered = #expect(throws: HostError.self) { try made.tree.bind(both) }
        #expect(uncovered?.kind == .machine && uncovered?.description.contains("in no group") == true)
        for function in ["0000:00:04.0", "0000:00:05.0"] {
            #expect(made.text("/sys/devices/pci0000:00/\(function)/driver_override") == "(null)\n")
        }
    }

    @Test("a function that VFIO has already is left alone")
    func boundAlready() throws {
        let made = try MadeTree()
        try made.function("0000:00:04.0", driver: "vfio-pci", group: 3)
        #expect(try made.tree.bind([address("0000:00:04.0")]).isEmpty)
        #expect(made.text("/sys/devices/pci0000:00/0000:00:04.0/driver_override") == "(null)\n")
    }

    @Test("a function that VFIO does not have cannot be taken from it")
    func refusedUnbind() throws {
        let made = try MadeTree()
        try made.function("0000:00:04.0", driver: "e1000e", group: 3)
        let error = #expect(throws: HostError.self) { try made.tree.unbind(address("0000:00:04.0")) }
        #expect(error?.kind == .request && error?.description.contains("e1000e has") == true)
    }

    @Test("more virtual functions than there can be, and a device without any, are refused; the number stays")
    func refusedVirtualFunctions() throws {
        let made = try MadeTree()
        try made.function("0000:00:04.0", driver: "nvme", group: 3)
        let none = #expect(throws: HostError.self) {
            try made.tree.setVirtualFunctions(of: address("0000:00:04.0"), to: 1)
        }
        #expect(none?.kind == .request && none?.description.contains("no virtual functions") == true)
        try made.file("/sys/devices/pci0000:00/0000:00:04.0/sriov_totalvfs", "4\n")
        try made.file("/sys/devices/pci0000:00/0000:00:04.0/sriov_numvfs", "2\n")
        let many = #expect(throws: HostError.self) {
            try made.tree.setVirtualFunctions(of: address("0000:00:04.0"), to: 5)
        }
        #expect(many?.kind == .request && many?.description.contains("4 at most") == true)
        #expect(made.text("/sys/devices/pci0000:00/0000:00:04.0/sriov_numvfs") == "2\n")
        // A file takes any number, as a kernel that grants it does.
        #expect(try made.tree.setVirtualFunctions(of: address("0000:00:04.0"), to: 3).isEmpty)
        #expect(made.text("/sys/devices/pci0000:00/0000:00:04.0/sriov_numvfs") == "3\n")
    }

    @Test("mediated devices: no parent, an unknown type, an ambiguous one, a UUID that is taken, none left")
    func refusedMediated() throws {
        let made = try MadeTree()
        func refusal(_ type: String, parent: String? = nil) -> HostError? {
            #expect(throws: HostError.self) {
                _ = try made.tree.createMediated(Self.uuid, type: type, parent: parent)
            }
        }
        #expect(refusal("mtty-1")?.kind == .machine)
        for parent in ["mtty", "other"] {
            let type = "/sys/class/mdev_bus/\(parent)/mdev_supported_types/\(parent == "mtty" ? "mtty-1" : "x")"
            try made.file(type + "/available_instances", "0\n")
            try made.file(type + "/create", "")
            let shared = "/sys/class/mdev_bus/\(parent)/mdev_supported_types/both"
            try made.file(shared + "/available_instances", "2\n")
            try made.file(shared + "/create", "")
        }
        let unknown = refusal("mtty-9")
        #expect(unknown?.kind == .request && unknown?.remedy.contains("mtty/mtty-1") == true)
        let ambiguous = refusal("both")
        #expect(ambiguous?.kind == .request && ambiguous?.remedy.contains("mtty, other") == true)
        let empty = refusal("mtty-1")
        #expect(empty?.kind == .machine && empty?.description.contains("no instance left") == true)
        // Written, and then no device is there: the kernel's answer is looked at, not believed.
        #expect(refusal("both", parent: "mtty")?.description.contains("it is not there") == true)
        try made.file("/sys/bus/mdev/devices/\(Self.uuid)/remove", "")
        let taken = refusal("both", parent: "other")
        #expect(taken?.kind == .request && taken?.description.contains("that UUID is taken") == true)
        #expect(made.tree.mediatedDevices().map(\.uuid) == [Self.uuid])
        try made.tree.removeMediated(Self.uuid)
        #expect(made.text("/sys/bus/mdev/devices/\(Self.uuid)/remove") == "1\n")
    }

    @Test("a mediated device that does not exist cannot be removed")
    func absentMediated() throws {
        let made = try MadeTree()
        let error = #expect(throws: HostError.self) { try made.tree.removeMediated(Self.uuid) }
        #expect(error?.errno == ENODEV && error?.remedy == "irqmux mdev list")
    }
}
