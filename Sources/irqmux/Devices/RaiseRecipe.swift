internal import InterruptModel

/// How a known device is made to raise an interrupt: writes to its registers, as data.
///
/// Sources: QEMU's docs/specs/edu.rst, docs/specs/ivshmem-spec.rst, docs/specs/rocker.rst; Linux
/// Documentation/driver-api/vfio-mediated-device.rst (mtty); docs/exerciser.md.
struct RaiseRecipe: Sendable {
    /// What a step writes.
    enum Value: Sendable {
        case number(UInt64)
        /// The number of the vector.
        case vector
        /// The number of the index, as VFIO counts.
        case index
        /// The vector's number, below a register's value that is moved up.
        case vectorBelow(register: UInt64, shift: UInt64)
    }

    /// One access to BAR 0.
    enum Step: Sendable {
        case write(UInt64, width: Int, Value)
        case read(UInt64, width: Int)
    }

    /// What tells the device.
    enum Sign: Sendable {
        /// Vendor and device in configuration space.
        case pci(vendor: UInt16, device: UInt16)
        /// The first word of BAR 0.
        case magic(UInt32)
    }

    let model: String
    let sign: Sign
    /// What is written to raise a vector, by index; an index that is missing cannot be raised.
    let raise: [IRQIndex: [Step]]
    /// What lets the INTx line go.
    var quiet: [Step] = []
    /// INTx stays asserted until then.
    var hasLevel = true
    /// Vectors from here on cannot be raised.
    var most: UInt32 = .max

    static let all: [RaiseRecipe] = [
        RaiseRecipe(
            model: "edu", sign: .pci(vendor: 0x1234, device: 0x11e8),
            raise: [.intx: [.write(0x60, width: 4, .number(1))], .msi: [.write(0x60, width: 4, .number(1))]],
            quiet: [.write(0x64, width: 4, .number(1))], most: 1),
        RaiseRecipe(
            model: "rocker", sign: .pci(vendor: 0x1b36, device: 0x0006),
            raise: [.msix: [.write(0x20, width: 4, .vector)]]),
        RaiseRecipe(
            model: "ivshmem-doorbell", sign: .pci(vendor: 0x1af4, device: 0x1110),
            // To itself: the peer is what IVPosition says.
            raise: [.msix: [.write(0x0c, width: 4, .vectorBelow(register: 0x08, shift: 16))]]),
        RaiseRecipe(
            model: "mtty", sign: .pci(vendor: 0x4348, device: 0x3253),
            // An empty transmitter whose interrupt is let through: off first, so that letting it through is a change.
            raise: [
                .intx: [.write(1, width: 1, .number(0)), .write(1, width: 1, .number(2))],
                .msi: [.write(1, width: 1, .number(0)), .write(1, width: 1, .number(2))],
            ],
            quiet: [.read(2, width: 1), .write(1, width: 1, .number(0))], hasLevel: false, most: 1),
        RaiseRecipe(
            model: "Exerciser", sign: .magic(0x5851_5249),
            raise: [
                // Not ERR and REQ: a VMM that passes the device through stops its machine at the one, and takes the
                // device out of it at the other.
                .intx: [.write(0x90, width: 4, .number(1))], .msi: selectAndRaise, .msix: selectAndRaise,
            ],
            quiet: [.write(0x94, width: 4, .number(1))]),
    ]

    private static let selectAndRaise: [Step] = [
        .write(0x10, width: 4, .index), .write(0x14, width: 4, .vector), .write(0x24, width: 4, .number(1)),
    ]

    /// The recipe for a device by its configuration space; `nil` for one that is not known.
    static func find(vendor: UInt16?, device: UInt16?) -> RaiseRecipe? {
        for recipe in all {
            if case .pci(let wantedVendor, let wantedDevice) = recipe.sign, wantedVendor == vendor,
                wantedDevice == device
            {
                return recipe
            }
        }
        return nil
    }

    /// The recipe for a device that begins with `word`; `nil` for one that is not known.
    static func find(magic word: UInt32) -> RaiseRecipe? {
        for recipe in all {
            if case .magic(let magic) = recipe.sign, magic == word { return recipe }
        }
        return nil
    }
}
