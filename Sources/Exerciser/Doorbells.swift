internal import InterruptModel

/// BAR 2: where each vector's doorbell stands. Writing anything to one raises its vector once.
enum Doorbells {
    static let stride: UInt64 = 4
    static let msix: UInt64 = 0
    static let msi: UInt64 = 0x2000
    static let intx: UInt64 = 0x2080

    /// The vector of the doorbell at `offset`, a multiple of four; `nil` where none stands.
    static func vector(at offset: UInt64, _ configuration: ExerciserConfiguration) -> Vector? {
        let (base, index, count): (UInt64, IRQIndex, UInt32) =
            switch offset {
            case intx...: (intx, .intx, configuration.intx)
            case msi...: (msi, .msi, configuration.msi)
            default: (msix, .msix, configuration.msix)
            }
        let number = (offset - base) / stride
        return number < UInt64(count) ? Vector(index, UInt32(number)) : nil
    }

    /// Where the doorbell of `vector` stands; `nil` for ERR and REQ, which have none.
    static func offset(of vector: Vector) -> UInt64? {
        switch vector.index {
        case .msix: msix + UInt64(vector.number) * stride
        case .msi: msi + UInt64(vector.number) * stride
        case .intx: intx
        case .err, .req: nil
        }
    }
}
