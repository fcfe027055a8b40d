internal import InterruptModel
public import VFIO

extension HostTree {
    static func directory(_ address: PCIAddress) -> String { "/sys/bus/pci/devices/\(address)" }

    /// The addresses of all PCI functions, in order.
    public func pciAddresses() -> [PCIAddress] {
        names("/sys/bus/pci/devices").compactMap { PCIAddress(parsing: $0.utf8) }.sorted()
    }

    /// Everything known of one function.
    ///
    /// - Parameter opening: Asks VFIO itself where the function is bound to it: opening resets it. Functions that own
    ///   virtual functions are never opened, because those would go.
    /// - Throws: `ENODEV` when there is no such function.
    public func device(_ address: PCIAddress, opening: Bool = false) throws(HostError) -> HostDevice {
        let directory = Self.directory(address)
        guard exists(directory) else {
            throw HostError(
                "\(address)", errno: 19, "there is no such device", remedy: "irqmux devices lists those that are there")
        }
        let group = linkName(directory + "/iommu_group").flatMap { UInt32($0) }
        let capabilities = capabilities(address)
        var device = HostDevice(
            address: address, vendor: UInt16(truncatingIfNeeded: number(directory + "/vendor") ?? 0xffff),
            device: UInt16(truncatingIfNeeded: number(directory + "/device") ?? 0xffff),
            classCode: UInt32(truncatingIfNeeded: number(directory + "/class") ?? 0),
            driver: linkName(directory + "/driver"), group: group, neighbours: neighbours(of: address, in: group),
            modes: [], interrupts: Self.interrupts(capabilities), interruptSource: .configuration, troubles: [])
        device.modes = modes(of: address, capabilities)
        device.troubles = troubles(of: device)
        if opening, root.isEmpty, device.isUsable, device.isBoundToVFIO { ask(&device) }
        return device
    }

    private func neighbours(of address: PCIAddress, in group: UInt32?) -> [HostDevice.Neighbour] {
        guard let group else { return [] }
        return names("/sys/kernel/iommu_groups/\(group)/devices").compactMap { name in
            guard let other = PCIAddress(parsing: name.utf8), other != address else { return nil }
            let directory = Self.directory(other)
            return HostDevice.Neighbour(
                address: other, driver: linkName(directory + "/driver"),
                isBridge: (number(directory + "/class") ?? 0) >> 16 == 0x06)
        }.sorted { $0.address < $1.address }
    }

    // MARK: Interrupts

    /// Configuration space as far as this user may read it: 64 bytes for all, everything for root.
    func capabilities(_ address: PCIAddress) -> PCICapabilities {
        let bytes = bytes(Self.directory(address) + "/config") ?? []
        return PCICapabilities(size: bytes.count) { bytes[$0] }
    }

    private static func interrupts(_ capabilities: PCICapabilities) -> [(index: IRQIndex, info: IRQInfo)] {
        var interrupts: [(index: IRQIndex, info: IRQInfo)] = []
        if capabilities.interruptPin > 0 {
            interrupts.append((.intx, IRQInfo(count: 1, eventfd: true, maskable: true, automasked: true)))
        }
        if let msi = capabilities.msi {
            interrupts.append((.msi, IRQInfo(count: msi.vectors, eventfd: true, noResize: true)))
        }
        if let msix = capabilities.msix {
            interrupts.append((.msix, IRQInfo(count: UInt32(msix.vectors), eventfd: true)))
        }
        if capabilities.express != nil { interrupts.append((.err, IRQInfo(count: 1, eventfd: true, noResize: true))) }
        return interrupts
    }

    /// Asks VFIO, which knows more; an obstacle that only opening shows is told.
    private func ask(_ device: inout HostDevice) {
        if case .physicalFunction(let enabled, _, _)? = device.modes.first(where: {
            if case .physicalFunction = $0 { true } else { false }
        }), enabled > 0 {
            device.troubles.append(.ownsVirtualFunctions(enabled))
            return
        }
        do throws(VFIOError) {
            let opened = try VFIODevice.open(.pci(device.address))
            var interrupts: [(index: IRQIndex, info: IRQInfo)] = []
            for index in IRQIndex.allCases {
                do throws(DeviceError) {
                    let info = try opened.interruptInfo(index)
                    if info.count > 0 { interrupts.append((index, info)) }
                } catch {
                    // An index that the device does not know.
                }
            }
            device.interrupts = interrupts
            device.interruptSource = .vfio
        } catch {
            device.troubles.append(error.reason == .inUse ? .inUse : .refused(error))
        }
    }

    // MARK: Modes

    private func modes(of address: PCIAddress, _ capabilities: PCICapabilities) -> [HostDevice.Mode] {
        let directory = Self.directory(address)
        var modes: [HostDevice.Mode] = []
        let types = mediatedTypes(ofParent: "\(address)")
        if !types.isEmpty { modes.append(.mdev(types: types)) }
        if let total = number(directory + "/sriov_totalvfs"), total > 0 {
            modes.append(
                .physicalFunction(
                    enabled: number(directory + "/sriov_numvfs") ?? 0, total: total,
                    functions: virtualFunctions(of: address)))
        }
        if let physical = linkName(directory + "/physfn").flatMap({ PCIAddress(parsing: $0.utf8) }) {
            modes.append(.virtualFunction(of: physical))
        }
        let bits = pasidBits(address)
        // The directory is there without iommufd too; a device number only with a character device.
        let character = names(directory + "/vfio-dev").first { exists("\(directory)/vfio-dev/\($0)/dev") }
        if bits > 0 || character != nil { modes.append(.scalable(pasidBits: bits, characterDevice: character)) }
        return modes
    }

    func virtualFunctions(of address: PCIAddress) -> [PCIAddress] {
        let directory = Self.directory(address)
        return names(directory).filter { $0.hasPrefix("virtfn") }
            .compactMap { linkName("\(directory)/\($0)").flatMap { PCIAddress(parsing: $0.utf8) } }.sorted()
    }

    /// The bits of PASID that the function can use (PCI Express Base 4.0, 7.8.8); 0 for none.
    private func pasidBits(_ address: PCIAddress) -> Int {
        guard let place = extended(0x1b, of: address), place.offset + 6 <= place.bytes.count else { return 0 }
        return Int(place.bytes[place.offset + 5] & 0x1f)
    }

    /// Where an extended capability begins; `nil` when the function lacks it, or this user may not see it.
    func extended(_ id: UInt16, of address: PCIAddress) -> (offset: Int, bytes: [UInt8])? {
        let bytes = bytes(Self.directory(address) + "/config") ?? []
        var offset: Int?
        _ = PCIChain.extended(size: bytes.count, { bytes[$0] }) { found, place in
            if found == id, offset == nil { offset = place }
            return nil
        }
        return offset.map { ($0, bytes) }
    }
}
