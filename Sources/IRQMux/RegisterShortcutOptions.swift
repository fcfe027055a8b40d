internal import InterruptModel

/// When a guest's function takes registers past the VMM, and who writes them then.
public struct RegisterShortcutOptions: Sendable {
    /// So many equal writes in a row to a watched register, and its writes are KVM's to take; 0 for never.
    public var threshold: UInt32 = RepeatedWrites.defaultThreshold
    /// Whether the function installs them by itself. Otherwise `GuestFunction.write` returns the register, and what
    /// becomes of it is the owner's (`RepeatedWrites.answer`).
    public var installs = true
    /// The most registers of a function that the mux's loop writes, where the device has nobody who does
    /// (`InterruptDevice.setDoorbell`). With one, the device sees the guest's accesses in the guest's order, as
    /// all others wait until the loop is through with it; with more, what the guest wrote to two of them may be
    /// exchanged. 0 for none: such registers stay trapped.
    public var loopRegisters = 1
    /// The virtual machine's descriptor, where it is not the mux's guest; the function keeps a duplicate.
    public var machine: Int32?

    /// After ten equal writes, in the mux's guest.
    public init() {}

    /// Every write is a trap.
    public static var off: RegisterShortcutOptions {
        var options = RegisterShortcutOptions()
        options.threshold = 0
        return options
    }
}

/// What became of the registers that a guest keeps writing the same way.
public struct RegisterShortcutReport: Sendable {
    /// Registers whose writes the device's driver in the kernel makes, now (`VFIO_DEVICE_IOEVENTFD`).
    public internal(set) var kernelWritten = 0
    /// Registers whose writes the mux's loop makes, now.
    public internal(set) var loopWritten = 0
    /// How often a register was refused, or lost what it had: it is trapped until `GuestFunction.retry` or a reset.
    public internal(set) var refusals: UInt64 = 0
    /// Writes that the loop has made.
    public internal(set) var writes: UInt64 = 0
    /// Writes of the loop that the device refused, and that are gone, as a trapped one is.
    public internal(set) var failedWrites: UInt64 = 0
    /// The last refusal of either sort.
    public internal(set) var lastError: MuxError?

    /// Registers that are no traps now, or will not be as soon as their BAR is somewhere.
    public var installed: Int { kernelWritten + loopWritten }
}
