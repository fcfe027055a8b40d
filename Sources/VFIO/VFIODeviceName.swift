internal import CKernel

/// A device as the kernel's VFIO names it.
public enum VFIODeviceName: Hashable, Sendable {
    /// A PCI function bound to vfio-pci or a driver derived from it.
    case pci(PCIAddress)
    /// A mediated device by the UUID it was created with.
    case mdev(UUIDBytes)

    /// The name as VFIO_GROUP_GET_DEVICE_FD takes it.
    var text: [UInt8] {
        switch self {
        case .pci(let address): address.text
        case .mdev(let uuid): uuid.text
        }
    }

    /// The device's directory in sysfs, NUL-terminated.
    var directory: [CChar] {
        let bus: StaticString =
            switch self {
            case .pci: "/sys/bus/pci/devices/"
            case .mdev: "/sys/bus/mdev/devices/"
            }
        return Self.path(bus, text)
    }

    /// `head` and `tail` as one C string.
    static func path(_ head: StaticString, _ tail: [UInt8]) -> [CChar] {
        var path: [CChar] = []
        path.reserveCapacity(head.utf8CodeUnitCount + tail.count + 1)
        head.withUTF8Buffer { bytes in
            // SAFETY: a StaticString's text lives for ever.
            for place in 0..<bytes.count { path.append(CChar(bitPattern: unsafe bytes[place])) }
        }
        for byte in tail { path.append(CChar(bitPattern: byte)) }
        path.append(0)
        return path
    }

    static func decimal(_ number: UInt32) -> [UInt8] {
        var digits: [UInt8] = []
        var rest = number
        repeat {
            digits.append(UInt8(ascii: "0") + UInt8(rest % 10))
            rest /= 10
        } while rest > 0
        return digits.reversed()
    }
}

/// Opens a path; the descriptor, or −errno.
func openNode(_ path: [CChar]) -> Int32 {
    // SAFETY: every path here ends with NUL, and the wrapper only reads it.
    unsafe path.withUnsafeBufferPointer { unsafe irqmux_vfio_open($0.baseAddress) }
}
