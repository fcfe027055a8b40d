internal import CKernel
internal import InterruptModel

/// A device that a command has opened, of whatever kind: its interrupts as any device has them, and what a person wants
/// to know of it or have it do.
///
/// A class that the kinds derive from; ``DeviceOpeners`` has a row for each. Every call may be made from any thread.
class OpenedDevice: InterruptDevice, @unchecked Sendable {
    /// The name it was opened by.
    let name: DeviceName

    init(_ name: DeviceName) { self.name = name }

    // MARK: As any device

    func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo {
        throw DeviceError("GET_IRQ_INFO", errno: EINVAL)
    }

    func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        throw DeviceError("SET_IRQS", errno: EINVAL)
    }

    func reset() throws(DeviceError) {}

    func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 {
        throw DeviceError("reading a region", errno: EINVAL)
    }

    func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {
        throw DeviceError("writing a region", errno: EINVAL)
    }

    func raisedCount(_ vector: Vector) -> UInt64? { nil }

    func lastSignalTime(_ vector: Vector) -> UInt64? { nil }

    var planRules: IRQPlanRules { IRQPlanRules() }

    // MARK: What it is

    /// What the device calls itself: key and value.
    var identity: [(key: String, value: String)] { [] }

    /// Its regions, where they matter to a person; empty otherwise.
    var regions: [RegionInfo] { [] }

    // MARK: What it can be made to do

    /// Whether the device itself can be made to raise `vector`.
    func canRaise(_ vector: Vector) -> Bool { false }

    /// Makes the device raise `vector`, or, where it cannot be made to, SET_IRQS's loopback in its stead.
    func raise(_ vector: Vector) throws(DeviceError) {
        _ = try setInterrupts(IRQRequest(vector.index, .trigger, start: vector.number, .none(count: 1)))
    }

    /// Lets the INTx line go, as its driver does when it has served the interrupt.
    func quiet() throws(DeviceError) {}

    /// Whether INTx is masked, where it can be looked at.
    var isINTxMasked: Bool? { nil }

    /// Whether INTx stays asserted until ``quiet()``; otherwise the device raises it for a moment only.
    var hasLevel: Bool { false }

    /// Whether messages that follow each other closely may arrive as one: real hardware merges them on their way.
    var mayMerge: Bool { false }

    /// Begins to raise `width` vectors of `index` by lot, `count` times and as fast as may be, on a thread of its own.
    func startStorm(_ index: IRQIndex, width: UInt32, count: UInt64, seed: UInt64) throws {}

    /// Whether the storm goes on.
    var isStorming: Bool { false }

    /// Ends the storm and waits for that.
    func stopStorm() {}
}

extension OpenedDevice {
    /// How many vectors each index has; 0 for one that the device does not know.
    func counts() throws(DeviceError) -> [IRQIndex: UInt32] {
        var counts: [IRQIndex: UInt32] = [:]
        for index in IRQIndex.allCases {
            do throws(DeviceError) { counts[index] = try interruptInfo(index).count } catch {
                guard error.errno == EINVAL else { throw error }
                counts[index] = 0
            }
        }
        return counts
    }
}

extension CountArgument {
    /// `--vectors` against what the device has of `index`.
    ///
    /// - Throws: A usage error when it asks for more: the rest could only be left out in silence.
    func hold(within counts: [IRQIndex: UInt32], of index: IRQIndex) throws(UsageError) {
        let most = counts[index] ?? 0
        guard value > most else { return }
        let has = most == 0 ? "it has none" : "accepted: up to \(most)"
        throw UsageError("--vectors \(self) is more \(index.label) than the device has; \(has)")
    }
}
