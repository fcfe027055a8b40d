internal import Glibc
internal import InterruptModel
internal import VFIO
internal import VFIOUser

/// What a command wants of the device that it opens.
struct OpeningWishes {
    /// So many MSI-X vectors; a device whose layout is ours to choose is made with them. Whether any other has them is
    /// for whoever asked to look at (``CountArgument/hold(within:of:)``).
    var vectors: CountArgument?
}

/// The kinds of devices, one row each: a row opens the names that are its own.
enum DeviceOpeners {
    typealias Opener = @Sendable (DeviceName, OpeningWishes) throws -> OpenedDevice?

    /// Every kind that this build drives.
    static let all: [Opener] = [software, kernel, socket]

    private static let software: Opener = { name, wishes in
        guard case .software(let layout) = name else { return nil }
        return try SoftwareDevice(layout.holding(wishes.vectors))
    }

    /// PCI functions and mediated devices, by the kernel's VFIO.
    private static let kernel: Opener = { name, _ in
        let device: VFIODeviceName
        var token: UUIDBytes?
        switch name {
        case .pci(let address, let vfToken):
            device = .pci(address)
            token = vfToken
        case .mdev(let uuid): device = .mdev(uuid)
        case .software, .vfioUser: return nil
        }
        let opened = try open(device, token, for: name)
        let kind = [(key: "kind", value: "vfio"), (key: "by", value: opened.iommufdID == nil ? "group" : "iommufd")]
        let hasConfiguration = opened.regions.count > 7 && opened.regions[7].size >= 64
        let regions = opened.regions
        return try DrivenDevice(name, opened, kind: kind, regions: regions, hasConfiguration: hasConfiguration)
    }

    /// A device behind a vfio-user socket.
    private static let socket: Opener = { name, _ in
        guard case .vfioUser(let path) = name else { return nil }
        let device: VFIOUserDevice
        do throws(VFIOUserError) { device = try VFIOUserDevice(path: path) } catch {
            throw CommandFailure(opening: name, error)
        }
        return try DrivenDevice(
            name, device, kind: [(key: "kind", value: "vfio-user")], hasConfiguration: device.device.regions > 7)
    }

    private static func open(
        _ device: VFIODeviceName, _ token: UUIDBytes?, for name: DeviceName
    ) throws(CommandFailure) -> VFIODevice {
        do throws(VFIOError) { return try VFIODevice.open(device, token: token) } catch {
            throw CommandFailure(opening: name, error)
        }
    }

    /// Opens `name`.
    ///
    /// - Throws: Exit code 69 where the machine lacks something, and the message says what and how to get it.
    static func open(_ name: DeviceName, _ wishes: OpeningWishes = OpeningWishes()) throws -> OpenedDevice {
        for opener in all {
            if let device = try opener(name, wishes) { return device }
        }
        throw CommandFailure(
            .unavailable, "'\(name)' is a name that irqmux knows, and this build has nothing to open it")
    }
}

extension CommandFailure {
    /// A device that cannot be opened: what stands in the way, and the remedy with the device's own name.
    init(opening name: DeviceName, _ error: VFIOError) {
        var text = "\(name): \(error)"
        if error.reason == .notBound { text = text.replacing("irqmux bind ADDRESS", with: "irqmux bind \(name)") }
        self.init(error.isObstacle ? .unavailable : .failure, text)
    }
}

extension CommandFailure {
    /// A device behind a socket that cannot be opened: a path that cannot be one was typed wrongly, a server that is
    /// not there, is busy or speaks another version is what the machine lacks, and anything else is the server's fault.
    init(opening name: DeviceName, _ error: VFIOUserError) {
        let status: ExitStatus =
            switch (error.kind, error.errno) {
            case (.system, ENOTSOCK), (.system, ENAMETOOLONG): .usage
            case (.otherVersion, _), (.refused, EBUSY), (.system, ENOENT), (.system, ECONNREFUSED), (.system, EACCES),
                (.system, EAGAIN):
                .unavailable
            default: .failure
            }
        self.init(status, "\(name): \(error)")
    }
}
