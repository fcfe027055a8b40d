import CKernel
import Foundation
import InterruptModel
import VFIO

/// Kernel and model side by side: the same steps to both, and nothing may differ, neither result nor errno nor any
/// eventfd's count.
struct Differential {
    let name: VFIODeviceName
    let way: VFIODevice.Way
    let pool: Pool
    let dialect: Dialect
    let kind: DeviceKind
    let profile: DeviceProfile
    /// The device is closed and opened after so many steps, so that closing is tested and a history stays short.
    static let episode = 150

    init(_ name: VFIODeviceName, by way: VFIODevice.Way, dialect: Dialect) throws {
        self.name = name
        self.way = way
        pool = try Pool()
        let device = try RawDevice(name, by: way)
        kind = try DeviceKind(device, name)
        self.dialect = kind == .mtty ? .mtty : dialect
        var profile = DeviceProfile(
            hasINTx: try device.info(.intx)?.count ?? 0 > 0, msiVectors: try device.info(.msi)?.count ?? 0,
            msixVectors: try device.info(.msix)?.count ?? 0)
        profile.isPCIe = try device.info(.err) != nil
        profile.platformGrowsMSIX = try device.info(.msix)?.noResize == false
        self.profile = profile
        for index in IRQIndex.allCases {
            let kernel = try device.info(index)
            let model = profile.info(index, self.dialect)
            guard kernel == model else {
                throw Mismatch(
                    "GET_IRQ_INFO \(index): the kernel says \(String(describing: kernel)), the model "
                        + String(describing: model))
            }
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
