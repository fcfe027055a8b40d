import Foundation
import Testing

@testable import irqmux

/// The commands about devices of the host, on this machine and on a tree laid out for them.
@Suite("devices, bind, mdev, sriov")
struct DevicesTests {
    /// One function that a driver of the host has, in a group of its own, and a parent of mediated devices.
    private static func tree() throws -> URL {
        let root = FileManager.default.temporaryDirectory.appendingPathComponent("irqmux-devices-\(UUID())")
        func file(_ path: String, _ text: String) throws {
            let place = root.appendingPathComponent(path)
            try FileManager.default.createDirectory(
                at: place.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: place)
        }
        func link(_ path: String, _ target: String) throws {
            let place = root.appendingPathComponent(path)
            try FileManager.default.createDirectory(
                at: place.deletingLastPathComponent(), withIntermediateDirectories: true)
            try FileManager.default.createSymbolicLink(
                atPath: place.path, withDestinationPath: root.appendingPathComponent(target).path)
        }
        let device = "sys/devices/pci0000:00/0000:00:04.0"
        try file(device + "/vendor", "0x1234\n")
        try file(device + "/device", "0x11e8\n")
        try file(device + "/class", "0x00ff00\n")
        try file(device + "/driver_override", "(null)\n")
        try file(device + "/sriov_totalvfs", "2\n")
        try file(device + "/sriov_numvfs", "0\n")
        try file("sys/bus/pci/drivers/uio/unbind", "")
        try file("sys/bus/pci/drivers/vfio-pci/unbind", "")
        try file("sys/bus/pci/drivers_probe", "")
        try file("proc/interrupts", "           CPU0\n  8: 1 IR-IO-APIC 8-edge rtc0\n")
        try link("sys/bus/pci/devices/0000:00:04.0", device)
        try link(device + "/driver", "sys/bus/pci/drivers/uio")
        try link(device + "/iommu_group", "sys/kernel/iommu_groups/3")
        try link("sys/kernel/iommu_groups/3/devices/0000:00:04.0", device)
        try file("sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/available_instances", "24\n")
        try file("sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/name", "Single port serial\n")
        return root
    }

