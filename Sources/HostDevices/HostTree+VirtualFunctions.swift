internal import CKernel
public import VFIO

/// A virtual function, and whether it can be given away by itself.
public struct VirtualFunction: Equatable, Sendable {
    /// Where it sits.
    public var address: PCIAddress
    /// Its IOMMU group; `nil` for none.
    public var group: UInt32?
    /// It is alone in its group.
    public var isIsolated: Bool
}

extension HostTree {
    /// The virtual functions of a physical one that are enabled.
    public func functions(of address: PCIAddress) -> [VirtualFunction] {
        virtualFunctions(of: address).map { function in
            let group = linkName(Self.directory(function) + "/iommu_group").flatMap { UInt32($0) }
            let members = group.map { names("/sys/kernel/iommu_groups/\($0)/devices").count } ?? 0
            return VirtualFunction(address: function, group: group, isIsolated: members == 1)
        }
    }

    /// Sets how many virtual functions are enabled. The kernel changes from one number to another only through 0; where
    /// the new number fails, the former one is set again.
    ///
    /// - Throws: A device that does not exist or has none, more than it can have (``HostError/Kind/request``); what the
    ///   kernel said.
    public func setVirtualFunctions(of address: PCIAddress, to count: Int) throws(HostError) -> [VirtualFunction] {
        let directory = Self.directory(address)
        guard exists(directory) else {
            throw HostError(
                "\(address)", errno: ENODEV, "there is no such device",
                remedy: "irqmux devices lists those that are there")
        }
        guard let total = number(directory + "/sriov_totalvfs"), total > 0 else {
            throw HostError(
                "\(address)", "it has no virtual functions", remedy: "choose one that irqmux devices shows as SR-IOV",
                kind: .request)
        }
        guard count >= 0, count <= total else {
            throw HostError(
                "\(count) virtual functions of \(address)", "it has \(total) at most", remedy: "ask for 0 to \(total)",
                kind: .request)
        }
        let file = directory + "/sriov_numvfs"
        let former = number(file) ?? 0
        guard former != count else { return functions(of: address) }
        if former != 0 { try write("0\n", to: file) }
        do throws(HostError) {
            if count > 0 { try write("\(count)\n", to: file) }
            let now = number(file)
            guard now == count else {
                throw HostError(
                    "enabling \(count) virtual functions of \(address)", "\(now ?? 0) are there afterwards",
                    remedy: "sudo dmesg | tail")
            }
        } catch {
            do throws(HostError) { if former != 0 { try write("\(former)\n", to: file) } } catch {
                // What is told is why the change failed.
            }
            throw Self.explained(error, address)
        }
        return functions(of: address)
    }

    private static func explained(_ error: HostError, _ address: PCIAddress) -> HostError {
        var error = error
        switch error.errno {
        case ENOENT, EOPNOTSUPP, ENOSYS:
            error.reason = "the driver of \(address) does not enable virtual functions"
            error.remedy = "give it to a driver that does, or load vfio-pci with enable_sriov=1"
            error.kind = .machine
        case ENOMEM, EBUSY:
            error.reason = "the bus has no room for them, or some are in use"
            error.remedy = "end what uses them, or boot with pci=assign-busses"
        default: break
        }
        return error
    }
}
