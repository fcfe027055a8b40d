internal import VFIO

/// Which device a command speaks to.
enum DeviceName: Equatable, CustomStringConvertible {
    /// The Exerciser, in this process.
    case software(SoftwareLayout)
    /// A PCI function by domain, bus, device and function: `0000:01:00.0`; a virtual function whose physical one VFIO
    /// has comes with its token.
    case pci(PCIAddress, token: UUIDBytes? = nil)
    /// A mediated device by the UUID it was created with.
    case mdev(UUIDBytes)
    /// A device behind a vfio-user socket.
    case vfioUser(path: String)

    /// Every kind of name, for help and for who types none of them.
    static let accepted =
        "software, or with a layout as in \(SoftwareLayout()); 0000:01:00.0, or with a token as in "
        + "0000:01:00.1,vf_token=UUID; mdev:UUID; vfio-user:/path/to.sock"

    init(parsing text: String) throws(UsageError) {
        let halves = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        switch halves.first ?? "" {
        case "software":
            self = .software(halves.count == 2 ? try SoftwareLayout(parsing: halves[1]) : SoftwareLayout())
        case "mdev":
            guard halves.count == 2, let uuid = UUIDBytes(parsing: halves[1].utf8) else {
                throw UsageError("mdev needs a UUID, as in mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001")
            }
            self = .mdev(uuid)
        case "vfio-user":
            // sun_path holds 108 bytes with the closing zero: unix(7).
            guard halves.count == 2, halves[1].first == "/", halves[1].utf8.count < 108 else {
                throw UsageError("vfio-user needs an absolute path below 108 bytes, as in vfio-user:/run/device.sock")
            }
            self = .vfioUser(path: String(halves[1]))
        default:
            self = try Self.pci(text)
        }
    }

    /// `0000:01:00.0`, or with `,vf_token=UUID`.
    private static func pci(_ text: String) throws(UsageError) -> DeviceName {
        let parts = text.split(separator: ",", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = PCIAddress(parsing: parts[0].utf8) else {
            throw UsageError("not a device name; accepted: \(accepted)")
        }
        guard parts.count == 2 else { return .pci(address) }
        guard parts[1].hasPrefix("vf_token="), let token = UUIDBytes(parsing: parts[1].dropFirst(9).utf8) else {
            throw UsageError("after a PCI address only ,vf_token=UUID is accepted")
        }
        return .pci(address, token: token)
    }

    var description: String {
        switch self {
        case .software(let layout): layout.description
        case .pci(let address, let token): token.map { "\(address),vf_token=\($0)" } ?? "\(address)"
        case .mdev(let uuid): "mdev:\(uuid)"
        case .vfioUser(let path): "vfio-user:\(path)"
        }
    }

    /// The layout of the software device.
    ///
    /// - Throws: Every other kind is a usage error: what is asked concerns a layout that is made up.
    func softwareLayout() throws(UsageError) -> SoftwareLayout {
        if case .software(let layout) = self { return layout }
        throw UsageError("'\(self)' has a layout of its own; accepted: \(SoftwareLayout.accepted)")
    }
}
