internal import CKernel
public import InterruptModel

/// A device of the kernel's VFIO: a PCI function, or a mediated device. Closes with its scope.
///
/// It knows which interrupts are enabled, so that taking it down never asks for what the kernel would refuse: closing
/// disables the type that is active and takes ERR's and REQ's eventfds away, and nothing else. A device that was only
/// borrowed is left with what it had when it was adopted.
///
/// Threads: every call may be made from any thread; changes of interrupts are serialised here, as in the kernel.
/// Source: Documentation/driver-api/vfio.rst and `<linux/vfio.h>`; since Linux 3.6.
public struct VFIODevice: ~Copyable, InterruptDevice, Sendable {
    /// Whose a file descriptor is.
    public enum Ownership: Sendable {
        /// The device's: it closes it.
        case taken
        /// The caller's, who keeps it open as long as this value lives and closes it afterwards.
        case borrowed
    }

    /// The way to a device.
    public enum Way: Sendable {
        /// The group where there is one, the character device otherwise.
        case automatic
        /// Container and group: every kernel with VFIO has had it.
        case group
        /// iommufd and `/dev/vfio/devices/vfioN` (Linux 6.6).
        case characterDevice
    }

    /// What else was opened for the device, and goes with it.
    enum Backing: Sendable {
        /// Nothing: container, group or iommufd are somebody else's.
        case elsewhere
        case group(container: Int32, group: Int32)
        case iommufd(Int32, space: UInt32, device: UInt32)
        /// Bound to somebody else's iommufd.
        case bound(device: UInt32)
    }

    /// The device's file descriptor. Valid as long as this value lives.
    public let number: Int32
    /// What VFIO_DEVICE_GET_INFO says.
    public let info: VFIODeviceInfo
    /// What the regions are, by number.
    public let regions: [RegionInfo]
    let ownership: Ownership
    let backing: Backing
    let interrupts: InterruptKeeper

    /// Takes a device that somebody opened: from a group, a character device, or another process.
    ///
    /// Which type of interrupt is enabled is found out by requests that change nothing.
    /// - Throws: `ENOTTY` or `EBADF` for a file that is no VFIO device; it is not closed then.
    public init(adopting number: Int32, _ ownership: Ownership = .borrowed) throws(VFIOError) {
        do throws(VFIOError) {
            try self.init(number, ownership, .elsewhere, isFresh: false)
        } catch {
            let isOther = error.errno == ENOTTY || error.errno == EBADF || error.errno == EINVAL
            throw VFIOError(.adopt, errno: error.errno, isOther ? .notADevice : error.reason)
        }
    }

    /// Takes over what was opened here; closes all of it where the device turns out not to answer.
    init(owning number: Int32, backing: Backing) throws(VFIOError) {
        do throws(VFIOError) {
            try self.init(number, .taken, backing, isFresh: true)
        } catch {
            _ = irqmux_close(number)
            Self.close(backing)
            throw error
        }
    }

    private init(
        _ number: Int32, _ ownership: Ownership, _ backing: Backing, isFresh: Bool
    ) throws(VFIOError) {
        let info = try VFIODeviceInfo(of: number)
        var regions: [RegionInfo] = []
        // PCI has nine and what a driver adds; a device that claims thousands is not asked for each.
        for index in 0..<min(info.regionCount, 256) { regions.append(try Self.region(number, index)) }
        self.number = number
        self.info = info
        self.regions = regions
        self.ownership = ownership
        self.backing = backing
        interrupts = InterruptKeeper(number, isFresh: isFresh)
    }

    deinit {
        interrupts.takeDown(number)
        if ownership == .taken { _ = irqmux_close(number) }
        Self.close(backing)
    }

    private static func close(_ backing: Backing) {
        switch backing {
        case .elsewhere, .bound: break
        case .group(let container, let group):
            _ = irqmux_close(group)
            _ = irqmux_close(container)
        case .iommufd(let number, _, _): _ = irqmux_close(number)
        }
    }

    /// The device's number at the iommufd that it is bound to; `nil` for one that came through a group.
    public var iommufdID: UInt32? {
        switch backing {
        case .elsewhere, .group: nil
        case .bound(let device), .iommufd(_, _, let device): device
        }
    }
}

extension VFIODevice {
    /// Opens a device with everything it needs: container and group, or iommufd, an address space and the character
    /// device. All of it closes with the device.
    ///
    /// - Parameter token: Of the physical function, where that is driven by VFIO too.
    /// - Throws: What stands in the way, told apart: no such device, no IOMMU, not bound, group not viable, in use, no
    ///   interrupt remapping.
    public static func open(
        _ name: VFIODeviceName, by way: Way = .automatic, token: UUIDBytes? = nil
    ) throws(VFIOError) -> VFIODevice {
        switch way {
        case .group: return try openByGroup(name, token)
        case .characterDevice: return try openByCharacterDevice(name, token)
        case .automatic:
            do throws(VFIOError) {
                return try openByGroup(name, token)
            } catch {
                // A kernel without groups (CONFIG_VFIO_GROUP=n) has neither the container nor the group's file.
                guard error.reason == .noVFIO || error.reason == .notBound else { throw error }
                do throws(VFIOError) { return try openByCharacterDevice(name, token) } catch let other {
                    throw other.reason == .noCharacterDevice || other.reason == .noIOMMUFD ? error : other
                }
            }
        }
    }

    private static func openByGroup(_ name: VFIODeviceName, _ token: UUIDBytes?) throws(VFIOError) -> VFIODevice {
        let id = try VFIOGroup.id(of: name)
        var container = try VFIOContainer()
        let group = try VFIOGroup(id)
        try container.add(group)
        let device = try group.open(name, token: token)
        return try VFIODevice(
            owning: device, backing: .group(container: container.release(), group: group.release()))
    }

    private static func openByCharacterDevice(
        _ name: VFIODeviceName, _ token: UUIDBytes?
    ) throws(VFIOError) -> VFIODevice {
        let device = try VFIOCharacterDevice(name)
        let iommufd = try IOMMUFD()
        let id = try device.bind(iommufd, token: token)
        let space = try IOMMUFD.allocate(iommufd.number)
        try device.attach(space)
        return try VFIODevice(
            owning: device.release(), backing: .iommufd(iommufd.release(), space: space, device: id))
    }

    /// Opens a device at somebody's iommufd, which must outlive it, and attaches it to an address space.
    public static func open(
        _ name: VFIODeviceName, at iommufd: borrowing IOMMUFD, in space: IOMMUFD.AddressSpace, token: UUIDBytes? = nil
    ) throws(VFIOError) -> VFIODevice {
        let device = try VFIOCharacterDevice(name)
        let id = try device.bind(iommufd, token: token)
        try device.attach(space.id)
        return try VFIODevice(owning: device.release(), backing: .bound(device: id))
    }
}
