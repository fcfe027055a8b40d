internal import CKernel
public import InterruptModel
internal import Synchronization

/// A PCI device in software whose only purpose is to raise interrupts.
///
/// It takes SET_IRQS by the rules of `DeviceInterrupts`, with real eventfds: it duplicates each descriptor it is given,
/// so the caller may close his own, signals with write(2), and closes its duplicate when the vector is de-assigned or
/// the device goes. It raises by direct call, by a plan on a thread of its own, or by the registers of BAR 0
/// (docs/exerciser.md), and counts everything it raised.
///
/// Threads: every call may be made from any thread. Changes are serialised on one lock, as in the kernel.
public final class Exerciser: InterruptDevice, Sendable {
    /// What the device is made of.
    public let configuration: ExerciserConfiguration
    let core: DeviceCore
    let runner: RaiseRunner
    private let listener: UnmaskListener
    let doorbells: DoorbellService

    /// Makes a device with nothing assigned. It needs one eventfd of its own, and one for each it is given.
    ///
    /// - Throws: `EINVAL` for a configuration that no PCI device can have; `EMFILE`, `ENFILE`, `ENOMEM`.
    public init(_ configuration: ExerciserConfiguration = ExerciserConfiguration()) throws(DeviceError) {
        self.configuration = configuration
        core = try DeviceCore(configuration)
        runner = RaiseRunner(core)
        listener = UnmaskListener(core)
        doorbells = DoorbellService(core, configuration)
    }

    deinit {
        doorbells.stop()
        runner.stop()
        listener.stop()
    }

    /// What the device says of `index`.
    ///
    /// - Throws: `EINVAL` for an index that the device does not know.
    public func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo {
        guard let info = core.state.withLock({ $0.interrupts.info(index) }) else {
            throw DeviceError("GET_IRQ_INFO", errno: EINVAL, remedy: "this device has no such index")
        }
        return info
    }

    /// Carries out one SET_IRQS request by the kernel's rules.
    ///
    /// Loopback (TRIGGER with NONE or BOOL) counts as raised, like a raise by the device itself.
    ///
    /// - Returns: 0, or the number of vectors that could have been had; then nothing was enabled.
    /// - Throws: The kernel's errno; `EMFILE` when the device cannot duplicate an eventfd; `EAGAIN` when it cannot
    ///   start the thread that an unmasking eventfd needs. A range may be left half changed.
    public func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        if request.action == .unmask, request.index == .intx, case .eventfd = request.data { try listener.start() }
        return try core.setInterrupts(request)
    }

    /// Lets an MSI or MSI-X vector signal another eventfd, which the caller keeps open; see `InterruptDevice`.
    public func swapEventFD(of vector: Vector, for eventfd: Int32) -> Bool { core.swap(vector, for: eventfd) }

    /// Resets the function: a run in progress ends, the line is let go, pending interrupts are dropped as `deviceGone`,
    /// the registers take their first values. Assignments, masks, counters and configuration space stay, as behind
    /// the kernel, which saves the latter and puts it back; a function level reset in configuration space clears it.
    public func reset() throws(DeviceError) {
        runner.stop()
        core.reset()
    }

    /// How many times the device signalled `vector`'s eventfd; `nil` for a vector that it does not have.
    ///
    /// What was raised while nobody could take it is not among them: see `ledger`.
    public func raisedCount(_ vector: Vector) -> UInt64? {
        guard core.table.has(vector) else { return nil }
        return core.table.with(vector) { $0.signalled.load(ordering: .acquiring) }
    }

    /// When the last signal of `vector` was due, CLOCK_MONOTONIC in nanoseconds; `nil` before the first.
    public func lastSignalTime(_ vector: Vector) -> UInt64? {
        let (sequence, intended) = lastRaise(vector)
        return sequence == 0 ? nil : intended
    }
}
