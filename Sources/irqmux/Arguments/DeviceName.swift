/// Which device a command speaks to.
enum DeviceName: Equatable, CustomStringConvertible {
    /// The Exerciser, in this process.
    case software(SoftwareLayout)
    /// A PCI function by domain, bus, device and function: `0000:01:00.0`.
    case pci(String)
    /// A mediated device by the UUID it was created with.
    case mdev(String)
    /// A device behind a vfio-user socket.
    case vfioUser(path: String)

    static let accepted =
        "software, \(SoftwareLayout()), a PCI address as 0000:01:00.0, mdev:UUID, vfio-user:/path/to.sock"

    init(parsing text: String) throws(UsageError) {
        let halves = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        switch halves.first ?? "" {
        case "software":
            self = .software(halves.count == 2 ? try SoftwareLayout(parsing: halves[1]) : SoftwareLayout())
        case "mdev":
            guard halves.count == 2, Self.isUUID(halves[1]) else {
                throw UsageError("mdev needs a UUID, as in mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001")
            }
            self = .mdev(halves[1].lowercased())
        case "vfio-user":
            // sun_path holds 108 bytes with the closing zero: unix(7).
            guard halves.count == 2, halves[1].first == "/", halves[1].utf8.count < 108 else {
                throw UsageError("vfio-user needs an absolute path below 108 bytes, as in vfio-user:/run/device.sock")
            }
            self = .vfioUser(path: String(halves[1]))
        default:
            guard let address = Self.pciAddress(text) else {
                throw UsageError("not a device name; accepted: \(Self.accepted)")
            }
            self = .pci(address)
        }
    }

    var description: String {
        switch self {
        case .software(let layout): layout.description
        case .pci(let address): address
        case .mdev(let uuid): "mdev:\(uuid)"
        case .vfioUser(let path): "vfio-user:\(path)"
        }
    }

    /// The layout of the software device.
    ///
    /// - Throws: Exit code 69 for every other kind: this build has no room that drives them.
    func softwareLayout() throws(CommandFailure) -> SoftwareLayout {
        if case .software(let layout) = self { return layout }
        throw CommandFailure(
            .unavailable, "this build drives the software device; '\(self)' is a name it knows and cannot open")
    }

    /// The address with its domain, in lower case; `nil` when `text` is none. The domain may be left out, as in lspci.
    private static func pciAddress(_ text: String) -> String? {
        let fields = text.split(separator: ":", omittingEmptySubsequences: false)
        guard fields.count == 2 || fields.count == 3 else { return nil }
        let domain = fields.count == 3 ? fields[0] : "0000"
        let bus = fields[fields.count - 2]
        let slot = fields[fields.count - 1].split(separator: ".", omittingEmptySubsequences: false)
        guard slot.count == 2, (4...8).contains(domain.count), bus.count == 2, slot[0].count == 2, slot[1].count == 1,
            isHexadecimal(domain), isHexadecimal(bus), isHexadecimal(slot[0]), isHexadecimal(slot[1]),
            let device = UInt8(slot[0], radix: 16), device < 32, let function = UInt8(slot[1], radix: 16), function < 8
        else { return nil }
        return "\(domain):\(bus):\(slot[0]).\(slot[1])".lowercased()
    }

    private static func isUUID(_ text: Substring) -> Bool {
        let groups = text.split(separator: "-", omittingEmptySubsequences: false)
        return groups.map(\.utf8.count) == [8, 4, 4, 4, 12] && groups.allSatisfy(isHexadecimal)
    }

    private static func isHexadecimal(_ text: Substring) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
                    UInt8(ascii: "A")...UInt8(ascii: "F"):
                    true
                default: false
                }
            }
    }
}
