/// How many interrupts the software device has, as in `software:msix=64,msi=32,intx=1`.
struct SoftwareLayout: Equatable, CustomStringConvertible {
    var msix: UInt32 = 64
    var msi: UInt32 = 32
    var intx: UInt32 = 1
    /// Whether the number of MSI-X vectors was typed, and is not the default.
    private(set) var namesMSIX = false

    static let accepted = "software:msix=0…2048,msi=0, 1, 2, 4, 8, 16 or 32,intx=0 or 1"

    init(msix: UInt32 = 64, msi: UInt32 = 32, intx: UInt32 = 1) {
        self.msix = msix
        self.msi = msi
        self.intx = intx
    }

    /// Reads the part after `software:`. What is not named keeps its default.
    init(parsing text: Substring) throws(UsageError) {
        self.init()
        var seen: Set<Substring> = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let halves = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard halves.count == 2 else {
                throw UsageError("'\(part)' is not key=number; accepted: \(Self.accepted)")
            }
            let key = halves[0]
            guard let count = UInt32(halves[1]), halves[1].first?.isNumber == true else {
                throw UsageError("'\(halves[1])' is no number of \(key) vectors; accepted: \(Self.accepted)")
            }
            guard seen.insert(key).inserted else { throw UsageError("\(key) is given twice") }
            switch key {
            case "msix":
                // PCI 3.0, 6.8.2.3: Table Size is eleven bits, encoded as N − 1.
                guard count <= 2048 else {
                    throw UsageError("a PCI device has at most 2048 MSI-X vectors; accepted: \(Self.accepted)")
                }
                msix = count
                namesMSIX = true
            case "msi":
                // PCI 3.0, 6.8.1.3: Multiple Message Capable is a power of two up to 32.
                guard count <= 32, count.nonzeroBitCount <= 1 else {
                    throw UsageError("MSI vectors come in powers of two up to 32; accepted: \(Self.accepted)")
                }
                msi = count
            case "intx":
                guard count <= 1 else {
                    throw UsageError("a PCI function has one INTx pin at most; accepted: \(Self.accepted)")
                }
                intx = count
            default:
                throw UsageError("the software device has no '\(key)'; accepted: \(Self.accepted)")
            }
        }
        guard msix + msi + intx > 0 else {
            throw UsageError("a device without any interrupt has nothing to raise; accepted: \(Self.accepted)")
        }
    }

    static func == (left: SoftwareLayout, right: SoftwareLayout) -> Bool {
        (left.msix, left.msi, left.intx) == (right.msix, right.msi, right.intx)
    }

    var description: String { "software:msix=\(msix),msi=\(msi),intx=\(intx)" }
}
