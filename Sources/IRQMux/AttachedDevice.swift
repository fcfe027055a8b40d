internal import CKernel
internal import InterruptModel
internal import Synchronization

/// A device as the mux keeps it: a table of functions, so that one mux serves devices of any kind.
///
/// A class hierarchy and not an existential, because Embedded Swift has the one and not the other. Called when
/// something changes, never per event, but for the unmasking of a level-triggered interrupt, which is a system call
/// anyway.
package class AttachedDevice {
    /// Tells this device from others that were attached at the same place.
    let generation: UInt32
    /// The accounts of vectors that were disconnected.
    var retired = Ledger()
    /// Kicks that no access of the guest's asked for.
    let kicked = KickCount()
    /// Accounts of a restored state are in `retired`.
    var isRestored = false
    /// Registers that its guest writes past the VMM, where a function serves one.
    var shortcuts: RegisterShortcuts?
    /// How many of the device's vectors are connected, by index.
    var connected: [UInt32] = [0, 0, 0, 0, 0] {
        didSet {
            var bits: UInt8 = 0
            for index in 0..<5 where connected[index] > 0 { bits |= 1 << UInt8(index) }
            enabled.store(bits, ordering: .sequentiallyConsistent)
        }
    }
    /// Which indexes have connected vectors, a bit each, for the threads of other loops.
    private let enabled = Atomic<UInt8>(0)

    /// The request of `point`, kept so that switching a vector allocates nothing.
    private var single = IRQRequest(.msix, .trigger, .eventfd([-1]))

    init(generation: UInt32) { self.generation = generation }

    /// One vector signals this eventfd of the mux from now on, or nothing (−1): by one SET_IRQS, unless the device has
    /// a shorter way.
    ///
    /// - Parameter isAnew: Not by the shorter way: nobody knows what the vector signals now, or it is to be nothing.
    final func point(_ vector: Vector, at eventfd: Int32, anew isAnew: Bool = false) throws(DeviceError) {
        if !isAnew, swap(vector, for: eventfd) { return }
        guard case .eventfd(var list) = single.data else { return }
        single.data = .none(count: 0)
        list[0] = eventfd
        single.index = vector.index
        single.start = vector.number
        single.data = .eventfd(list)
        _ = try set(single)
    }

    func info(_ index: IRQIndex) throws(DeviceError) -> IRQInfo {
        throw DeviceError("GET_IRQ_INFO", errno: ENODEV)
    }

    func set(_ request: IRQRequest) throws(DeviceError) -> UInt32 { throw DeviceError("SET_IRQS", errno: ENODEV) }

    func swap(_ vector: Vector, for eventfd: Int32) -> Bool { false }

    func reset() throws(DeviceError) { throw DeviceError("reset", errno: ENODEV) }

    func region(_ number: UInt32) throws(DeviceError) -> RegionInfo {
        throw DeviceError("GET_REGION_INFO", errno: ENODEV)
    }

    func readRegion(_ region: UInt32, _ offset: UInt64, _ count: Int) throws(DeviceError) -> UInt64 {
        throw DeviceError("reading a region", errno: ENODEV)
    }

    func writeRegion(_ region: UInt32, _ offset: UInt64, _ count: Int, _ value: UInt64) throws(DeviceError) {
        throw DeviceError("writing a region", errno: ENODEV)
    }

    func setDoorbell(_ register: DoorbellRegister, _ eventFD: Int32) throws(DeviceError) {
        throw DeviceError("a register's doorbell", errno: ENODEV)
    }

    /// What one request can carry.
    var planRules: IRQPlanRules { IRQPlanRules() }

    /// Rules for connecting: an index that cannot grow is not restarted behind anybody's back, since that would lose
    /// what is pending.
    var connectingRules: IRQPlanRules {
        var rules = planRules
        rules.restarts = false
        return rules
    }

    func raisedCount(_ vector: Vector) -> UInt64? { nil }

    func lastSignalTime(_ vector: Vector) -> UInt64? { nil }

    /// Whether vectors of an index are connected; for any thread.
    final func isEnabled(_ index: IRQIndex) -> Bool {
        enabled.load(ordering: .sequentiallyConsistent) & 1 << UInt8(index.rawValue) != 0
    }

    /// The mux goes, and with it the eventfd of a vector that is only a visitor: see Mux+Moving. Of the mux's own
    /// devices whole indexes are disabled.
    func takeFromVisitor(_ vector: Vector) {}

    /// Throws when vectors are only visitors here: see Mux+Moving.
    func refuseToLoseVisitor() throws(MuxError) {}
}

/// The table for one kind of device.
final class AttachedDeviceOf<Device: InterruptDevice & ~Copyable>: AttachedDevice {
    private let device: Device

    init(_ device: consuming Device, generation: UInt32) {
        self.device = device
        super.init(generation: generation)
    }

    override func info(_ index: IRQIndex) throws(DeviceError) -> IRQInfo { try device.interruptInfo(index) }

    override func set(_ request: IRQRequest) throws(DeviceError) -> UInt32 { try device.setInterrupts(request) }

    override func swap(_ vector: Vector, for eventfd: Int32) -> Bool { device.swapEventFD(of: vector, for: eventfd) }

    override func reset() throws(DeviceError) { try device.reset() }

    override func region(_ number: UInt32) throws(DeviceError) -> RegionInfo { try device.regionInfo(number) }

    override func readRegion(_ region: UInt32, _ offset: UInt64, _ count: Int) throws(DeviceError) -> UInt64 {
        try device.readRegion(region, offset: offset, count: count)
    }

    override func writeRegion(_ region: UInt32, _ offset: UInt64, _ count: Int, _ value: UInt64) throws(DeviceError) {
        try device.writeRegion(region, offset: offset, count: count, value: value)
    }

    override func setDoorbell(_ register: DoorbellRegister, _ eventFD: Int32) throws(DeviceError) {
        try device.setDoorbell(register, eventFD: eventFD)
    }

    override var planRules: IRQPlanRules { device.planRules }

    override func raisedCount(_ vector: Vector) -> UInt64? { device.raisedCount(vector) }

    override func lastSignalTime(_ vector: Vector) -> UInt64? { device.lastSignalTime(vector) }
}
