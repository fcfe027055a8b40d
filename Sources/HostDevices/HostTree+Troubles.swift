internal import InterruptModel
internal import VFIO

extension HostTree {
    /// What the files say against the device, without opening it.
    func troubles(of device: HostDevice) -> [Trouble] {
        if device.isBridge { return [.bridge] }
        var troubles: [Trouble] = []
        if device.group == nil {
            troubles.append(names("/sys/kernel/iommu_groups").isEmpty ? .iommuOff : .noGroup)
        } else if !remapsInterrupts() {
            troubles.append(.noInterruptRemapping(allowsUnsafe: allowsUnsafeInterrupts()))
        }
        if !device.isBoundToVFIO { troubles.append(.notBound(driver: device.driver)) }
        // Bridges may stay with pcieport, and pci-stub holds a function without using it (vfio_dev_viable).
        let foreign = device.neighbours.filter { neighbour in
            guard let driver = neighbour.driver else { return false }
            return !HostDevice.isVFIO(driver) && driver != "pci-stub" && !(neighbour.isBridge && driver == "pcieport")
        }
        if !foreign.isEmpty { troubles.append(.groupNotViable(foreign.map(\.address))) }
        if device.neighbours.contains(where: { !$0.isBridge }), let why = reasonForSharing(device) {
            troubles.append(why)
        }
        let most = device.interrupts.filter { $0.index == .msi || $0.index == .msix }.map(\.info.count).max() ?? 0
        if let host = hostVectors(), host.processors > 0, Int(most) > host.room {
            troubles.append(.moreVectorsThanRoom(vectors: most, room: host.room, processors: host.processors))
        }
        return troubles
    }

    /// Whether interrupts go through the IOMMU: the kernel then calls their controllers IR-something.
    public func remapsInterrupts() -> Bool {
        guard let interrupts = text("/proc/interrupts") else { return true }
        return interrupts.contains(" IR-")
    }

    /// Whether VFIO may be used without interrupt remapping.
    public func allowsUnsafeInterrupts() -> Bool {
        text("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts") == "Y"
    }

    /// Why the IOMMU cannot keep the group's functions apart; `nil` where that cannot be seen.
    private func reasonForSharing(_ device: HostDevice) -> Trouble? {
        let above = bridges(above: device.address)
        // PCI Express to PCI bridges (type 7), and bridges without an express capability, put their own requester
        // identity on everything that comes through them.
        for bridge in above {
            let capabilities = capabilities(bridge)
            guard capabilities.headerType == 1 else { continue }
            if capabilities.express.map({ $0.portType == 7 }) ?? true { return .sharedByAliasing(bridge: bridge) }
        }
        let sameSlot = device.neighbours.contains {
            $0.address.domain == device.address.domain && $0.address.bus == device.address.bus
                && $0.address.device == device.address.device
        }
        if sameSlot, extended(Self.accessControl, of: device.address) == nil {
            return .sharedWithoutACS(device.address)
        }
        return above.first { extended(Self.accessControl, of: $0) == nil }.map { .sharedWithoutACS($0) }
    }

    /// Access Control Services (PCI Express Base 3.1, 7.16).
    private static var accessControl: UInt16 { 0x000d }

    /// The bridges between a function and the root, from the function upwards: its path in sysfs has them.
    private func bridges(above address: PCIAddress) -> [PCIAddress] {
        guard let path = link(Self.directory(address)) else { return [] }
        return path.split(separator: "/").compactMap { PCIAddress(parsing: $0.utf8) }.filter { $0 != address }
            .reversed()
    }

    /// The host's interrupt vectors.
    public struct HostVectors: Equatable, Sendable {
        /// Processors that take interrupts.
        public var processors: Int
        /// Interrupts in use.
        public var used: Int
        /// How many more there is room for; `nil` where only root could tell (debugfs).
        public var left: Int?
        /// What a processor takes about: 256 vectors without the exceptions and those of the kernel itself (x86).
        public static let perProcessor = 200

        /// How many more there is room for: what the kernel tells, and an estimate where it does not.
        public var room: Int { left ?? max(0, processors * Self.perProcessor - used) }

        /// Tells of a host.
        public init(processors: Int, used: Int, left: Int? = nil) {
            self.processors = processors
            self.used = used
            self.left = left
        }
    }

    /// How many vectors are used and left: a processor has about 200, and a request that finds none is ENOSPC or gets
    /// fewer. `nil` without /proc/interrupts.
    public func hostVectors() -> HostVectors? {
        guard let table = text("/proc/interrupts") else { return nil }
        let lines = table.split(separator: "\n")
        let processors = lines.first.map { $0.split(separator: " ").filter { $0.hasPrefix("CPU") }.count } ?? 0
        let used = lines.dropFirst().count { line in
            let head = line.drop { $0 == " " }.prefix { $0 != ":" }
            return !head.isEmpty && head.allSatisfy(\.isNumber)
        }
        return HostVectors(processors: processors, used: used, left: vectorsLeft())
    }

    /// The kernel's own count, "Global available:", which the x86 vector domain tells in debugfs.
    private func vectorsLeft() -> Int? {
        guard let domain = text("/sys/kernel/debug/irq/domains/VECTOR") else { return nil }
        for line in domain.split(separator: "\n") {
            let halves = line.split(separator: ":")
            guard halves.count == 2, halves[0].contains("Global available") else { continue }
            return Int(halves[1].drop { $0 == " " })
        }
        return nil
    }
}
