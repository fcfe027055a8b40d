internal import CKernel
public import VFIO

/// What a function had before it was given to VFIO.
public struct FormerBinding: Equatable, Sendable {
    /// Whose it is.
    public var address: PCIAddress
    /// The driver; `nil` for none.
    public var driver: String?
    /// `driver_override`; `nil` for none.
    public var override: String?
}

extension HostTree {
    /// Where the notes of what was there are kept until the next boot, as driver bindings are.
    private static func note(_ address: PCIAddress) -> String { "/run/irqmux/bindings/\(address)" }

    /// What has the function now.
    func binding(_ address: PCIAddress) throws(HostError) -> FormerBinding {
        let directory = Self.directory(address)
        guard exists(directory) else {
            throw HostError(
                "\(address)", errno: ENODEV, "there is no such device",
                remedy: "irqmux devices lists those that are there")
        }
        let override = text(directory + "/driver_override")
        return FormerBinding(
            address: address, driver: linkName(directory + "/driver"),
            override: override == nil || override == "(null)" || override == "" ? nil : override)
    }

    /// Gives functions to vfio-pci, all of them or none: where one fails, the others get back what they had.
    ///
    /// What each had is noted, and ``unbind(_:)`` puts it back.
    /// - Returns: What each had; functions that VFIO has already are left alone and left out.
    /// - Throws: `ENODEV` for a function that does not exist; a bridge; no vfio-pci; what the kernel said.
    @discardableResult
    public func bind(_ addresses: [PCIAddress]) throws(HostError) -> [FormerBinding] {
        var wanted: [FormerBinding] = []
        for address in addresses {
            let former = try binding(address)
            if former.driver.map(HostDevice.isVFIO) ?? false { continue }
            guard (number(Self.directory(address) + "/class") ?? 0) >> 16 != 0x06 else {
                throw HostError(
                    "\(address)", "it is a bridge, and VFIO gives away endpoints only",
                    remedy: "bind the devices behind it", kind: .request)
            }
            wanted.append(former)
        }
        guard wanted.isEmpty || exists("/sys/bus/pci/drivers/vfio-pci") else {
            throw HostError(
                "binding \(wanted[0].address)", "the vfio-pci module is not loaded", remedy: "sudo modprobe vfio-pci",
                kind: .machine)
        }
        for former in wanted { try requireGroup(former.address) }
        var done: [FormerBinding] = []
        for former in wanted {
            done.append(former)
            do throws(HostError) {
                try give(former.address, override: "vfio-pci", expecting: "vfio-pci")
                try note(former)
            } catch {
                for former in done.reversed() { restore(former) }
                throw error
            }
        }
        return done
    }

    /// vfio-pci takes no function that is in no IOMMU group, and the kernel does not say why.
    private func requireGroup(_ address: PCIAddress) throws(HostError) {
        guard linkName(Self.directory(address) + "/iommu_group") == nil else { return }
        let trouble = names("/sys/kernel/iommu_groups").isEmpty ? Trouble.iommuOff : .noGroup
        throw HostError(
            "binding \(address)", trouble.explanation, remedy: trouble.remedy(for: address), kind: .machine)
    }

    /// Takes a function away from VFIO and gives it back what it had before ``bind(_:)``, or, where nobody noted that,
    /// what the kernel finds for it.
    ///
    /// - Throws: `EBUSY` for a function that VFIO does not have. Blocks while somebody has the device open.
    @discardableResult
    public func unbind(_ address: PCIAddress) throws(HostError) -> FormerBinding {
        let current = try binding(address)
        guard current.driver.map(HostDevice.isVFIO) ?? false else {
            let owner = current.driver ?? "no driver"
            throw HostError(
                "unbinding \(address)", "VFIO does not have it, \(owner) has", remedy: "irqmux devices \(address)",
                kind: .request)
        }
        let former = noted(address) ?? FormerBinding(address: address, driver: nil, override: nil)
        do throws(HostError) {
            try give(address, override: former.override, expecting: former.driver)
        } catch {
            restore(current)
            throw error
        }
        remove(Self.note(address))
        return former
    }

    /// Changes the override, takes the driver away and lets the kernel look for one.
    private func give(_ address: PCIAddress, override: String?, expecting driver: String?) throws(HostError) {
        let directory = Self.directory(address)
        // A line's end alone clears it.
        try write((override ?? "") + "\n", to: directory + "/driver_override")
        if exists(directory + "/driver") { try write("\(address)\n", to: directory + "/driver/unbind") }
        do throws(HostError) { try write("\(address)\n", to: "/sys/bus/pci/drivers_probe") } catch {
            // The kernel answers so when no driver wants it, which may be as it was.
            guard driver == nil else { throw error }
        }
        guard let driver else { return }
        let now = linkName(directory + "/driver")
        guard now == driver else {
            throw HostError(
                "giving \(address) to \(driver)", "\(now ?? "no driver") has it afterwards",
                remedy: "sudo dmesg | tail tells why \(driver) did not take it")
        }
    }

    private func restore(_ former: FormerBinding) {
        do throws(HostError) {
            try give(former.address, override: former.override, expecting: former.driver)
        } catch {
            // The first error is the one that is told; the override at least is put back before anything else.
        }
        remove(Self.note(former.address))
    }

    private func note(_ former: FormerBinding) throws(HostError) {
        try makeDirectory("/run/irqmux/bindings")
        try write(
            "\(former.driver ?? "-")\n\(former.override ?? "-")\n", to: Self.note(former.address), creating: true)
    }

    /// What was noted when the function was bound; `nil` when irqmux did not bind it.
    func noted(_ address: PCIAddress) -> FormerBinding? {
        guard let lines = text(Self.note(address))?.split(separator: "\n"), lines.count == 2 else { return nil }
        return FormerBinding(
            address: address, driver: lines[0] == "-" ? nil : String(lines[0]),
            override: lines[1] == "-" ? nil : String(lines[1]))
    }

    /// The functions that have to be bound together: the group's, without bridges.
    public func groupMembers(_ address: PCIAddress) throws(HostError) -> [PCIAddress] {
        let device = try device(address)
        return ([address] + device.neighbours.filter { !$0.isBridge }.map(\.address)).sorted()
    }
}
