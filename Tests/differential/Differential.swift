import CKernel
import Foundation
import InterruptModel

/// Kernel and model side by side: the same steps to both, and nothing may differ, neither result nor errno nor any
/// eventfd's count.
struct Differential {
    let path: String
    let pool: Pool
    let dialect: Dialect
    private(set) var kind: DeviceKind
    private(set) var profile: DeviceProfile
    /// The device is closed and opened after so many steps, so that closing is tested and a history stays short.
    static let episode = 150

    init(sysfs path: String, dialect: Dialect) throws {
        self.path = path
        self.dialect = dialect
        pool = try Pool()
        let device = try RawDevice(sysfs: path)
        kind = try DeviceKind(device, sysfs: path)
        profile = DeviceProfile(
            hasINTx: try device.irqInfo(.intx)?.count ?? 0 > 0, msiVectors: try device.irqInfo(.msi)?.count ?? 0,
            msixVectors: try device.irqInfo(.msix)?.count ?? 0)
        profile.isPCIe = try device.irqInfo(.err) != nil
        if let msix = try device.irqInfo(.msix) {
            profile.platformGrowsMSIX = msix.flags & UInt32(VFIO_IRQ_INFO_NORESIZE) == 0
        }
        for index in IRQIndex.allCases { try compareInfo(device, index) }
    }

    private func compareInfo(_ device: RawDevice, _ index: IRQIndex) throws {
        let kernel = try device.irqInfo(index)
        var wanted: (flags: UInt32, count: UInt32)?
        if let info = profile.info(index, dialect) {
            var flags: UInt32 = 0
            if info.eventfd { flags |= UInt32(VFIO_IRQ_INFO_EVENTFD) }
            if info.maskable { flags |= UInt32(VFIO_IRQ_INFO_MASKABLE) }
            if info.automasked { flags |= UInt32(VFIO_IRQ_INFO_AUTOMASKED) }
            if info.noResize { flags |= UInt32(VFIO_IRQ_INFO_NORESIZE) }
            wanted = (flags, info.count)
        }
        guard kernel?.flags == wanted?.flags, kernel?.count == wanted?.count else {
            throw Mismatch(
                "GET_IRQ_INFO \(index): the kernel says \(String(describing: kernel)), the model \(String(describing: wanted))"
            )
        }
    }

    /// The model does not even agree on what the device is.
    struct Mismatch: Error, CustomStringConvertible {
        var description: String
        init(_ text: String) { description = text }
    }

    /// How many vectors each index has.
    var counts: [IRQIndex: UInt32] {
        Dictionary(uniqueKeysWithValues: IRQIndex.allCases.map { ($0, profile.count($0, dialect)) })
    }

    /// Opens the device and does what `next` says until it says no more; the first difference ends it.
    func run(_ next: (DeviceInterrupts) -> Step?) throws -> Disagreement? {
        var session = try Session(self)
        var number = 0
        while let step = next(session.model) {
            if let what = try session.apply(step) { return Disagreement(step: number, what: what) }
            number += 1
        }
        return nil
    }

    /// The same for a history.
    func replay(_ steps: [Step]) throws -> Disagreement? {
        var rest = steps[...]
        return try run { _ in rest.popFirst() }
    }

    /// The shortest part of `steps`, cut step by step, that still differs.
    func shortened(_ steps: [Step]) throws -> [Step] {
        var steps = steps
        var piece = max(steps.count / 2, 1)
        while true {
            var start = 0
            while start < steps.count {
                var fewer = steps
                fewer.removeSubrange(start..<min(start + piece, steps.count))
                if let found = try replay(fewer) { steps = Array(fewer[...found.step]) } else { start += piece }
            }
            if piece == 1 { return steps }
            piece = max(piece / 2, 1)
        }
    }
}