    @Test("devices tells class, driver, group, modes and what to type, as text and as JSON")
    func list() throws {
        let root = try Self.tree()
        defer { try? FileManager.default.removeItem(at: root) }
        let text = try CommandProcess.run("devices", "--host-root", root.path)
        #expect(text.status == 0, "\(text.diagnostics)")
        for part in [
            "0000:00:04.0  1234:11e8  unclassified  uio", "3, alone in it", "SR-IOV: 0 of 2", "it belongs to uio",
            "sudo irqmux bind 0000:00:04.0", "type mtty/mtty-1  24 left", "1 functions, 0 usable through VFIO",
        ] { #expect(text.output.contains(part), "\(part) is not in \(text.output)") }
        let json = try CommandProcess.run("devices", "--host-root", root.path, "--format", "json").object()
        #expect(json["schema"] as? String == "irqmux.devices/1")
        let devices = try #require(json["devices"] as? [[String: Any]])
        #expect(devices.count == 1 && devices[0]["usable"] as? Bool == false)
        let troubles = try #require(devices[0]["troubles"] as? [[String: Any]])
        #expect(troubles.map { $0["name"] as? String } == ["not-bound"])
        let types = try CommandProcess.run("mdev", "list", "--host-root", root.path, "--format", "json").object()
        #expect(types["schema"] as? String == "irqmux.mdevs/1")
    }

    @Test("devices of this machine are listed, whatever it has")
    func thisMachine() throws {
        let run = try CommandProcess.run("devices", "--no-open")
        #expect(run.status == 0 && run.diagnostics.isEmpty)
        #expect(run.output.contains("usable through VFIO"))
    }

    @Test(
        "a bad request ends with status 64 and one line, what the machine lacks with 69",
        arguments: [
            (["bind", "4.0"], 64), (["bind"], 64), (["bind", "fffe:ff:1f.7"], 69), (["unbind", "fffe:ff:1f.7"], 69),
            (["devices", "fffe:ff:1f.7"], 69), (["mdev", "create", "../x"], 64), (["mdev", "remove", "17"], 64),
            (["mdev", "create", "x", "--uuid", "17"], 64), (["sriov", "set", "0000:00:04.0", "-1"], 64),
            (["mdev", "remove", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"], 69),
            (["sriov", "set", "fffe:ff:1f.7", "1"], 69),
            (["loopback", "--device", "0000:01:00.0,vf_token=1"], 64),
        ] as [([String], Int32)])
    func refused(arguments: [String], status: Int32) throws {
        let run = try CommandProcess.run(arguments)
        #expect(run.status == status, "\(run.diagnostics)")
        #expect(run.output.isEmpty && run.diagnosticLines.count == 1, "\(run.diagnostics)")
    }

    @Test("a bind that the kernel does not carry out, and too many virtual functions, leave everything as it was")
    func nothingLeft() throws {
        let root = try Self.tree()
        defer { try? FileManager.default.removeItem(at: root) }
        let device = root.appendingPathComponent("sys/devices/pci0000:00/0000:00:04.0")
        let bind = try CommandProcess.run("bind", "--host-root", root.path, "0000:00:04.0")
        #expect(bind.status == 2 && bind.diagnostics.contains("uio has it afterwards"))
        #expect(bind.diagnosticLines.count == 1 && bind.output.isEmpty)
        let override = try String(contentsOf: device.appendingPathComponent("driver_override"), encoding: .utf8)
        #expect(override == "\n", "cleared, as it was: a line's end clears it")
        #expect(!FileManager.default.fileExists(atPath: root.appendingPathComponent("run/irqmux").path))
        let many = try CommandProcess.run("sriov", "set", "--host-root", root.path, "0000:00:04.0", "3")
        #expect(many.status == 64 && many.diagnostics.contains("it has 2 at most"))
        let count = try String(contentsOf: device.appendingPathComponent("sriov_numvfs"), encoding: .utf8)
        #expect(count == "0\n")
        let uuid = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"
        let none = try CommandProcess.run("mdev", "create", "--host-root", root.path, "--uuid", uuid, "mtty-9")
        #expect(none.status == 64 && none.diagnostics.contains("offered are: mtty/mtty-1"))
    }

    @Test("loopback speaks TAP and JUnit")
    func forms() throws {
        let layout = ["--device", "software:msix=2,msi=0,intx=0", "--storm", "10"]
        let tap = try CommandProcess.run(["loopback", "--format", "tap"] + layout)
        #expect(tap.status == 0)
        let lines = tap.output.split(separator: "\n")
        #expect(lines.first == "TAP version 13" && lines.dropFirst().first == "1..\(lines.count - 2)")
        #expect(lines.dropFirst(2).allSatisfy { $0.hasPrefix("ok ") })
        #expect(lines.contains { $0.contains("# SKIP the device has no INTx") })
        let junit = try CommandProcess.run(["loopback", "--format", "junit"] + layout)
        #expect(junit.status == 0)
        let parser = XMLProbe(junit.output)
        #expect(parser.isWellFormed && parser.cases == lines.count - 2 && parser.skipped == 2)
    }
}

/// The test cases in JUnit's XML, counted by tags; every tag that opens has to close.
private struct XMLProbe {
    var isWellFormed = true
    var cases = 0
    var skipped = 0

    init(_ text: String) {
        var open: [Substring] = []
        for tag in text.split(separator: "<").dropFirst() {
            let inside = tag.prefix { $0 != ">" }
            let name = inside.drop { $0 == "/" }.prefix { $0 != " " && $0 != "/" && $0 != "?" }
            guard !inside.hasPrefix("?") else { continue }
            if inside.hasPrefix("/") {
                if open.popLast() != name { isWellFormed = false }
            } else {
                if name == "testcase" { cases += 1 }
                if name == "skipped" { skipped += 1 }
                if !inside.hasSuffix("/") { open.append(name) }
            }
        }
        if !open.isEmpty || text.isEmpty { isWellFormed = false }
    }
}
