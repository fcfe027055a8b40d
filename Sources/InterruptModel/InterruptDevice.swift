internal import CKernel

/// What `VFIO_DEVICE_GET_IRQ_INFO` tells of one index.
///
/// Source: `struct vfio_irq_info` in `<linux/vfio.h>`.
public struct IRQInfo: Equatable, Sendable {
    /// How many vectors the index has; 0 when the device lacks it.
    public var count: UInt32
    /// Signals are delivered through eventfds (`VFIO_IRQ_INFO_EVENTFD`).
    public var eventfd: Bool
    /// MASK and UNMASK are accepted (`VFIO_IRQ_INFO_MASKABLE`).
    public var maskable: Bool
    /// The interrupt masks itself when it fires (`VFIO_IRQ_INFO_AUTOMASKED`).
    public var automasked: Bool
    /// The number of enabled vectors is fixed by the first request (`VFIO_IRQ_INFO_NORESIZE`).
    public var noResize: Bool

    /// Makes an answer; the flags default to absent.
    public init(
        count: UInt32, eventfd: Bool = false, maskable: Bool = false, automasked: Bool = false, noResize: Bool = false
    ) {
        self.count = count
        self.eventfd = eventfd
        self.maskable = maskable
        self.automasked = automasked
        self.noResize = noResize
    }
}

/// A PCI device that raises interrupts through eventfds: the kernel's (VFIO), one behind a socket (vfio-user), one in
/// software (the Exerciser), or a VMM's own.
///
/// Used generically or behind a table of functions, never as an existential. Every call may be made from any thread; a
/// device serialises its own changes, as the kernel does.
public protocol InterruptDevice: ~Copyable {
    /// What the device says of `index`.
    ///
    /// - Throws: `EINVAL` for an index that the device does not know.
    func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo

    /// Carries out one SET_IRQS request.
    ///
    /// - Returns: 0, or, as the kernel does, the number of vectors that could have been had when there were too few;
    ///   then nothing was enabled.
    /// - Throws: The errno of the kernel's semantics (docs/vfio-semantics.md). A range may be left half changed.
    func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32

    /// Lets `vector` signal another eventfd from now on, in one step: what SET_IRQS with one eventfd does, for a device
    /// that shares the caller's memory and need not look at what the caller knows.
    ///
    /// Not offered by default. A vector that is masked or switched costs two of these, so a device in software should
    /// offer it. No allocation, no system call.
    ///
    /// - Parameter eventfd: A nonblocking eventfd. It stays open until the vector was given another one or none, so the
    ///   device need neither duplicate nor examine it.
    /// - Returns: Whether it was done. When not, nothing has changed, and `setInterrupts` says why it cannot be done,
    ///   or does it: the device does not offer this, or the vector signals nothing yet.
    func swapEventFD(of vector: Vector, for eventfd: Int32) -> Bool

    /// Resets the device's function. Interrupt assignments stay, as with `VFIO_DEVICE_RESET`.
    func reset() throws(DeviceError)

    /// What the device says of region `number`; an absent one, which is the default, where it says nothing.
    ///
    /// - Throws: `EINVAL` for a number beyond the device's regions.
    func regionInfo(_ number: UInt32) throws(DeviceError) -> RegionInfo

    /// Reads `count` ∈ {1, 2, 4, 8} bytes of a region, little-endian.
    ///
    /// - Throws: `EINVAL` for a region, offset or width the device does not have.
    func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64

    /// Writes `count` ∈ {1, 2, 4, 8} bytes of a region, little-endian.
    ///
    /// - Throws: `EINVAL` for a region, offset or width the device does not have.
    func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError)

    /// Lets each signal of an eventfd write a register, by somebody who need not be woken for it, until it is taken
    /// away with −1 (`VFIO_DEVICE_IOEVENTFD`, which is why not every device offers it).
    ///
    /// - Parameters:
    ///   - register: The register of a BAR, and what is written.
    ///   - eventFD: Stays the caller's, and open until it is taken away. What was signalled by then is written.
    /// - Throws: `ENOTTY` from a device that does not offer it, which is the default; `ENOSPC` when it has no more;
    ///   `EINVAL` for a register that cannot be written so; `EEXIST` for one that is.
    func setDoorbell(_ register: DoorbellRegister, eventFD: Int32) throws(DeviceError)

    /// How many times the device itself raised `vector` since it was opened, where it counts; `nil` where it cannot
    /// know (real hardware). The ledger checks what was delivered against it.
    ///
    /// A raise is counted and signalled in one step as seen from here: of a vector that is switched between the loop
    /// and a guest, one that was counted before the switch and signalled after it would be unexplained.
    func raisedCount(_ vector: Vector) -> UInt64?

    /// When the device signalled `vector` last, CLOCK_MONOTONIC in nanoseconds, where it stamps; `nil` where it does
    /// not, which is the default. Called for vectors whose stages are measured, once a notification.
    func lastSignalTime(_ vector: Vector) -> UInt64?

    /// What one request of this device can carry; the kernel's rules by default. A device behind a socket says how many
    /// descriptors a message has room for.
    var planRules: IRQPlanRules { get }
}

extension InterruptDevice where Self: ~Copyable {
    /// Not offered.
    public func swapEventFD(of vector: Vector, for eventfd: Int32) -> Bool { false }

    /// Not offered.
    public func setDoorbell(_ register: DoorbellRegister, eventFD: Int32) throws(DeviceError) {
        throw DeviceError("a register's doorbell", errno: ENOTTY, remedy: "this device has nobody who writes registers")
    }

    /// No region is described.
    public func regionInfo(_ number: UInt32) throws(DeviceError) -> RegionInfo {
        RegionInfo(index: number, size: 0, offset: 0)
    }

    /// The kernel's: a whole table in one request.
    public var planRules: IRQPlanRules { IRQPlanRules() }

    /// No stamps.
    public func lastSignalTime(_ vector: Vector) -> UInt64? { nil }
}
