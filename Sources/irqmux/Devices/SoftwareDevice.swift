internal import Exerciser
internal import InterruptModel

/// The Exerciser in this process.
final class SoftwareDevice: OpenedDevice, @unchecked Sendable {
    let exerciser: Exerciser

    init(_ layout: SoftwareLayout) throws(DeviceError) {
        exerciser = try Exerciser(layout.configuration)
        super.init(.software(layout))
    }

    override func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo { try exerciser.interruptInfo(index) }

    override func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        try exerciser.setInterrupts(request)
    }

    override func reset() throws(DeviceError) { try exerciser.reset() }

    override func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 {
        try exerciser.readRegion(region, offset: offset, count: count)
    }

    override func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {
        try exerciser.writeRegion(region, offset: offset, count: count, value: value)
    }

    override func raisedCount(_ vector: Vector) -> UInt64? { exerciser.raisedCount(vector) }

    override func lastSignalTime(_ vector: Vector) -> UInt64? { exerciser.lastSignalTime(vector) }

    /// Its identity stands in its registers (docs/exerciser.md).
    override var identity: [(key: String, value: String)] {
        let kind = [(key: "kind", value: "software"), (key: "model", value: "Exerciser")]
        do throws(DeviceError) {
            let magic = try readRegion(0, offset: 0x000, count: 4)
            let version = try readRegion(0, offset: 0x004, count: 4)
            let letters = (0..<4).map { UInt8(truncatingIfNeeded: magic >> (8 * $0)) }
            return kind + [
                (key: "magic", value: String(decoding: letters, as: UTF8.self)),
                (key: "register_map", value: "\(version)"),
            ]
        } catch { return kind }
    }

    override func canRaise(_ vector: Vector) -> Bool { true }

    override func raise(_ vector: Vector) {
        if vector.index == .intx { exerciser.assertINTx() } else { exerciser.raise(vector) }
    }

    override func quiet() { exerciser.acknowledgeINTx() }

    override var isINTxMasked: Bool? { exerciser.isINTxMasked }

    override var hasLevel: Bool { true }

    override func startStorm(_ index: IRQIndex, width: UInt32, count: UInt64, seed: UInt64) throws {
        try exerciser.start(RaisePlan(Vector(index, 0), width: width, .random, count: count, seed: seed))
    }

    override var isStorming: Bool { exerciser.isBusy }

    override func stopStorm() { exerciser.stop() }
}
